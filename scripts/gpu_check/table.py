"""Tables for docs/ from the rows of the check: `python -m gpu_check.table FOLDER`."""

import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from gpu_check.report import rows, shown

Row = dict[str, Any]


def markdown(found: list[Row]) -> str:
    """The number of checks passed by stage, then all rows, with a table for consecutive rows with the same keys."""
    stages = list(dict.fromkeys(row["stage"] for row in found))
    parts = [_table([_verdicts(stage, found) for stage in stages])]
    in_order = sorted(found, key=lambda row: stages.index(row["stage"]))  # stages that ran at once are mixed
    for (stage, _), group in groupby(in_order, key=_kind):
        parts.append(f"**{stage}**\n\n" + _table([{k: v for k, v in row.items() if k != "stage"} for row in group]))
    return "\n\n".join(parts) + "\n"


def _kind(row: Row) -> tuple[str, tuple[str, ...]]:
    return row["stage"], tuple(row)


def _verdicts(stage: str, found: list[Row]) -> Row:
    verdicts = [row["passes"] for row in found if row["stage"] == stage and "passes" in row]
    return {"stage": stage, "passed": sum(verdicts), "failed": len(verdicts) - sum(verdicts)}


def _table(group: list[Row]) -> str:
    lines = [list(group[0]), ["---"] * len(group[0]), *([shown(value) for value in row.values()] for row in group)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print(markdown(rows(Path(sys.argv[1]))))
