"""Small trials of the parts that a configuration names, without data, so that what cannot work fails before a run."""

import inspect
from collections.abc import Callable

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from torch.optim.lr_scheduler import LRScheduler

from prune_init.command import building
from prune_init.command.building import build, chosen
from prune_init.errors import InputError, first_line
from prune_init.explain import refusal, refused
from prune_init.pruning.checks import check_dtype
from prune_init.pruning.schedule import densities
from prune_init.pruning.upkeep import check_eps
from prune_init.pruning.weights import prunable
from prune_init.record import given_masks, settings


def try_all(config: DictConfig, tried: set[str]) -> None:
    """Run every trial, except those that are in `tried` with the same settings; the others are added to it.

    Raises:
        InputError: naming the setting that does not work.
    """
    values = settings.resolved(config)
    for key, (trial, others) in TRIALS.items():
        what = f"{key} {[values[name] for name in (key, *others)]}"
        if what in tried:
            continue
        tried.add(what)
        try:
            trial(config)
        except InputError as error:
            blamed, _, allowed = str(error).partition(": ")
            if blamed.partition("=")[0] != key:
                raise
            raise refused(key, values[key]["name"], allowed) from error
        except (InstantiationException, TypeError, ValueError, ArithmeticError, RuntimeError, IndexError) as error:
            why = refusal(error) if isinstance(error, InstantiationException) else first_line(error)
            raise refused(key, values[key].get("name"), f"is refused ({why})") from error


def _network(config: DictConfig) -> None:
    """Build the network, run one batch through it, and find the weights to prune.

    This is tried on the meta device first, without memory. If that fails, real tensors tell whether the network is
    wrong or only depends on their values.
    """
    try:
        with torch.device("meta"):
            _try_network(config)
    except Exception:
        _try_network(config)


def _try_network(config: DictConfig) -> None:
    net, name = build(config.architecture), config.architecture.name
    weights = prunable(net, **chosen(config))
    if config.masks:
        given_masks.check_fit(config.masks, weights)
    try:
        outputs = net(torch.zeros(2, *config.dataset.input_shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        shape = "x".join(map(str, config.dataset.input_shape))
        reason = f"cannot take images of {shape} ({first_line(error)}); choose another data set or network"
        raise InputError("architecture", name, reason) from None
    if getattr(outputs, "shape", None) != (2, config.dataset.num_classes):
        found = getattr(outputs, "shape", [type(outputs).__name__])[-1]
        reason = f"gives {found} outputs for {config.dataset.num_classes} classes; allowed: one per class"
        raise InputError("architecture", name, reason)


def _recipe(config: DictConfig) -> None:
    """Make steps with one parameter, so that wrong values show here rather than after scoring."""
    recipe = config.recipe
    optimizer = build(recipe.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    check_eps("recipe.optimizer", optimizer)
    optimizer.step()
    scales_itself = getattr(optimizer, "_step_supports_amp_scaling", False)  # as Lightning asks after pruning
    if config.precision.endswith("-mixed") and recipe.gradient_clip is not None and scales_itself:
        why = f"precision={config.precision} cannot clip gradients (recipe.gradient_clip) with a fused optimizer"
        raise InputError("recipe.optimizer.fused", "true", f"{why}; allowed: false")
    if recipe.scheduler is not None:
        scheduler = build(recipe.scheduler)(optimizer)
        if not isinstance(scheduler, LRScheduler):
            raise InputError("recipe.scheduler", type(scheduler).__name__, "allowed: subclasses of torch's LRScheduler")
        optimizer.step()
        scheduler.step()


def _scorer(config: DictConfig) -> None:
    """Build the scorer, which checks its own settings except for its dtype; that is checked here."""
    check_dtype("scorer.dtype", getattr(build(config.scorer), "dtype", None))


def _schedule(config: DictConfig) -> None:
    schedule = building.schedule(config.schedule)
    densities(schedule, 1 - config.sparsity, config.iterations or config.scorer.get("iterations", 1))


def _ablation(config: DictConfig) -> None:
    """Check that the function accepts the arguments filled in, which would otherwise show only when it is called."""
    if "_target_" in config.ablation:
        inspect.signature(build(config.ablation))


def _loss(config: DictConfig) -> None:
    """Call the loss on two outputs and check that it returns one number."""
    classes = config.dataset.num_classes
    value = build(config.loss)(torch.zeros(2, classes), torch.tensor([0, classes - 1]))
    if not isinstance(value, torch.Tensor) or value.shape != ():
        found = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise InputError("loss", config.loss.name, f"gives {found}; allowed: the mean over the batch, one number")


def _callbacks(config: DictConfig) -> None:
    """Build each callback and check that a run can take it."""
    if config.callbacks:
        from prune_init.training.callbacks import check

        for name, choice in config.callbacks.items():
            check(
                f"callbacks.{name}",
                build(choice),
                epochs=config.recipe.epochs,
                dashboard=bool(config.logger),
                validation=config.validation > 0,
            )


TRIALS: dict[str, tuple[Callable[[DictConfig], None], tuple[str, ...]]] = {
    "recipe": (_recipe, ("precision",)),
    "scorer": (_scorer, ()),
    "schedule": (_schedule, ("scorer", "iterations")),
    "ablation": (_ablation, ()),
    "callbacks": (_callbacks, ("recipe", "validation")),
    "architecture": (_network, ("dataset", "include", "exclude", "masks")),
    "loss": (_loss, ("dataset",)),
}
"""For each setting: the trial that checks it, and the other settings that this trial reads."""
