"""Two processes on one machine, really: one record, and the masks of a single process."""

import json
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
        more = ("+trainer.strategy=ddp",) if devices == "2" else ()
        folder = f"results={tmp_path / devices}"
        command = [sys.executable, "-m", "prune_init", *ARGUMENTS, f"trainer.devices={devices}", *more, folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    one, two = (next((tmp_path / devices).rglob("result.json")) for devices in ("1", "2"))
    masks = [load_file(path.parent / "masks.safetensors") for path in (one, two)]
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())
    assert json.loads(two.read_text())["cost"]["passes"] == 100
    assert len(list((tmp_path / "2").rglob("result.json"))) == 1
