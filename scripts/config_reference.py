"""Write docs/configuration.md from the comments in conf/: python scripts/config_reference.py."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONF, PAGE = ROOT / "conf", ROOT / "docs" / "configuration.md"
HEAD = """# Configuration

Written from the comments in [conf/](../conf/config.yaml) by `python scripts/config_reference.py`. On the command line a
key is given as `KEY=VALUE`, one of a group as `GROUP.KEY=VALUE`, and a choice as `GROUP=NAME`; `--cfg job` prints the
whole configuration that results.
"""
KEY = re.compile(r"(?P<indent> *)(?P<key>[\w/]+): *(?P<value>[^#\s].*?)?(?: +# (?P<about>.*))?")
GROUP = re.compile(r"  - (?:optional )?(?P<key>\w+): *(?P<value>\w+) +# (?P<about>.*)")


def page() -> str:
    """The text of the page."""
    text = (CONF / "config.yaml").read_text()
    groups = [match for line in text.splitlines() if (match := GROUP.fullmatch(line))]
    parts = [
        HEAD,
        "## Groups\n",
        _table("group", "default", ([_link(m["key"]), m["value"], m["about"]] for m in groups)),
    ]
    parts += ["## Keys\n", _table("key", "default", _keys(text.partition("\nhydra:")[0]))]
    for folder in sorted({path.parent for path in CONF.rglob("*.yaml")} - {CONF}):
        parts += [f"## {folder.relative_to(CONF).as_posix()}\n", _choices(folder)]
    return "\n".join(parts)


def _choices(folder: Path) -> str:
    texts = {path.stem: path.read_text() for path in sorted(folder.glob("*.yaml"))}
    about = _table("choice", "keys", ([name, _own(text), _about(text)] for name, text in texts.items()))
    noted = {tuple(row): None for text in texts.values() for row in _keys(text)}  # of all choices, without duplicates
    return about + ("\n" + _table("key", "value", noted) if noted else "")


def _keys(text: str) -> list[list[str]]:
    """Key, value and comment of each line that has a comment."""
    rows, path = [], list[str]()
    for line in text.splitlines():
        if match := KEY.fullmatch(line):
            path = [*path[: len(match["indent"]) // 2], match["key"]]
            rows += (
                [[f"`{'.'.join(path)}`", f"`{match['value']}`" if match["value"] else "", match["about"]]]
                if match["about"]
                else []
            )
    return rows


def _own(text: str) -> str:
    keys = (m["key"] for line in text.splitlines() if (m := KEY.fullmatch(line)) and not m["indent"])
    return ", ".join(f"`{key}`" for key in keys if key not in ("name", "_target_", "_partial_", "defaults", "hydra"))


def _about(text: str) -> str:
    """The comment at the top of a file."""
    lines = re.match(r"(?:#.*\n)*", text)
    return " ".join(line.lstrip("# ") for line in (lines[0] if lines else "").splitlines() if "@package" not in line)


def _link(name: str) -> str:
    return f"[{name}](#{name})" if (CONF / name).is_dir() else name


def _table(first: str, second: str, rows: Iterable[Sequence[str]]) -> str:
    lines = (" | ".join(cell.replace("|", r"\|") for cell in row) for row in rows)
    return "\n".join([f"| {first} | {second} | |", "|---|---|---|", *(f"| {line} |" for line in lines)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
