"""Training the compact net in place of the masked net: the same losses, resumable, saved in full shapes."""

import pytest
import torch
from finished import assert_same, finished, metrics
from hydra import compose, initialize_config_module
from safetensors.torch import load_file

from prune_init.command.assembly import make_data, make_module, make_trainer
from prune_init.command.building import dataset
from prune_init.training.losses import cross_entropy

SMALL = (
    "architecture.widths=[8,12,16,16]",
    "recipe.epochs=2",
    "recipe.batch_size=250",
    "scorer.iterations=20",
    "+trainer.limit_train_batches=6",
    "+trainer.limit_val_batches=1",
)

SEEN = []


def watched(outputs, labels, **options):
    """Cross-entropy that records the dtype of the outputs, except in the trial of the configuration (two images)."""
    if len(outputs) > 2:
        SEEN.append(outputs.dtype)
    return cross_entropy(outputs, labels, **options)


def test_the_compact_net_has_the_masked_nets_losses(command, tmp_path):
    """In float64, where rounding stays small over two epochs."""
    for compact in ("false", "true"):
        arguments = ("sparsity=0.98", "precision=64-true", f"compact={compact}", f"results={tmp_path / compact}")
        assert command(*SMALL, *arguments).code == 0
    (whole, plain), (small, row) = (finished(tmp_path / name) for name in ("false", "true"))
    for one, other in zip(metrics(whole), metrics(small), strict=True):
        assert {key: float(value) for key, value in one.items()} == pytest.approx(
            {key: float(value) for key, value in other.items()}, rel=1e-6
        )
    saved = row["compaction"]
    assert plain["compaction"] is None
    assert saved["parameters"]["compact"] < 0.5 * saved["parameters"]["dense"]
    assert saved["multiply_adds"]["compact"] < saved["multiply_adds"]["dense"]
    assert_same(whole, small, "masks")


def test_weights_come_back_in_their_full_shapes(tmp_path):
    overrides = [*SMALL, "compact=true", "sparsity=0.95", "trainer.accelerator=cpu"]
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        cfg = compose("config", overrides)
    torch.manual_seed(0)
    data = make_data(cfg, dataset(cfg))
    module = make_module(cfg, data, lambda *_: None)
    make_trainer(cfg, tmp_path, []).fit(module, datamodule=data)
    small = {name: tensor.clone() for name, tensor in module.net.state_dict().items()}
    whole = module.whole_net()
    assert {n: tuple(m.shape) for n, m in module.masks.tensors().items()} == {
        n: tuple(whole.get_parameter(n).shape) for n in module.masks.tensors()
    }
    state = whole.state_dict()
    assert sum(t.numel() for t in small.values()) < sum(t.numel() for t in state.values())
    for name, tensor in small.items():
        assert torch.equal(state[name][module.net.compaction.index[name]], tensor), name
    assert all((whole.get_parameter(name)[~mask] == 0).all() for name, mask in module.masks.tensors().items())
    (x, _), *_ = data.dataset.test_loader(100, device="cpu")
    torch.testing.assert_close(whole.eval()(x), module.net.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16)])
def test_weights_come_back_in_the_precision_of_training(command, tmp_path, precision, dtype):
    """The savings are measured in that precision too."""
    SEEN.clear()
    arguments = ("compact=true", "weights=true", "sparsity=0.98", "channels_last=true", f"precision={precision}")
    loss = "loss._target_=test_compact_training.watched"
    assert command(*SMALL, "recipe.epochs=1", *arguments, loss, f"results={tmp_path}").code == 0
    folder, _ = finished(tmp_path)
    weights = load_file(folder / "weights.safetensors")
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {dtype}
    assert weights["classifier.weight"].abs().sum() > 0
    assert set(SEEN) == {dtype}


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_the_trained_compact_net_is_exported(command, tmp_path, kind):
    if kind == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package)
    arguments = (*SMALL, "recipe.epochs=1", "compact=true", "weights=true", f"export={kind}", f"results={tmp_path}")
    assert command(*arguments).code == 0
    folder, row = finished(tmp_path)
    assert row["compaction"]["parameters"]["compact"] < row["compaction"]["parameters"]["dense"]
    assert 0 <= row["export"]["difference"] < 1e-5
    assert {path.name for path in folder.iterdir()} == {
        ".hydra", "masks.safetensors", "metrics.csv", f"net.{kind}", "result.json", "status.json",
        "weights.safetensors",
    }  # fmt: skip
    weights, masks = load_file(folder / "weights.safetensors"), load_file(folder / "masks.safetensors")
    assert all((weights[name][~mask] == 0).all() for name, mask in masks.items())
    if kind == "pt2":
        x = torch.zeros(3, 1, 28, 28)
        assert torch.export.load(folder / "net.pt2").module()(x).shape == (3, 10)
