"""W&B with its real client: offline runs are read back from disk, online runs from a server in this process."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load as load_tensors
from wandb_endpoint import ENTITY, Endpoint
from wandb_offline import OfflineRun, load

from prune_init import wandb_workspace
from prune_init.record.results import commit
from prune_init.training.wandb_run import WandbRun

pytestmark = pytest.mark.slow

NET = ("architecture=conv", "architecture.widths=[4,8]", "trainer=cpu")
QUICK = (*NET, "scorer=random", "recipe.epochs=1", "recipe.batch_size=500", "logger=wandb")
LONG = (*QUICK, "recipe.epochs=3", "checkpoint=true")
MORTAL = "logger._target_=test_wandb.Mortal"


class PowerCutError(RuntimeError):
    """Stands for an external event that ends a run."""


class Mortal(WandbRun):
    """Fails at the results of the second epoch, before they are logged or saved in a checkpoint."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if metrics["epoch"] == 1:
            raise PowerCutError
        super().log_metrics(metrics, step)


@pytest.fixture(autouse=True)
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """W&B without an account; it writes all files below `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(home / name))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.teardown()  # otherwise it keeps the settings of its first use
    yield wandb
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A W&B server, with the client's settings to use it."""
    with Endpoint() as endpoint:
        monkeypatch.setenv("WANDB_BASE_URL", endpoint.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield endpoint
        assert not endpoint.unknown


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def runs() -> list[Path]:
    return sorted(path.parent for path in Path.cwd().rglob("result.json"))


def offline(folder: Path, wandb: Any) -> list[OfflineRun]:
    wandb.teardown()  # waits until the files are complete
    return [load(path) for path in sorted(folder.glob("wandb/offline-run-*"))]


def epochs(history: list[dict[str, Any]]) -> list[float]:
    """The epochs of all rows except the one of the outcome."""
    return [row["epoch"] for row in history if "top1/last" not in row]


VARIABLES = {
    "WANDB_PROJECT": "theirs",
    "WANDB_ENTITY": "team",
    "WANDB_RUN_GROUP": "group",
    "WANDB_JOB_TYPE": "job",
    "WANDB_NAME": "name",
    "WANDB_TAGS": "one, two,",
}


def seen_by(run: OfflineRun) -> tuple[Any, ...]:
    known = run.run
    return known.project, known.entity, known.run_group, known.job_type, known.display_name, list(known.tags[:2])


def test_variables_say_what_the_command_line_does_not(command, wandb, monkeypatch, tmp_path):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert command(*QUICK, "train=false").code == 0
    (seen,) = offline(runs()[0], wandb)
    assert seen_by(seen) == ("theirs", "team", "group", "job", "name", ["one", "two"])
    mine = [f"logger.{key}=mine" for key in ("project", "entity", "group", "job_type", "name")]
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    assert command(*QUICK, "train=false", "results=again", *mine, "logger.tags=[my,own]", "logger.masks=true").code == 0
    wandb.teardown()
    (path,) = (tmp_path / "elsewhere").glob("wandb/offline-run-*")
    assert seen_by(load(path)) == ("mine",) * 5 + (["my", "own"],)
    assert not list((tmp_path / "again").rglob("wandb"))
    for artifact in load(path).artifacts:
        for file in artifact.manifest.contents:
            assert Path(file.local_path).is_relative_to(tmp_path / ("again" if "masks" in file.path else "elsewhere"))


def test_empty_variables_say_nothing(command, wandb, monkeypatch):
    for name in (*VARIABLES, "WANDB_DIR", "WANDB_MODE"):
        monkeypatch.setenv(name, "")
    assert command(*QUICK, "train=false").code == 0
    (seen,) = offline(runs()[0], wandb)
    project, _, group, job, name, _ = seen_by(seen)
    assert (project, group, job, name) == ("prune_init", "fashion_small/conv", "random", runs()[0].name)


def test_offline_runs_of_a_sweep(command, wandb):
    outcome = command("-m", *QUICK, "seed=0,1", "logger.tags=[mine]", "logger.masks=true")
    assert outcome.code == 0 and "wandb:" not in outcome.out + outcome.err
    assert [result(folder)["seed"] for folder in runs()] == [0, 1]
    ids = set()
    for folder in runs():
        (seen,), row = offline(folder, wandb), result(folder)
        ids.add(seen.run.run_id)
        assert f"wandb sync {seen.folder.relative_to(Path.cwd())}\n" in outcome.out
        assert (seen.run.display_name, seen.run.run_group) == (folder.name, "fashion_small/conv")
        assert (seen.run.project, seen.run.job_type, seen.exit_code) == ("prune_init", "random", 0)
        assert seen.run.tags[0] == "mine" and (commit() or "").startswith(seen.run.tags[1].rstrip("+"))
        config = {key: value for key, value in seen.config.items() if key not in ("_wandb", "commit", "versions")}
        assert config == row["config"]
        (metrics,) = csv.DictReader((folder / "metrics.csv").open())
        (last,) = (line for line in seen.history if "test/top1" in line)
        assert last["test/top1"] == pytest.approx(row["top1"]["last"]) and last["epoch"] == 1
        assert {name: last[name] for name in metrics} == pytest.approx({k: float(v) for k, v in metrics.items()})
        (outcome_row,) = (line for line in seen.history if "top1/last" in line)
        assert {"exponent", "sparsity", "effective_sparsity", "cost/passes", "seconds/scoring"} <= outcome_row.keys()
        for key in ("scorer", "exponent", "sparsity", "effective_sparsity", "connected", "seed"):
            assert seen.summary[key] == row[key] == outcome_row[key]
        assert (seen.summary["top1/last"], seen.summary["top1/best"]) == (row["top1"]["last"], row["top1"]["best"])
        assert seen.summary["cost/passes"] == row["cost"]["passes"]
        assert seen.summary["seconds/scoring"] == row["seconds"]["scoring"]
        table = seen.table("layers")
        assert [dict(zip(table["columns"], values, strict=True)) for values in table["data"]] == [
            {"layer": layer["name"], **{key: layer[key] for key in ("size", "kept", "density", "effective")}}
            for layer in row["layers"]
        ]
        (masks,) = (artifact for artifact in seen.artifacts if artifact.type == "masks")
        assert json.loads(masks.metadata)["identity"] == row["identity"]
        for artifact in seen.artifacts:  # files to upload later must be in the run's folder
            assert all(Path(file.local_path).is_relative_to(folder) for file in artifact.manifest.contents)
    assert len(ids) == 2
    assert not {"WANDB_MODE", "WANDB_DATA_DIR"} & set(os.environ)


def test_an_interrupted_run_is_one_run_after_the_upload(command, wandb, server):
    with pytest.raises(PowerCutError):
        command(*LONG, MORTAL)
    assert command(*LONG).code == 0
    (folder,) = runs()
    first, second = offline(folder, wandb)
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.run.run_id == second.run.run_id
    assert (epochs(first.history), epochs(second.history)) == ([1], [2, 3])
    assert not server.runs, "an offline run asks no server"
    upload = [sys.executable, "-m", "wandb", "sync", "--yes", str(first.folder), str(second.folder)]
    subprocess.run(upload, check=True, capture_output=True, timeout=60)
    (uploaded,) = server.runs.values()
    assert epochs(uploaded.history) == [1, 2, 3]
    assert uploaded.summary["top1/last"] == result(folder)["top1"]["last"]


def test_an_online_run_that_is_interrupted_and_then_started_over(command, server, monkeypatch, wandb):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(PowerCutError):
        command(*LONG, MORTAL)
    (uploaded,) = server.runs.values()
    assert epochs(uploaded.history) == [1] and uploaded.exit_code == 1
    outcome = command(*LONG)
    (folder,) = runs()
    assert outcome.code == 0 and f"{server.url}/{ENTITY}/prune_init/runs/" in outcome.out
    (uploaded,) = server.runs.values()
    assert epochs(uploaded.history) == [1, 2, 3] and uploaded.exit_code == 0
    assert uploaded.summary["top1/last"] == result(folder)["top1"]["last"]
    assert uploaded.config["recipe"] == result(folder)["config"]["recipe"]
    assert uploaded.fields["groupName"] == "fashion_small/conv" and uploaded.fields["jobType"] == "random"
    lines = len(uploaded.history)
    assert command(*LONG, "force=true").code == 0
    (uploaded,) = server.runs.values()
    assert epochs(uploaded.history) == [1, 2, 3] and len(uploaded.history) <= lines


def test_online_runs_of_a_sweep_with_masks(command, server):
    outcome = command("-m", *QUICK, "scorer=random,magnitude", "logger.mode=online", "logger.masks=true")
    assert outcome.code == 0
    assert {run.fields["jobType"] for run in server.runs.values()} == {"random", "magnitude"}
    assert [run.exit_code for run in server.runs.values()] == [0, 0]
    kinds = sorted(artifact["artifactTypeName"] for artifact in server.artifacts.values())
    assert kinds == ["masks", "masks", "run_table", "run_table"]
    assert all(artifact["committed"] for artifact in server.artifacts.values())
    uploads = [body for name, body in server.stored.items() if name.endswith("/masks.safetensors")]
    kept = {sum(int(mask.sum()) for mask in load_tensors(body).values()) for body in uploads}
    assert len(uploads) == 2 and kept == {sum(layer["kept"] for layer in result(runs()[0])["layers"])}


def test_a_disabled_mode_writes_nothing_and_an_empty_one_is_offline(command, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert command(*QUICK).code == 0
    assert len(runs()) == 1 and not list(Path("runs").rglob("wandb"))
    monkeypatch.setenv("WANDB_MODE", "")
    assert command(*QUICK, "seed=1").code == 0 and list(Path("runs").rglob("wandb"))


def test_online_without_a_login_is_one_line(command):
    outcome = command(*QUICK, "logger.mode=online")
    assert outcome.code != 0 and not Path("runs").exists()
    assert outcome.err == "logger.mode=online: nobody is logged in; run `wandb login` or set WANDB_API_KEY\n"


def test_without_an_answer_the_run_is_logged_offline(command, monkeypatch, wandb):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("prune_init.training.wandb_run.SECONDS_TO_CONNECT", 2)
    outcome = command(*QUICK, "logger.mode=online")
    assert outcome.code == 0 and "W&B does not answer" in outcome.out
    (folder,) = runs()
    (seen,) = offline(folder, wandb)
    assert seen.summary["top1/last"] == result(folder)["top1"]["last"]


def keys(spec: Any) -> set[str]:
    """The names of all metrics in the panels of a workspace."""
    if isinstance(spec, dict):
        return {key for value in spec.values() for key in keys(value)}
    if isinstance(spec, list):
        return {key for value in spec for key in keys(value)}
    return {spec.removeprefix("summary:")} if isinstance(spec, str) else set()


def test_the_workspace_shows_what_runs_log(command, wandb, server):
    done = command("dashboard", "--entity", "team", "--project", "p")
    assert done.code == 0, done.err
    assert done.out.startswith(f"{server.url}/team/p?nw=")
    (view,) = server.views.values()
    assert (view["entityName"], view["projectName"]) == ("team", "p")
    spec = json.loads(view["spec"])
    sections = {section["name"]: section["panels"] for section in spec["section"]["panelBankConfig"]["sections"]}
    assert {name: len(panels) for name, panels in sections.items()} == {
        "Accuracy": 2,
        "Training": 4,
        "Density": 3,
        "Cost": 3,
        "Parallel coordinates": 1,
    }
    curve = sections["Accuracy"][0]["config"]
    assert (curve["xAxis"], curve["metrics"], curve["groupBy"]) == ("exponent", ["top1/last"], "scorer.value.name")
    assert (curve["groupAgg"], curve["groupArea"]) == ("mean", "stddev")
    assert command(*QUICK).code == 0
    (seen,) = offline(runs()[0], wandb)
    words = {word for word in keys(sections) if " " not in word} - {"wandb/bar/v0"}
    drawn = {word for word in words if word in wandb_workspace.AXES or "/" in word}
    assert {"test/top1", "train/loss", "cost/passes", *wandb_workspace.AXES} <= drawn <= seen.summary.keys()
    assert seen.table("layers")["columns"][0] == "layer" and "lr" in seen.summary


def test_the_workspace_needs_a_login_and_its_package(command, monkeypatch):
    done = command("dashboard")
    assert (done.code, done.out) == (1, "")
    assert done.err == "login: nobody is logged in; run `wandb login` or set WANDB_API_KEY\n"
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.delitem(sys.modules, "prune_init.wandb_workspace")
    assert "needs: pip install 'prune_init[dashboard]'" in command("dashboard").err
