"""Pruning and training on a pretended CUDA device: no operation mixes devices, and the host waits only if it must."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pretended_device import CALLS, CUDA, WAITS, Pretended, pretended
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader

import prune_init
from prune_init.architectures.resnet import thin_resnet
from prune_init.data.arrays import ArrayImages
from prune_init.data.sampler import Sampler
from prune_init.pruning.engine import replay
from prune_init.training.module import PruneThenTrain
from prune_init.training.resume import Resumable
from prune_init.training.tally import Tally


def network() -> nn.Module:
    torch.manual_seed(0)
    return thin_resnet(8, 4, (3, 16, 16), width=4)


def images() -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 3, 16, 16, generator=random), torch.arange(8) % 4) for _ in range(2)]


def test_the_device_is_as_strict_as_a_real_one():
    with pretended():
        x = torch.ones(3).to(CUDA)
        assert type(x) is Pretended and x.is_cuda and (x * torch.tensor(2.0)).sum().item() == 6
        assert WAITS == {"_local_scalar_dense": 1}
        y = torch.ones(3)
        for mistake in (lambda: x + y, lambda: torch.cat([x, y]), lambda: x @ y, lambda: y.mul_(x)):
            with pytest.raises(RuntimeError, match="to be on the same device"):
                mistake()
        with pytest.raises(RuntimeError, match="'cuda' device type for generator"):
            torch.rand(3, generator=torch.Generator(), device="cuda")
        assert x[x > 0].cpu().tolist() == [1, 1, 1]
        assert WAITS == {"_local_scalar_dense": 1, "index": 1, "copy to the processor": 1}


def test_images_are_those_of_the_processor_to_the_last_bit():
    """A GPU rounds the division by a CPU scalar differently; one unit in the last place of an input can change a weight
    by some per cent within ten steps."""
    pixels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    kept = ArrayImages(pixels, torch.zeros(1, dtype=torch.int64), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    wanted = next(iter(kept.loader(Sampler(1, 1), device="cpu", augment=None)))[0]
    with pretended():
        found = next(iter(kept.loader(Sampler(1, 1), device=CUDA, augment=None)))[0]
        assert type(found) is Pretended
        assert torch.equal(found.cpu(), wanted)
        assert not torch.equal((pixels.to(CUDA).float() / 255).cpu(), pixels.float() / 255)


def options(scorer: str) -> dict[str, Any]:
    once = "random" in scorer or scorer in ("grasp", "snip", "prospr", "magnitude")
    return {
        "sparsity": 0.8,
        "iterations": None if once else 2,
        "input_shape": (3, 16, 16),
        "data": images(),
        "dtype": torch.float64,
        "generator": torch.Generator().manual_seed(1),
    }


@pytest.mark.parametrize("scorer", prune_init.scorers())
def test_masks_are_those_of_the_processor(scorer):
    wanted = prune_init.prune(network(), scorer, **options(scorer))
    with pretended():
        net = network().to(CUDA)
        found = prune_init.prune(net, scorer, **options(scorer))
        assert all(type(parameter.data) is Pretended for parameter in net.parameters())
        masks = {name: mask.cpu() for name, mask in found.masks.items()}
    assert all(torch.equal(mask, masks[name]) for name, mask in wanted.masks.items())
    assert found.effective_sparsity == wanted.effective_sparsity


def test_an_iteration_of_synflow_waits_twice_and_is_few_operations():
    """Waits to know whether all scores are finite, and for those at the cut; half of the calls make views or memory."""

    def counts(iterations: int) -> tuple[int, int]:
        with pretended():
            prune_init.prune(network().to(CUDA), "synflow", **options("synflow") | {"iterations": iterations})
        return WAITS.total(), CALLS.total()

    (waits, calls), (more_waits, more_calls) = counts(3), counts(6)
    assert (more_waits - waits) / 3 <= 2
    assert (more_calls - calls) / 3 <= 270


@pytest.mark.parametrize("scorer", ["synflow", "snip"])
def test_a_graph_replays_what_an_iteration_does(scorer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same masks, scores and cost with fewer operations; not for SNIP, which looks at its labels and so waits."""

    def pruned(iterations: int) -> tuple[prune_init.PruneResult, int]:
        with pretended():
            result = prune_init.prune(network().to(CUDA), scorer, **options(scorer) | {"iterations": iterations})
            return result, CALLS.total()

    wanted, _ = pruned(6)
    monkeypatch.setattr(replay, "ON", True)
    (_, fewer), (found, more) = pruned(4), pruned(6)
    assert found == wanted and vars(found.cost.ledger) | {"seconds": 0} == vars(wanted.cost.ledger) | {"seconds": 0}
    assert found.cost.passes == wanted.cost.passes
    assert all(torch.equal(found.scores[name].cpu(), score.cpu()) for name, score in wanted.scores.items())
    assert CALLS["replay"] == (5 if scorer == "synflow" else 0)
    assert (more - fewer) / 2 <= (120 if scorer == "synflow" else 500)


def test_what_a_device_without_float64_holds_is_scored_on_the_processor():
    """For SynFlow, which uses float64 by default, and for scope=layer; paths are followed on the CPU too."""
    for scorer, scope in (("synflow", "global"), ("snip", "layer")):
        wanted = prune_init.prune(network(), scorer, scope=scope, **options(scorer))
        with pretended(torch.float64):
            net = network().to(CUDA)
            found = prune_init.prune(net, scorer, scope=scope, **options(scorer))
            assert all((parameter.cpu() != 0).sum() > 0 for parameter in net.parameters() if parameter.dim() > 1)
        assert found == wanted and found.effective_sparsity == wanted.effective_sparsity
        assert all(mask.device.type == "cpu" for mask in found.masks.values())
    with pretended(torch.float64):
        tally = Tally((1, 5))
        tally.add(torch.tensor(0.5).to(CUDA), torch.eye(3).to(CUDA), torch.tensor([0, 1, 0]).to(CUDA))
        assert tally.take(CUDA).tolist() == [1.5, 2, 3, 3]


class Accelerator(CPUAccelerator):
    """Replaces Lightning's accelerator, which would look for a driver."""

    def setup_device(self, device: torch.device) -> None:
        pass


class Watch(pl.Callback):
    """Records the number of waits up to the end of each training step."""

    def __init__(self) -> None:
        self.waits: list[int] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.waits.append(WAITS.total())


class Data(pl.LightningDataModule):
    """Batches that are on the device already, as from the loaders of a run."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.batches = [(x.to(device), y.to(device)) for x, y in images()]

    def train_dataloader(self) -> Any:
        return DataLoader(self.batches * 3, batch_size=None)

    def val_dataloader(self) -> Any:
        return DataLoader(self.batches, batch_size=None)


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "channels_last": {"channels_last": True},
    "compact": {"compact_for": (3, 16, 16)},
}


def trained(device: torch.device, folder: Path, kind: str, epochs: int) -> tuple[dict[str, Tensor], list[int]]:
    """Train, or resume from a last.ckpt; return the tensors of net and masks, and the waits up to each step's end."""
    module = PruneThenTrain(
        network(),
        prune=partial(prune_init.prune, **options("synflow") | {"sparsity": 0.97, "scorer": "synflow"}),
        sample=lambda _: images(),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
        **KINDS[kind],
    )
    watch, saved = Watch(), ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=epochs,
        strategy=SingleDeviceStrategy(device, accelerator=Accelerator()),
        devices=1,
        callbacks=[watch, Resumable("this run"), saved],
        num_sanity_val_steps=0,
        **dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False),
    )
    trainer.ckpt_path = str(folder / "last.ckpt") if (folder / "last.ckpt").exists() else None
    trainer.fit(module, datamodule=Data(device))
    state = module.whole_net().state_dict() | {f"mask of {n}": mask for n, mask in module.masks.tensors().items()}
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}, watch.waits


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*(many workers|srun|not empty).*")
@pytest.mark.parametrize("kind", KINDS)
def test_training_is_that_of_the_processor_and_steps_do_not_wait(tmp_path, kind):
    wanted, _ = trained(torch.device("cpu"), tmp_path / "processor", kind, epochs=2)
    with pretended():
        found, waits = trained(CUDA, tmp_path / "straight", kind, epochs=2)
        trained(CUDA, tmp_path / "resumed", kind, epochs=1)
        resumed, _ = trained(CUDA, tmp_path / "resumed", kind, epochs=2)
    between = [after - before for before, after in pairwise(waits)]
    assert len(between) == 11 and sum(between[:4] + between[6:10]) == 0
    assert found.keys() == wanted.keys() == resumed.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
        assert torch.equal(resumed[name], found[name]), name
