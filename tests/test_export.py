"""`export=`: tried before training, written after the result, compared with the net."""

import csv
import json

import pytest
import torch
from torch import nn

QUICK = ("trainer=cpu", "scorer=magnitude", "recipe.epochs=1", "recipe.batch_size=500", "export=pt2")


class Flat(nn.Sequential):
    """A net with one linear layer."""

    def __init__(self, input_shape, num_classes, name=None):
        super().__init__(nn.Flatten(), nn.Linear(28 * 28, num_classes))


class Branching(Flat):
    """Branches on the values of a tensor, which an exported program cannot do."""

    def forward(self, x):
        return super().forward(x) if x.is_meta or x.sum() > 0 else super().forward(-x)


class Fickle(Flat):
    """Branches on values only after the first training step."""

    def forward(self, x):
        self.trained = self.training or getattr(self, "trained", False)
        return super().forward(x) if not self.trained or x.is_meta or x.sum() > 0 else super().forward(-x)


def of(name):
    return (f"architecture._target_=test_export.{name}", "~architecture.widths", "architecture.name=own")


@pytest.fixture
def ran(command, tmp_path):
    def run(*arguments):
        outcome = command(*QUICK, f"results={tmp_path}", *arguments)
        results = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
        return outcome, {path.name for path in tmp_path.rglob("*")}, results

    return run


def test_what_was_exported_is_compared_and_changes_nothing(ran, command, tmp_path):
    outcome, files, (row,) = ran(*of("Flat"))
    assert outcome.code == 0 and "net.pt2" in files and "weights.safetensors" not in files
    assert row["export"]["file"] == "net.pt2" and row["export"]["error"] is None
    assert 0 <= row["export"]["difference"] < 1e-5
    assert "exporting the trained network to net.pt2" in outcome.out
    (path,) = tmp_path.rglob("net.pt2")
    assert torch.export.load(path).module()(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    command(*QUICK, *of("Flat"), f"results={tmp_path / 'without'}", "export=null")
    losses = [next(csv.DictReader(path.open()))["train/loss"] for path in tmp_path.rglob("metrics.csv")]
    assert len(losses) == 2 and len(set(losses)) == 1


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_what_cannot_be_exported_is_refused_before_training(ran, kind):
    if kind == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    outcome, files, results = ran(*of("Branching"), f"export={kind}")
    assert outcome.code == 1
    assert outcome.err.startswith(f"export={kind}: the network cannot be exported (Could not guard on data-dependent")
    assert outcome.err.count("\n") == 1 and not results and "metrics.csv" not in files


def test_an_export_that_fails_in_the_end_loses_nothing(ran):
    outcome, files, (row,) = ran(*of("Fickle"))
    assert outcome.code == 0 and "warning: export=pt2: failed (" in outcome.out
    assert {"weights.safetensors", "masks.safetensors", "metrics.csv"} <= files and "net.pt2" not in files
    assert row["export"]["file"] is None and row["export"]["error"] and row["top1"]["last"] is not None
