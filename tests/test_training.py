"""Training a pruned net: pruned weights stay 0, nothing else changes, and an interrupted run has the same result."""

from collections.abc import Callable
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from finished import assert_same, finished, metrics
from omegaconf import OmegaConf
from pytorch_lightning.loggers.logger import Logger
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

import prune_init
from prune_init import load_masks
from prune_init.command.building import build
from prune_init.files import write_csv
from prune_init.pruning.weights import prunable
from prune_init.record.run_record import Accuracies
from prune_init.training.history import History
from prune_init.training.module import PruneThenTrain
from prune_init.training.tally import Tally

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*")  # raised by Lightning's use of torch

CLASSES = 5
CPU = torch.device("cpu")
OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": partial(torch.optim.Adam, lr=1e-2, weight_decay=1e-2),
    "adamw": partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1),
}
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "num_sanity_val_steps": 0,
    **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
}
Batches = list[tuple[Tensor, Tensor]]


def network() -> nn.Module:
    """A small net with convolutions and batch norm, in double precision."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, CLASSES),
    ).double()


def batches(count: int = 6) -> Batches:
    random = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(8, 1, 6, 6, generator=random, dtype=torch.float64),
            torch.randint(CLASSES, (8,), generator=random),
        )
        for _ in range(count)
    ]


def wrapped(net: nn.Module, optimizer: Callable[..., Any], fast: str | None = None, **options: Any) -> PruneThenTrain:
    options = {"scorer": "random", "sparsity": 0.7, "generator": torch.Generator().manual_seed(2), **options}
    return PruneThenTrain(
        net,
        prune=partial(prune_init.prune, **options),
        sample=lambda device: batches(2),
        optimizer=optimizer,
        **({fast: True} if fast else {}),
    )


class Watch(pl.Callback):
    """Records after every optimiser step the loss, and how far any pruned weight is from 0.0."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.leaks: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PruneThenTrain)
        self.losses.append(float(outputs["loss"]))
        self.leaks.append(leak(pl_module.net, pl_module.masks.tensors()))


def leak(net: nn.Module, masks: dict[str, Tensor]) -> float:
    weights = prunable(net)
    return max(float(weights[name][~mask].detach().abs().max()) for name, mask in masks.items())


def fit(module: PruneThenTrain, *, epochs: int, clip: float | None = None) -> Watch:
    watch = Watch()
    trainer = pl.Trainer(max_epochs=epochs, gradient_clip_val=clip, callbacks=[watch], **QUIET)
    trainer.fit(module, DataLoader(batches(), batch_size=None), DataLoader(batches(1), batch_size=None))
    return watch


class Restless(torch.optim.SGD):
    """An optimiser that moves every weight at every step, so that masking the gradients is not enough."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter += 0.01
        return loss


RESTLESS = partial(Restless, lr=0.1)


class Searching(torch.optim.SGD):
    """An optimiser that evaluates the batch at other weights too, as L-BFGS does, and then returns to the first."""

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"]]
        saved = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for p in parameters:
                p += torch.linspace(-1, 1, p.numel(), dtype=p.dtype).view_as(p)
        closure()
        with torch.no_grad():
            for p, value in zip(parameters, saved, strict=True):
                p.copy_(value)
        return loss


def masked_in_forward(
    masks: dict[str, Tensor], make_optimizer: Callable[..., Any], *, epochs: int, clip: float | None
) -> tuple[list[float], dict[str, Tensor]]:
    """The definition of a masked net: dense weights are multiplied by the masks in every forward pass."""
    net = network()
    optimizer = make_optimizer(net.parameters())
    losses = []
    for x, y in batches() * epochs:
        masked = {name: weight * masks[name] for name, weight in prunable(net).items()}
        loss = F.cross_entropy(functional_call(net, masked, (x,)), y)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            norm = nn.utils.clip_grad_norm_(net.parameters(), clip)
            assert norm > clip  # otherwise clipping would not be tested
        optimizer.step()
        losses.append(loss.item())
    return losses, {name: t * masks[name] if name in masks else t for name, t in net.state_dict().items()}


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], rtol: float = 1e-9, atol: float = 1e-12) -> None:
    assert found.keys() == wanted.keys()
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("clip", [None, 0.05], ids=["unclipped", "clipped"])
@pytest.mark.parametrize("name", [*OPTIMIZERS, "restless"])
def test_lightning_trains_as_masks_in_the_forward_pass_do(name, clip):
    module = wrapped(network(), OPTIMIZERS.get(name, RESTLESS))
    watch = fit(module, epochs=4, clip=clip)
    masks = module.masks.tensors()
    assert watch.leaks == [0.0] * 24 and sum(int(mask.sum()) for mask in masks.values()) == round(0.3 * 858)
    assert all((weight != 0).sum() == masks[key].sum() for key, weight in prunable(module.net).items())
    if name in OPTIMIZERS:
        losses, state = masked_in_forward(masks, OPTIMIZERS[name], epochs=4, clip=clip)
        assert len(losses) == 24 and losses[0] != pytest.approx(losses[-1], rel=1e-3)
        assert watch.losses == pytest.approx(losses, rel=1e-10)
        assert_close(module.net.state_dict(), state)


@pytest.mark.parametrize("name", [*OPTIMIZERS, "restless"])
def test_a_loop_of_ones_own_trains_as_masks_in_the_forward_pass_do(name):
    net, found = network(), []
    result = prune_init.prune(net, "random", 0.7)
    optimizer = OPTIMIZERS.get(name, RESTLESS)(net.parameters())
    result.keep(optimizer)
    for x, y in batches() * 4:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
        assert leak(net, result.masks) == 0.0
    for key, weight in prunable(net).items():
        moments = [moment for moment in optimizer.state[weight].values() if moment is not None and moment.ndim]
        assert all(not moment[~result.masks[key]].any() for moment in moments)
        assert (weight != 0).sum() == result.masks[key].sum()
    if name in OPTIMIZERS:
        losses, state = masked_in_forward(result.masks, OPTIMIZERS[name], epochs=4, clip=None)
        assert found == pytest.approx(losses, rel=1e-10)
        assert_close(net.state_dict(), state)


def test_a_batch_counts_once_however_often_it_is_evaluated():
    found = []
    for optimizer in (torch.optim.SGD, Searching):
        module = wrapped(network(), partial(optimizer, lr=0.0))
        fit(module, epochs=2)
        found.append({name: float(module.trainer.callback_metrics[f"train/{name}"]) for name in ("loss", "top1")})
    assert found[0] == found[1] and found[0]["top1"] * 48 == pytest.approx(round(found[0]["top1"] * 48))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_net_left_in_eval_mode_is_trained_in_train_mode(mode):
    net = network().eval()
    module = wrapped(net, OPTIMIZERS["sgd"], scorer="snip", mode=mode)
    fit(module, epochs=3)
    assert net[1].training
    assert net[1].num_batches_tracked == 18  # 3 x 6 training batches: neither scoring nor testing counted
    assert (net[1].running_mean != 0).all()


@pytest.mark.parametrize("option", ["channels_last", "compiled"])
def test_faster_ways_train_to_the_same_losses(monkeypatch, option):
    # Traced for real, but not compiled by a C++ compiler, which takes minutes.
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    plain = fit(wrapped(network(), OPTIMIZERS["sgd"]), epochs=2)
    module = wrapped(network(), OPTIMIZERS["sgd"], fast=option)
    fast = fit(module, epochs=2)
    assert fast.losses == pytest.approx(plain.losses, rel=1e-9)
    assert max(fast.leaks) == 0
    assert module.net.state_dict().keys() == network().state_dict().keys()
    weight = module.net[3].weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == (option == "channels_last")


def test_a_scorer_without_data_costs_no_data(monkeypatch):
    module = wrapped(network(), OPTIMIZERS["sgd"], scorer="synflow", input_shape=(1, 6, 6))
    monkeypatch.setattr(module, "_sample", lambda device: pytest.fail("the pruning sample was read"))
    module.prune(CPU)
    assert module.pruning["sparsity"] == pytest.approx(0.7, abs=1e-3)


def test_the_nets_own_state_dict_has_no_masks():
    module = wrapped(network(), OPTIMIZERS["sgd"])
    assert module.net.state_dict().keys() == network().state_dict().keys()
    assert sum(name.startswith("masks.") for name in module.state_dict()) == 3


def test_top5_of_five_classes_is_all_of_them():
    tally = Tally([1, 5])
    tally.add(torch.tensor(0.5), torch.eye(CLASSES), torch.tensor([0, 1, 2, 3, 0]))
    assert tally.take(CPU).tolist() == [2.5, 4, 5, 5]
    assert tally.take(CPU).tolist() == [0, 0, 0, 0]


def test_a_tally_is_that_of_torchmetrics():
    random = torch.Generator().manual_seed(0)
    tally, metrics = Tally([1, 5]), [MulticlassAccuracy(12, top_k=k, average="micro") for k in (1, 5)]
    for count in (7, 3):
        logits, labels = torch.randn(count, 12, generator=random), torch.randint(12, (count,), generator=random)
        tally.add(torch.tensor(1.0), logits, labels)
        for metric in metrics:
            metric.update(logits, labels)
    loss, *hits, examples = tally.take(CPU).tolist()
    assert (loss, examples) == (10, 10)
    assert [hit / examples for hit in hits] == pytest.approx([float(metric.compute()) for metric in metrics])


def test_a_tally_counts_beyond_the_precision_of_training():
    tally = Tally([1])
    outputs = torch.eye(10, dtype=torch.bfloat16)
    for _ in range(100):
        tally.add(torch.tensor(0.5, dtype=torch.bfloat16), outputs, torch.arange(10) // 2 * 2)
    assert tally.take(CPU).tolist() == [500, 500, 1000]


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_accuracies_are_counted_in_full_at_half_precision(precision):
    """A count of 257 cannot be represented in bfloat16, nor 2,049 in float16."""
    module = wrapped(network().float(), OPTIMIZERS["sgd"], scorer="magnitude", sparsity=0.5)
    data = [(torch.zeros(2049, 1, 6, 6), torch.arange(2049) % CLASSES)]
    trainer = pl.Trainer(precision=precision, max_epochs=1, **QUIET)
    trainer.fit(module, DataLoader(batches(1), batch_size=None), DataLoader(data, batch_size=None))
    assert trainer.callback_metrics["test/top5"] == 1
    predicted = module.net.eval()(data[0][0][:1].to(next(module.parameters()))).argmax()
    wanted = (data[0][1] == predicted).sum() / 2049
    assert trainer.callback_metrics["test/top1"] == wanted


# ---------------------------------------------------------------------------------------------------------- records


def told(found: Accuracies) -> tuple[float | None, ...]:
    return tuple(value for _, value in found)


def test_last_best_and_best_by_validation_are_kept_apart(tmp_path):
    history = History(tmp_path / "metrics.csv")
    assert set(history.accuracy("top1").model_dump().values()) == {None}
    history.rows = [
        {"epoch": 1, "test/top1": 0.30, "test/top5": 0.70, "validation/top1": 0.20},
        {"epoch": 2, "test/top1": 0.60, "test/top5": 0.95, "validation/top1": 0.40},
        {"epoch": 3, "test/top1": 0.50, "test/top5": 0.90, "validation/top1": 0.45},
        {"epoch": 4, "test/top1": 0.55, "test/top5": 0.85, "validation/top1": 0.45},
    ]
    assert told(history.accuracy("top1")) == (0.55, 0.60, 2, 0.50, 0.45, 3)
    assert told(history.accuracy("top5")) == (0.85, 0.95, 2, 0.90, None, 3)


def test_without_validation_nothing_is_chosen_by_it(tmp_path):
    history = History(tmp_path / "metrics.csv")
    history.rows = [{"epoch": 1, "test/top1": 0.4}, {"epoch": 2, "test/top1": 0.3}]
    assert told(history.accuracy("top1")) == (0.3, 0.4, 1, None, None, None)


def test_rows_are_written_whole(tmp_path):
    path = tmp_path / "metrics.csv"
    write_csv(path, [{"epoch": 1, "test/top1": 0.25}, {"epoch": 2, "test/top1": 0.5}])
    assert path.read_text().split() == ["epoch,test/top1", "1,0.25", "2,0.5"]
    assert list(tmp_path.iterdir()) == [path]


# -------------------------------------------------------------------------------------------------- interruption

SMALL = (
    "architecture=conv",
    "architecture.widths=[4,8]",
    "scorer=random",
    "sparsity=0.8",
    "validation=100",
    "recipe.epochs=4",
    "trainer=cpu",
    "+trainer.limit_train_batches=5",
    "+trainer.limit_val_batches=1",
)
COMPACT = ("compact=true", "architecture.widths=[8,12,16,16]", "scorer=synflow", "iterations=20", "sparsity=0.98")
TICKET = ("lifecycle=lottery_ticket", "lifecycle.levels=3", "lifecycle.rewind_epoch=1", "recipe.epochs=2")
KINDS = {
    "float32": (),
    "float64": ("precision=64-true",),
    "compact": COMPACT,
    "compact in float64": (*COMPACT, "precision=64-true"),
    "lottery ticket": (*TICKET, "scorer=magnitude"),
    "limited by steps": ("+trainer.max_steps=18",),  # of 20, so that the last epoch is not complete
    "lottery ticket at random": (*TICKET, "scorer=random"),
}


class PowerCutError(RuntimeError):
    """Stands for an external event that ends a run."""


class Dashboard(Logger):
    """A logger that takes the test results of two epochs and fails at the third, before that epoch's checkpoint."""

    def __init__(self, save_dir: Path) -> None:
        super().__init__()
        self._seen = 0

    @property
    def name(self) -> str:
        return "dashboard"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        assert params["seed"] == 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._seen += "test/top1" in metrics
        if self._seen == 3:
            raise PowerCutError


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow if "64" in k else ()) for k in KINDS])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(kind, command, tmp_path):
    """Of two runs of one configuration the second fails in epoch 3, after its row is written, and is started again."""
    run = (*SMALL, *KINDS[kind], "checkpoint=true", "weights=true")
    assert command(*run, "results=straight").code == 0
    with pytest.raises(PowerCutError):
        command(*run, "results=broken", "+logger._target_=test_training.Dashboard")
    (last,) = Path("broken").rglob("last.ckpt")
    assert checkpoint(last.parent)["epoch"] == 1 and len(metrics(last.parent)) == 3
    assert not list(Path("broken").rglob("result.json"))
    again = command(*run, "results=broken")
    assert again.code == 0
    levels = "lottery ticket" in kind  # with two more levels to come
    assert ("scoring 1/1\n" in again.out) == levels, "a resumed run must not prune again"
    (straight, wanted), (broken, found) = (finished(Path(name)) for name in ("straight", "broken"))
    assert metrics(broken) == metrics(straight)
    assert [row["epoch"] for row in metrics(broken)] == ["1", "2", "3", "4", "5"][: 4 + levels]
    assert not levels or [row["level"] for row in metrics(broken)] == ["0.0", "0.0", "1.0", "2.0", "3.0"]
    assert_same(straight, broken, "masks", "weights")
    states = [checkpoint(folder)["state_dict"] for folder in (straight, broken)]
    assert_close(states[1], states[0], rtol=0, atol=0)
    for key in (
        "identity",
        "top1",
        "top5",
        "layers",
        "effective_sparsity",
        "connected",
        "sparsity",
        "config",
        "trained",
    ):
        assert wanted[key] == found[key], key
    for seconds in (wanted["seconds"], found["seconds"]):
        assert seconds["total"] >= seconds["setup"] + seconds["training"], "an epoch counts in whichever attempt"
    if "compact" in kind:
        assert wanted["compaction"]["parameters"] == found["compaction"]["parameters"]
        assert found["compaction"]["parameters"]["compact"] < found["compaction"]["parameters"]["dense"]


def test_a_checkpoint_holds_the_masks_and_no_code(command, tmp_path):
    assert command(*SMALL, "checkpoint=true").code == 0
    folder, _ = finished(tmp_path)
    saved, masks = checkpoint(folder), load_masks(folder / "masks.safetensors")
    assert saved["epoch"] == 3 and saved["pruning"]["sparsity"] == pytest.approx(0.8, abs=1e-3)
    held = {key: tensor for key, tensor in saved["state_dict"].items() if key.startswith("masks.")}
    assert {key.removeprefix("masks.").replace("/", ".") for key in held} == masks.keys()
    for name, mask in masks.items():
        assert held["masks." + name.replace(".", "/")].dtype == torch.bool
        assert torch.equal(held["masks." + name.replace(".", "/")], mask)
        assert (saved["state_dict"]["net." + name] != 0).logical_not().logical_or(mask).all()


def sparse_start(results: Path) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network from a run with train=false, loaded as a user would do it."""
    folder, row = finished(results)
    net = build(OmegaConf.create(row["config"]).architecture)
    net.load_state_dict(load_file(folder / "weights.safetensors"))
    return net, load_masks(folder / "masks.safetensors")


def test_train_false_leaves_a_sparse_start(command, tmp_path):
    starts = {}
    for scorer in ("random", "magnitude"):
        assert command("architecture=mlp", f"scorer={scorer}", "train=false", f"results={scorer}").code == 0
        starts[scorer] = sparse_start(tmp_path / scorer)
    for net, masks in starts.values():
        weights = prunable(net)
        assert sum(int((weight != 0).sum()) for weight in weights.values()) == round(0.02 * 119_400)
        assert all(torch.equal(weights[name] != 0, mask) for name, mask in masks.items())
    # Initial weights depend only on the seed: a weight that two scorers keep has the same value.
    (one, of_one), (other, of_other) = starts.values()
    both = {name: mask & of_other[name] for name, mask in of_one.items()}
    assert sum(int(mask.sum()) for mask in both.values()) > 20
    for name, mask in both.items():
        assert torch.equal(prunable(one)[name][mask], prunable(other)[name][mask])
    for name, parameter in one.named_parameters():
        if name.endswith("bias"):
            assert torch.equal(parameter, dict(other.named_parameters())[name])
