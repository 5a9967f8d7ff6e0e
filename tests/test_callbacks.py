"""Callbacks and losses by configuration: averages stay masked, the final net is the one tested, runs can be resumed."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from finished import assert_same, finished, metrics
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from prune_init import load_masks
from prune_init.command.building import build
from prune_init.data.fashion_small import fashion_small
from prune_init.training.losses import cross_entropy

SMALL = ("architecture=conv", "architecture.widths=[4,8]", "scorer=random", "sparsity=0.5", "trainer=cpu")
QUICK = (*SMALL, "recipe.epochs=3", "recipe.batch_size=500", "weights=true")
SHORT = (*QUICK, "+trainer.limit_train_batches=3")
AVERAGES = {
    "ema": ("callbacks=ema", "callbacks.ema.decay=0.8"),
    "late": ("callbacks=ema", "+callbacks.ema.update_starting_at_step=1000"),
    "mean": ("+callbacks.mean._target_=pytorch_lightning.callbacks.WeightAveraging",),
    "swa": ("callbacks=swa",),
    "both": ("callbacks=[ema,swa]",),
}


class PowerCutError(RuntimeError):
    """Stands for an external event that ends a run."""


class Cut(pl.Callback):
    """Ends the run after a number of epochs, unless it is resumed from a checkpoint."""

    def __init__(self, after: int) -> None:
        self._after = after

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self._after and trainer.ckpt_path is None:
            raise PowerCutError

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path is None:
            raise PowerCutError


class Lasting(pl.Callback):
    """Changes the net after its last test."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for parameter in pl_module.parameters():
            parameter.data.neg_()


def accuracy(folder: Path, row: dict[str, Any]) -> float:
    """The test accuracy of weights.safetensors, loaded into a newly built net."""
    net = build(OmegaConf.create(row["config"]).architecture)
    net.load_state_dict(load_file(folder / "weights.safetensors"))
    data = fashion_small(num_classes=10, input_shape=(1, 28, 28))
    with torch.no_grad():
        hits = [(net.eval()(x).argmax(1) == y) for x, y in data.test_loader(500, device="cpu")]
    return float(torch.cat(hits).float().mean())


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize(
    "more", [(), pytest.param(("compact=true",), marks=pytest.mark.slow)], ids=["masked", "compact"]
)
def test_averages_keep_the_masks_and_are_what_is_reported(command, tmp_path, name, more):
    outcome = command(*SHORT, *AVERAGES[name], *more)
    assert (outcome.code, outcome.err) == (0, "")
    folder, row = finished(tmp_path)
    weights, masks = load_file(folder / "weights.safetensors"), load_masks(folder / "masks.safetensors")
    assert all(bool((weights[key][~mask] == 0).all()) for key, mask in masks.items())
    assert sum(int((weights[key] != 0).sum()) for key in masks) > 0.9 * sum(int(m.sum()) for m in masks.values())
    assert row["top1"]["last"] == pytest.approx(accuracy(folder, row), abs=1e-6)
    assert row["trained"]["stopped"] is False


def test_what_a_callback_leaves_is_what_is_tested(command, tmp_path):
    assert command(*QUICK, "+callbacks.mine._target_=test_callbacks.Lasting").code == 0
    folder, row = finished(tmp_path)
    assert row["top1"]["last"] == pytest.approx(accuracy(folder, row), abs=1e-6)
    assert float(metrics(folder)[-1]["test/top1"]) == row["top1"]["last"] < row["top1"]["best"]


def test_an_average_is_that_of_the_weights(command, tmp_path):
    """Compared with the mean over all steps of a run that recorded every step."""
    command(*QUICK, "recipe.epochs=1", "+callbacks.mean._target_=pytorch_lightning.callbacks.WeightAveraging")
    command(*QUICK, "recipe.epochs=1", "results=plain", "+callbacks.note._target_=test_callbacks.Note")
    folder, _ = finished(tmp_path / "runs")
    found, steps = load_file(folder / "weights.safetensors"), torch.load("steps.pt")
    assert len(steps) == 10
    for name in ("features.0.weight", "classifier.weight", "features.1.running_mean"):
        torch.testing.assert_close(found[name], torch.stack([s[name] for s in steps]).mean(0), rtol=1e-5, atol=1e-6)


class Note(pl.Callback):
    """Records the net after every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.steps.append({name: tensor.clone() for name, tensor in pl_module.net.state_dict().items()})

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.save(self.steps, "steps.pt")


AT = [("ema", 2), ("mean", 9), *(("swa", after) for after in (1, 3, 4, 9))]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "after"), AT)
def test_an_interrupted_average_goes_on(command, tmp_path, name, after):
    """Interrupted before, in and after SWA's averaging, in its batch norm pass (4), and after the last epoch (9)."""
    cut = ("+callbacks.cut._target_=test_callbacks.Cut", f"+callbacks.cut.after={after}")
    run = (*SHORT, "recipe.epochs=4", *AVERAGES[name])
    with pytest.raises(PowerCutError):
        command(*run, *cut, "checkpoint=true")
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    assert command(*run, *cut, "checkpoint=true").code == 0
    resumed, row = finished(tmp_path / "runs")
    assert command(*run, "results=straight").code == 0
    straight, other = finished(tmp_path / "straight")
    assert metrics(resumed) == metrics(straight) and checkpoint.parent == resumed
    assert_same(resumed, straight, "weights")
    assert row["trained"] == other["trained"] and row["top1"] == other["top1"]


def test_early_stopping_is_told(command, tmp_path):
    stop = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "validation=100")
    outcome = command(*QUICK, *stop, "+callbacks.early_stopping.min_delta=100.0")
    assert outcome.code == 0 and "stopped after 20 steps, in epoch 2\n" in outcome.out.replace("  ", "").replace(
        " \n", "\n"
    )
    _, row = finished(tmp_path)
    assert row["trained"] == {"epochs": 2, "steps": 20, "stopped": True}


def test_the_learning_rate_is_on_the_dashboard(command, tmp_path):
    pytest.importorskip("tensorboard")
    assert command(*QUICK, "callbacks=lr_monitor", "logger=tensorboard").code == 0
    folder, _ = finished(tmp_path)
    rates = [float(row["lr"]) for row in metrics(folder)]
    assert [float(row["lr-SGD"]) for row in metrics(folder)] == pytest.approx(rates, rel=1e-6) and rates[0] == 0.05


def test_callbacks_are_in_the_name(command, tmp_path):
    assert command(*QUICK, "callbacks=[ema,early_stopping]", "validation=100", "train=false").code == 0
    folder, row = finished(tmp_path)
    assert (
        "-no_train-" in folder.name
        and "-early_stopping-ema-" in folder.name
        and set(row["config"]["callbacks"])
        == {
            "ema",
            "early_stopping",
        }
    )


# ------------------------------------------------------------------------------------------------------------- losses


def test_the_default_loss_is_cross_entropy_bit_for_bit():
    logits, labels = torch.randn(7, 5, requires_grad=True), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    ours, plain = cross_entropy(logits, labels), F.cross_entropy(logits, labels)
    assert torch.equal(ours, plain)
    assert torch.equal(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, plain)))


def test_class_weights_follow_the_type_of_the_outputs():
    logits, labels = torch.randn(4, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 1])
    each = F.cross_entropy(logits, labels, reduction="none")
    weights = torch.tensor([3.0, 1, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(cross_entropy(logits, labels, weights=[3, 1]), (each * weights).sum() / 6)


@pytest.mark.parametrize("scorer", ["snip", "grasp", "synflow"])
def test_scorers_that_take_a_loss_take_that_of_the_run(command, tmp_path, scorer):
    kept = {}
    for loss in ("cross_entropy", "label_smoothing"):
        run = (*SMALL, f"scorer={scorer}", f"loss={loss}", "train=false", f"results={loss}")
        assert command(*run).code == 0
        folder, row = finished(tmp_path / loss)
        assert row["config"]["loss"]["name"] == loss
        kept[loss] = torch.cat([mask.flatten() for mask in load_masks(folder / "masks.safetensors").values()])
    assert torch.equal(kept["cross_entropy"], kept["label_smoothing"]) == (scorer == "synflow")


def test_training_takes_the_loss(command, tmp_path):
    weights = ",".join(["0"] * 9 + ["1"])  # only one class counts, so the net always predicts it
    assert command(*QUICK, "loss=class_weights", f"loss.weights=[{weights}]").code == 0
    _, row = finished(tmp_path)
    assert row["top1"]["last"] == pytest.approx(0.1)
