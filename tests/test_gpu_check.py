"""The check of GPUs, run here on a CPU: each of its results is a line of JSON."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"


def checked(folder: Path, *stages: str) -> tuple[int, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "gpu_check", *stages, "--out", str(folder), "--quick", "--limit", "3000"]
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    status = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True).returncode
    return status, [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_what_is_found_is_written(tmp_path: Path) -> None:
    status, rows = checked(tmp_path, "env", "masks")
    assert status == 0
    assert [row["stage"] for row in rows] == [*["masks"] * 4, "done", "env", "env", "done"]
    assert rows[5]["torch"] and rows[6]["weights"] > 0
    for row in rows[:4]:
        assert row["net"] == "resnet8"
        assert (row["differ"], row["differ_twice"], row["differ_own_dtype"], row["passes"]) == (0, 0, 0, True)
    assert [row["scorer"] for row in rows[:4]] == ["grasp_official", "ntk_sap", "random_erk", "synflow"]
    assert len({row["kept"] for row in rows[:4]}) == 1
    assert [(row["of"], row["ended"], row["passes"]) for row in (rows[4], rows[7])] == [
        ("masks", "whole", True),
        ("env", "whole", True),
    ]
    table = (tmp_path / "table.md").read_text()
    assert "| masks | 4 | 0 |" in table and "| resnet8 | synflow |" in table


@pytest.mark.slow
def test_a_stage_that_cannot_be_begun_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gpu_check", "rates", "--out", str(tmp_path), "--limit", "1"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True)
    (row,) = (json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines())
    assert done.returncode == 1 and (row["of"], row["passes"]) == ("rates", False)
    assert "0 checks passed, 1 failed" in done.stdout


def test_the_machine_with_the_gpu_has_all_that_is_needed() -> None:
    words = (SCRIPTS / "gpu_check" / "prepare.sh").read_text().lower().replace("lightning", "pytorch-lightning")
    project = tomllib.loads((SCRIPTS.parent / "pyproject.toml").read_text())["project"]
    needed = {re.split("[^a-z0-9-]", requirement)[0] for requirement in project["dependencies"]} - {"wandb"}
    assert {name for name in needed if not re.search(rf"\b{name}\b", words)} == set()


def test_a_tensor_of_rounding_alone_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from gpu_check.fits import gap

    a = {"weight": torch.tensor([2.0, -4.0]), "dead": torch.tensor([3e-17, 0.0]), "steps": torch.tensor(7)}
    assert gap(a, a | {"dead": torch.tensor([1e-17, 0.0])}) == (pytest.approx(5e-15), "dead")  # 2e-17 / (0.001 * 4)
    assert gap(a, a | {"weight": torch.tensor([2.0, -3.0]), "steps": torch.tensor(8)}) == (0.25, "weight")


def test_tables_show_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from gpu_check.table import markdown

    rows = [
        {"stage": "step", "ms": 1.23456},
        {"stage": "step", "ms": 2.0},
        {"stage": "step", "share": 0.2, "passes": False},
    ]
    shown = markdown(rows)
    assert shown.startswith(
        "| stage | passed | failed |\n| --- | --- | --- |\n| step | 0 | 1 |\n\n**step**\n\n| ms |\n"
    )
    assert "| 1.235 |\n| 2 |\n" in shown and "| 0.2 | False |" in shown
