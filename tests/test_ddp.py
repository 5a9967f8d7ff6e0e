"""Two real processes on one machine: one record, and the masks of a single process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from finished import assert_same, finished, metrics
from safetensors.torch import load_file
from torch import Tensor, nn

from prune_init.data.fashion_small import fashion_small
from prune_init.errors import InputError
from prune_init.scorers.random import Random
from prune_init.training.datamodule import DataModule
from prune_init.training.mask_buffers import MaskBuffers

HERE = Path(__file__).parent
ARGUMENTS = ("architecture=mlp", "scorer=snip", "sparsity=0.9", "recipe.epochs=1", "trainer.accelerator=cpu")


def run(folder: Path, *arguments: str, **environment: str) -> str:
    """Run a command that must succeed; return its output."""
    command = [sys.executable, "-m", "prune_init", *arguments, f"results={folder}"]
    home = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=home, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


class OfItsOwn(Random):
    """Gives other scores in each process, as if devices rounded differently."""

    def __call__(self, net: Any) -> dict[str, Tensor]:
        net.generator.manual_seed(torch.distributed.get_rank())
        return super().__call__(net)


class Watch(pl.Callback):
    """Checks what DDP sends, and that all processes have equal weights; draws other random numbers in each process."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        sent = [name for name, _ in pl_module.named_buffers() if name not in trainer.model.parameters_to_ignore]
        assert sent == [name for name, _ in pl_module.named_buffers() if name.startswith("net.")] != []
        assert len(trainer.model.modules_buffers) == len(sent)
        torch.rand(trainer.global_rank)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        mine = nn.utils.parameters_to_vector(pl_module.parameters())
        all_of_them = pl_module.all_gather(mine)
        assert torch.equal(all_of_them, all_of_them[:1].expand_as(all_of_them))


@pytest.mark.slow
def test_the_masks_of_the_first_process_are_those_of_all(tmp_path):
    """In a sweep, whose second process must run its runs alone rather than start the sweep again."""
    chosen = ("scorer=random", "scorer._target_=test_ddp.OfItsOwn", "+callbacks.watch._target_=test_ddp.Watch")
    small = ("architecture.widths=[4,8]", "sparsity=0.8", "recipe.epochs=2", "trainer=ddp", "trainer.accelerator=cpu")
    kept = ("checkpoint=true", "weights=true", "+trainer.limit_train_batches=4")
    run(tmp_path, "-m", "compact=false,true", *small, *kept, *chosen, PYTHONPATH=str(HERE))
    folders = [path.parent for path in tmp_path.rglob("result.json")]
    rows = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert sorted(row["config"]["compact"] for row in rows) == [False, True]
    for folder in folders:
        masks, weights = load_file(folder / "masks.safetensors"), load_file(folder / "weights.safetensors")
        assert all((weights[name][~mask] == 0).all() for name, mask in masks.items())
        states = torch.load(folder / "last.ckpt", weights_only=True)["random_states"]
        assert [sorted(state) for state in states] == [["cpu", "kind"]] * 2
        assert not torch.equal(states[0]["cpu"], states[1]["cpu"])
        assert json.loads((folder / "status.json").read_text())["attempt"] == 1
    assert len(list(tmp_path.rglob("multirun.yaml"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"multirun.yaml", "fashion_small", ".sweeps"}


def test_checksums_tell_masks_apart():
    weights = {"a": torch.nn.Parameter(torch.ones(3)), "b": torch.nn.Parameter(torch.ones(2))}
    masks = MaskBuffers(weights)
    assert masks.checksum().tolist() == [3, 1]
    masks.fill({"a": torch.tensor([True, False, True]), "b": torch.tensor([True, False])})
    assert masks.checksum().tolist() == [2, 0]


def test_a_batch_that_the_devices_cannot_share_evenly_is_refused():
    data = DataModule(fashion_small(num_classes=10, input_shape=(1, 28, 28)), batch_size=25, seed=0)
    data.trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    with pytest.raises(InputError, match=r"recipe\.batch_size=25: allowed with 2 devices: multiples of 2"):
        data.train_dataloader()


@pytest.mark.slow
def test_two_processes_keep_the_masks_of_one(tmp_path):
    """They also report its numbers: in float64, two halves of a batch give the gradient of the whole batch."""
    for devices in ("1", "2"):
        (tmp_path / devices).mkdir()
        more = ("trainer=ddp", "logger=wandb") if devices == "2" else ()
        same = ("precision=64-true", "recipe.batch_size=50", f"trainer.devices={devices}")
        said = run(tmp_path / devices, *ARGUMENTS, *same, *more, HOME=str(tmp_path / "home"))  # W&B keeps logs there
        assert said.count("epoch 1/1") == 1 and "warning" not in said
    (one, _), (two, row) = (finished(tmp_path / devices) for devices in ("1", "2"))
    assert_same(one, two, "masks")
    (first,), (second,) = metrics(one), metrics(two)
    assert len(first) == 8 and first.keys() == second.keys()
    assert [float(second[key]) for key in first] == pytest.approx([*map(float, first.values())], rel=1e-6)
    assert row["cost"]["passes"] == 100
    assert len(list((tmp_path / "2").rglob("*.wandb"))) == 1
