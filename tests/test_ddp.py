"""Two processes on one machine, really: one record, and the masks of a single process."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from prune_init.training.mask_buffers import MaskBuffers

ARGUMENTS = ("architecture=mlp", "scorer=snip", "sparsity=0.9", "recipe.epochs=1", "trainer.accelerator=cpu")


def test_checksums_tell_masks_apart():
    weights = {"a": torch.nn.Parameter(torch.ones(3)), "b": torch.nn.Parameter(torch.ones(2))}
    masks = MaskBuffers(weights)
    assert masks.checksum().tolist() == [3, 1]
    masks.fill({"a": torch.tensor([True, False, True]), "b": torch.tensor([True, False])})
    assert masks.checksum().tolist() == [2, 0]


@pytest.mark.slow
def test_two_processes_keep_the_masks_of_one(tmp_path):
    for devices in ("1", "2"):
        more = ("trainer=ddp", "logger=wandb") if devices == "2" else ()
        folder = f"results={tmp_path / devices}"
        command = [sys.executable, "-m", "prune_init", *ARGUMENTS, f"trainer.devices={devices}", *more, folder]
        home = {**os.environ, "HOME": str(tmp_path / "home")}  # W&B keeps logs there
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=home)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("epoch 1/1") == 1 and "warning" not in done.stdout
    one, two = (next((tmp_path / devices).rglob("result.json")) for devices in ("1", "2"))
    masks = [load_file(path.parent / "masks.safetensors") for path in (one, two)]
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())
    assert json.loads(two.read_text())["cost"]["passes"] == 100
    assert len(list((tmp_path / "2").rglob("result.json"))) == 1
    assert len(list((tmp_path / "2").rglob("*.wandb"))) == 1


@pytest.mark.slow
def test_in_a_sweep_the_second_rank_runs_its_run_alone(tmp_path):
    command = [sys.executable, "-m", "prune_init", "-m", *ARGUMENTS, "trainer=ddp", "seed=0,1", f"results={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
    assert sorted(row["seed"] for row in rows) == [0, 1]
    assert len(list(tmp_path.rglob("multirun.yaml"))) == 1  # the second rank has not begun the sweep anew
    assert {path.name for path in tmp_path.iterdir()} == {"multirun.yaml", "fashion_small", ".sweeps"}
    for path in tmp_path.rglob("status.json"):
        assert json.loads(path.read_text())["attempt"] == 1
