"""The contract of scorers, as a check that users can run on their own scorer."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from prune_init import scorers
from prune_init.architectures.resnet import thin_resnet
from prune_init.errors import InputError, first_line
from prune_init.loop import prune
from prune_init.pruning.chance import forked
from prune_init.pruning.checks import settings_of
from prune_init.pruning.masks import Tensors, count
from prune_init.pruning.result import PruneResult
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.structures import difference
from prune_init.pruning.wrapped import Scorer, Wrapped

SHAPE = (2, 8, 8)
CLASSES = 3
EXAMPLES = 24


def check_scorer(scorer: str | Scorer) -> None:
    """Run a scorer on small networks and raise an error if it breaks the contract of scorers.

    These properties are checked: one finite score of the right shape for each weight; exact counts at several
    sparsities, numbers of iterations and scopes; model, data, masks and global random state stay unchanged; the same
    seed gives the same masks; in eval mode the scores do not depend on how the sample is split into batches, unless the
    scorer has `per_batch=True`; `shrinks=True` gives the same masks as `shrinks=False`; scores are finite for float32
    and float64 models under either default dtype; on a GPU, if there is one, the masks are those of the CPU.

    Args:
        scorer: a name, or any callable from a `ScoredNet` to scores by name.

    Raises:
        InputError: naming the first property that does not hold, worded as what a scorer must do.
    """
    chosen = scorers.named(scorer) if isinstance(scorer, str) else scorer
    settings_of(chosen, 0.5, None, "exponential", "nearest", "global", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for check in (_leaves_all_alone, _counts, _repeats, _splits, _shrinks, _dtypes, _devices):
            try:
                check(chosen)
            except _BrokenError as broken:
                label = getattr(chosen, "__name__", None) or type(chosen).__name__
                raise InputError("scorer", label, str(broken)) from broken.__cause__


class _BrokenError(Exception):
    """A broken property; the message says what a scorer must do."""


def _counts(scorer: Scorer) -> None:
    for make in (convolutional, _residual):
        for sparsity, iterations, scope in ((0.5, 1, "global"), (0.93, 3, "global"), (0.8, 2, "layer")):
            model = make()
            result = _pruned(scorer, model, sparsity, iterations=iterations, scope=scope)
            size = sum(mask.numel() for mask in result.masks.values())
            kept = count(result.masks)
            _must(kept == round((1 - sparsity) * size), f"leave exactly the asked weights, not {kept:,} of {size:,}")
            weights = dict(model.named_parameters())
            removed = all(not weights[name][~mask].any() for name, mask in result.masks.items())
            _must(removed, "not change the masks: pruned weights are not 0")


def _leaves_all_alone(scorer: Scorer) -> None:
    model = convolutional().train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    data = _data()
    random = torch.get_rng_state()
    result = _pruned(_MasksWatched(scorer), model, 0.5, data=data, iterations=2)
    _must(torch.equal(torch.get_rng_state(), random), "draw from net.generator, not change global random state")
    for name, tensor in model.state_dict().items():
        expected = before[name] * result.masks[name] if name in result.masks else before[name]
        _must(torch.equal(tensor, expected), f"leave the model's {name} alone: work on net.weights and net.others")
    _must(difference(data, _data()) == 0, "leave the data as they are")


def _repeats(scorer: Scorer) -> None:
    one, other = (_pruned(scorer, convolutional(), 0.7, iterations=2) for _ in range(2))
    _must(one == other, "give the same scores for the same seed: draw from net.generator")


def _splits(scorer: Scorer) -> None:
    """Check that batches are weighted by their sizes, in float64 so that the order of summation does not matter."""
    if getattr(scorer, "mode", "eval") != "eval" or getattr(scorer, "per_batch", False):
        return
    options: dict[str, Any] = {"iterations": 1, "dtype": torch.float64}
    found = [_pruned(scorer, convolutional(), 0.7, data=_data(sizes), **options) for sizes in (24, (10, 14), 5)]
    same = all(difference(found[0].scores, other.scores) < 1e-9 for other in found[1:])
    _must(same, "weigh each batch by its share of the examples, as net.losses does, or set per_batch=True")


def _shrinks(scorer: Scorer) -> None:
    if not getattr(scorer, "shrinks", False):
        return
    for make in (convolutional, _residual):
        options: dict[str, Any] = {"iterations": 12, "dtype": torch.float64}
        _must(
            _pruned(scorer, make(), 0.95, **options) == _pruned(_Whole(scorer), make(), 0.95, **options),
            "not say shrinks=True, which is for scores that are a formula of each weight and its gradient alone: with "
            "vectors of what is left of the weights it gives other masks",
        )


def _dtypes(scorer: Scorer) -> None:
    for dtype in (torch.float32, torch.float64):
        for default in (torch.float32, torch.float64):
            with _default_dtype(default):
                model = convolutional().to(dtype)
                result = _pruned(scorer, model, 0.6, data=_data(dtype=dtype), iterations=2)
            finite = all(score.isfinite().all() for score in result.scores.values())
            _must(finite, f"give finite scores for models in {dtype}")


def _devices(scorer: Scorer) -> None:
    if not torch.cuda.is_available():
        return
    options: dict[str, Any] = {"iterations": 2, "dtype": torch.float64}
    cpu, gpu = (_pruned(scorer, convolutional().to(device), 0.7, **options) for device in ("cpu", "cuda"))
    _must(cpu == gpu, "give the CPU's masks on a GPU, in float64")


class _Whole(Wrapped):
    """The scorer with `shrinks` switched off: it is always given whole tensors."""

    shrinks = False


class _MasksWatched(Wrapped):
    """The scorer with a check that each call leaves the masks unchanged."""

    def __call__(self, net: ScoredNet) -> Tensors:
        before = {name: mask.clone() for name, mask in net.masks.items()}
        scores = self.scorer(net)
        _must(all(torch.equal(mask, net.masks[name]) for name, mask in before.items()), "leave net.masks alone")
        return scores


def _pruned(scorer: Scorer, model: nn.Module, sparsity: float, **options: Any) -> PruneResult:
    given = {"input_shape": SHAPE, "data": _data(), "generator": torch.Generator().manual_seed(1), **options}
    try:
        return prune(model, scorer, sparsity, **given)
    except _BrokenError:
        raise
    except InputError as error:
        raise _BrokenError(f"work on a small net: {first_line(error)}") from error
    except Exception as error:
        raise _BrokenError(f"not raise on a small net: {type(error).__name__}: {first_line(error)}") from error


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise _BrokenError(f"a scorer must {what}")


def _data(sizes: int | tuple[int, ...] = (16, 8), dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(2)
    x = torch.randn(EXAMPLES, *SHAPE, generator=random, dtype=torch.float64).to(dtype)
    y = torch.arange(EXAMPLES) % CLASSES
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def convolutional() -> nn.Sequential:
    """A small network with convolutions, batch norm, dropout and a linear classifier."""
    with forked(torch.device("cpu"), seed=0):
        return nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.5),
            nn.Conv2d(6, 8, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32, CLASSES),
        )


def _residual() -> nn.Module:
    """A small network with residual branches."""
    with forked(torch.device("cpu"), seed=0):
        return thin_resnet(8, CLASSES, SHAPE, width=4)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
