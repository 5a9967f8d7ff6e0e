"""`prune`: score, keep the best, repeat."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_init import scorers
from prune_init.host import with_float64
from prune_init.pruning import checks
from prune_init.pruning import masks as masking
from prune_init.pruning.bar import Progress, reporter
from prune_init.pruning.chance import drawn_seed
from prune_init.pruning.connectivity import assess
from prune_init.pruning.cost import Cost
from prune_init.pruning.engine import replay
from prune_init.pruning.engine.shrinking import Shrinking
from prune_init.pruning.flops import Flops
from prune_init.pruning.loss import Loss
from prune_init.pruning.masks import Tensors
from prune_init.pruning.overlap import check_memory
from prune_init.pruning.result import PruneResult
from prune_init.pruning.sample import Batch, Sample
from prune_init.pruning.schedule import Schedule, kept
from prune_init.pruning.schedule import densities as densities_of
from prune_init.pruning.scored_net import ScoredNet
from prune_init.pruning.selection import lowest
from prune_init.pruning.tie_watch import TieWatch
from prune_init.pruning.ties import Ties, warn
from prune_init.pruning.undisturbed import undisturbed
from prune_init.pruning.weights import Patterns, inside, prunable, warn_of_others


def prune(
    model: nn.Module,
    scorer: str | Callable[[ScoredNet], Tensors] = "synflow",
    sparsity: float = 0.98,
    *,
    iterations: int | None = None,
    schedule: str | Schedule = "exponential",
    counts: str = "nearest",
    scope: str = "global",
    mode: str | None = None,
    input_shape: Sequence[int] | None = None,
    example_input: Any = None,
    data: Iterable[Batch] | None = None,
    loss: Loss | None = None,
    generator: torch.Generator | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
    dtype: torch.dtype | None = None,
    masks: Tensors | None = None,
    progress: Progress | bool | None = None,
) -> PruneResult:
    """Mask `model` in place: all but round((1 - sparsity) N) of its N prunable weights become 0.0.

    Each of T iterations scores the remaining weights and keeps those with the highest scores, as many as `schedule`
    says. Scoring has no side effects: weights, buffers, gradients, train/eval flags and global random state are as
    before, even after an error. The masks are applied at the end. `None` means the scorer's own published default.

    Args:
        model: any module; Conv, Linear and recurrent weights are pruned, frozen ones too. If it is wrapped by
            `DataParallel`, DDP or `torch.compile`, the network inside is pruned, and its parameter names are used.
        scorer: a name (`prune_init.scorers()` lists them) or any callable from a `ScoredNet` to scores by name.
        sparsity: fraction to remove, 0 <= sparsity < 1.
        iterations: how often to score, T >= 1.
        schedule: `"exponential"`, `"linear"`, `"halving"`, or a function (density, T) -> densities after each
            iteration.
        counts: `"nearest"` keeps round(density N) weights; `"published"` rounds up, as the SynFlow paper's code does.
        scope: `"global"` compares all weights; `"layer"` keeps the same fraction of each layer.
        mode: `"train"` or `"eval"`, the state of norm and dropout layers while scoring.
        input_shape: (C, H, W) of one example. `None`: the model's own `input_shape` attribute, if it has one.
        example_input: a batch of the model's input, in place of `input_shape`, for models that need more than one
            tensor of ones: a tensor, or a tuple (positional arguments), list or dict (keyword arguments) of tensors.
            Integer tensors are used as they are; of floating-point tensors only the shape is used.
        data: (input, target) batches, the pruning sample; inputs may be structures of tensors as above. A scorer
            that needs no data never touches it.
        loss: (what the model returns, target) -> mean loss; default cross-entropy, in which labels of -100 do not
            count.
        generator: source of randomness; default: seeded with `torch.initial_seed()`.
        include, exclude: patterns of parameter names to restrict pruning to, or to leave dense.
        dtype: floating-point type in which scores are computed, on copies.
        masks: masks to start from. With `sparsity=0` nothing more is pruned; `prune_init.apply_masks` does that
            without scoring.
        progress: True shows a bar in a terminal or a notebook; a function is called with (iteration, iterations) after
            each iteration.

    Raises:
        InputError: a bad argument, a model that cannot be run on its input, or a score that is not finite.
    """
    scorer = scorers.named(scorer) if isinstance(scorer, str) else scorer
    settings = checks.settings_of(scorer, sparsity, iterations, schedule, counts, scope, mode)
    dtype = getattr(scorer, "dtype", None) if dtype is None else dtype
    checks.check_tools(loss, generator, dtype, progress)
    model = inside(model)
    weights = prunable(model, include=include, exclude=exclude)
    checks.check_weights(model, weights)
    check_memory(model, weights)
    warn_of_others(model, weights)
    shape = None if example_input is not None else checks.shape_of(input_shape, model)
    checks.check_example(example_input, input_shape)
    first = next(iter(weights.values()))
    device = with_float64(first.device)
    loss = F.cross_entropy if loss is None else loss
    densities = densities_of(schedule, 1 - settings["sparsity"], settings["iterations"])
    with torch.inference_mode(False):  # the copies to score must be differentiable, wherever `prune` is called
        net = _scored_net(
            model,
            weights,
            dtype,
            revives=getattr(scorer, "revives", False),
            sample=Sample(data, loss, shape, example_input, device, dtype or first.dtype),
            final_density=densities[-1],
            generator=generator if generator is not None else torch.Generator().manual_seed(torch.initial_seed()),
            masks=checks.masks_from(masks, weights, settings["sparsity"], device),
        )
        seed = drawn_seed(net.generator)
        with net.passes.ledger.measure(first.device), undisturbed(model, device, seed, mode=settings["mode"]):
            keeps = [kept(counts, density, sum(w.numel() for w in weights.values())) for density in densities]
            with reporter(progress, len(densities)) as report:
                scores, ties = _iterate(net, scorer, densities, keeps, scope, report)

        result = PruneResult(
            masks=net.masks,
            scores=scores,
            connectivity=assess(model, net.masks, shape, example_input),
            cost=Cost(len(densities), net.passes.examples, net.passes.ledger),
            settings=settings,
            weights=dict(weights),
            model=model,
            ties=ties,
        )
        warn(ties)
        masking.apply(net.masks, weights)
    return result


def _iterate(
    net: ScoredNet,
    scorer: Callable[[ScoredNet], Tensors],
    densities: list[float],
    keeps: list[int],
    scope: str,
    progress: Progress,
) -> tuple[Tensors, Ties]:
    """Run the iterations, updating `net.masks`; return the scores of the last one, and the ties."""
    everything, revives = net.masks, getattr(scorer, "revives", False)
    checks.warn_if_starved(keeps[-1], len(net.weights))
    possible = getattr(scorer, "shrinks", False) and not revives and scope == "global" and not net.model.training
    # Shrinking does not pay on a GPU, where the number of operations costs more time than their sizes.
    device = net.sample.device.type
    shrinking = Shrinking(net, possible=possible and len(densities) > 1 and device == "cpu")
    if replay.ON and possible and device == "cuda":
        scorer = replay.Replayed(scorer)
    watch = TieWatch(net, shrinking.whole)
    scores: Tensors = {}
    flops, total = 0, masking.count(everything)
    for iteration, (density, keep) in enumerate(zip(densities, keeps, strict=True), start=1):
        net.passes.begin_iteration()
        if shrinking.advance(density) or iteration == 1:
            with Flops() as counter:
                scores = checks.checked(scorer(net), net.weights)
            flops = counter.total
        else:
            scores = checks.checked(scorer(net), net.weights)
        net.passes.ledger.flops += flops
        candidates = {name: mask.clone() for name, mask in everything.items()} if revives else net.masks
        ranked = masking.rank_in_layer(scores, candidates) if scope == "layer" else scores
        choice = lowest(ranked, candidates, keep, total)
        watch.look(iteration, scores, candidates, choice, by_layer=scope == "layer")
        shrinking.remove(choice.pruned, candidates)
        total = total if revives else min(total, keep)
        progress(iteration, len(densities))
    scores = shrinking.finish(scores)
    return scores, watch.outcome(net.masks)


def _scored_net(
    model: nn.Module, weights: dict[str, Any], dtype: torch.dtype | None, masks: Tensors, revives: bool, **context: Any
) -> ScoredNet:
    device = next(iter(masks.values())).device

    def copy(tensor: Tensor) -> Tensor:
        # Only floating-point tensors change their dtype, not boolean masks or integer counters.
        to = dtype if dtype and tensor.is_floating_point() else tensor.dtype
        copied = tensor.detach().to(device, to, copy=True)
        return copied.contiguous()  # masks and weights are read as flat vectors, whatever their memory format was

    every = dict(model.named_parameters()) | dict(model.named_buffers())
    current = {name: copy(w) for name, w in weights.items()}
    dense = {name: w.clone() for name, w in current.items()} if revives else None
    masking.apply(masks, current)
    return ScoredNet(
        model=model,
        weights=current,
        dense=dense,
        masks=masks,
        others={name: copy(tensor) for name, tensor in every.items() if name not in weights},
        **context,
    )
