"""A minimal W&B server for the real client, which keeps what it is sent, so that tests can check it.

It shows what the client sends, not what W&B makes of it. It implements operations of wandb 0.31's private protocol.
"""

import gzip
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = dict[str, Any]

ENTITY = "someone"
NOT_NEEDED = {"OrganizationCoreWeaveOrganizationID", "ServerFeaturesQuery", "ArtifactType"}
"""Operations that the client tries but does not need."""


@dataclass
class Run:
    """One run as the server knows it."""

    fields: Answer = field(default_factory=dict)  # group, job type, tags and so on, by W&B's names
    config: Answer = field(default_factory=dict)
    lines: dict[str, dict[int, Any]] = field(default_factory=dict)  # by file, then by line number
    exit_code: int | None = None

    @property
    def history(self) -> list[Answer]:
        return [line for _, line in sorted(self.lines.get("wandb-history.jsonl", {}).items())]

    @property
    def summary(self) -> Answer:
        summaries = self.lines.get("wandb-summary.json", {})
        return summaries[max(summaries)] if summaries else {}


class Endpoint(ThreadingHTTPServer):
    """The server, which answers in a thread of its own inside a `with` block."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs: dict[str, Run] = {}
        self.artifacts: dict[str, Answer] = {}
        self.stored: dict[str, bytes] = {}
        self.views: dict[str, Answer] = {}
        self.unknown: set[str] = set()

    def __enter__(self) -> "Endpoint":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect early."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stream(self, run: Run, sent: Answer) -> None:
        """Take lines of a run's files, by offset, and the end of the run."""
        run.exit_code = sent.get("exitcode", run.exit_code)
        for name, part in (sent.get("files") or {}).items():
            lines = run.lines.setdefault(name, {})
            lines |= {part["offset"] + i: json.loads(text) for i, text in enumerate(part["content"]) if text[:1] == "{"}

    def answer(self, query: str, given: Answer) -> Answer:
        """Answer a GraphQL operation with data or an error."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found[1] if found else query
        operation = getattr(self, f"op_{name}", None)
        if operation is None:
            self.unknown |= {name} - NOT_NEEDED
            return {"data": None, "errors": [{"message": f"{name} is not known here"}]}
        return {"data": operation(given)}

    def op_Viewer(self, _: Answer) -> Answer:
        return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    def op_RunResumeStatus(self, given: Answer) -> Answer:
        bucket, run = None, self.runs.get(given["name"])
        if run is not None:
            count = {
                f"{kind}LineCount": len(run.lines.get(f"wandb-{kind}.jsonl", {})) for kind in ("history", "events")
            }
            bucket = {
                "id": given["name"],
                "name": given["name"],
                "summaryMetrics": json.dumps(run.summary),
                "displayName": run.fields.get("displayName"),
                "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
                "tags": run.fields.get("tags", []),
                "historyTail": json.dumps([json.dumps(line) for line in run.history[-1:]]),
                "eventsTail": "[]",
                "wandbConfig": '{"t": 1}',
                "logLineCount": 0,
                **count,
            }
        return {"model": {"id": "p", "name": given["project"], "entity": {"id": "e", "name": ENTITY}, "bucket": bucket}}

    def op_UpsertBucket(self, given: Answer) -> Answer:
        name = given["name"]
        run = self.runs.setdefault(name, Run())
        run.fields |= {key: value for key, value in given.items() if value is not None}
        if given.get("config"):
            run.config = {key: entry["value"] for key, entry in json.loads(given["config"]).items()}
        project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": ENTITY}}
        bucket = {"id": name, "name": name, "displayName": run.fields.get("displayName"), "config": "{}"}
        return {
            "upsertBucket": {"inserted": True, "bucket": {**bucket, "historyLineCount": 0, "project": project}},
        }

    def _upload(self, name: str) -> Answer:
        return {"name": name, "uploadUrl": f"{self.url}/storage/{name}", "uploadHeaders": []}

    def op_CreateRunFiles(self, given: Answer) -> Answer:
        files = [{**self._upload(f"{given['run']}/{name}"), "name": name} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def op_CreateArtifact(self, given: Answer) -> Answer:
        known = given["input"]
        self.artifacts[known["clientID"]] = known
        latest = {"artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": {"id": known["clientID"], "state": "PENDING", **latest}}}

    def _manifest(self, name: str) -> Answer:
        return {"artifactManifest": {"id": name, "file": {"id": "f", **self._upload(f"manifest/{name}")}}}

    def op_CreateArtifactManifest(self, given: Answer) -> Answer:
        return {"createArtifactManifest": self._manifest(given["artifactID"])}

    def op_UpdateArtifactManifest(self, given: Answer) -> Answer:
        return {"updateArtifactManifest": self._manifest(given["artifactManifestID"])}

    def op_CreateArtifactFiles(self, given: Answer) -> Answer:
        edges = []
        for file in given["input"]["artifactFiles"] if "input" in given else given["artifactFiles"]:
            path = f"artifact/{file['artifactID']}/{file['name']}"
            more = {"id": path, "storagePath": path, "displayName": file["name"], "uploadMultipartUrls": None}
            node = {**self._upload(path), **more, "name": file["name"], "artifact": {"id": file["artifactID"]}}
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def op_CommitArtifact(self, given: Answer) -> Answer:
        self.artifacts[given["artifactID"]]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "0"}}}

    def op_UpsertView2(self, given: Answer) -> Answer:
        name = given.get("id") or f"view{len(self.views)}"
        self.views[name] = given
        project = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
        kept = {key: given.get(key) for key in ("type", "name", "displayName", "description", "spec")}
        view = {"id": name, **kept, "updatedAt": "2026-01-01T00:00:00Z", "project": project}
        return {"upsertView": {"inserted": True, "view": view}}


class Handler(BaseHTTPRequestHandler):
    """HTTP around an `Endpoint`."""

    protocol_version = "HTTP/1.1"
    server: Endpoint

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_POST(self) -> None:
        sent = json.loads(self._body())
        streamed = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if streamed:
            self.server.stream(self.server.runs[streamed[1]], sent)
            self._send({})
        elif self.path == "/graphql":
            self._send(self.server.answer(sent["query"], sent.get("variables") or {}))
        else:
            self.server.unknown.add(self.path)
            self._send({}, status=404)

    def do_PUT(self) -> None:
        self.server.stored[self.path.removeprefix("/storage/")] = self._body()
        self._send({})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, answer: Answer, status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
