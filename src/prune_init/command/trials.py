"""Small trials of what a configuration names, without data and memory: what cannot work shows before a run begins."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from prune_init.command import building
from prune_init.command.building import build, chosen
from prune_init.errors import InputError, first_line
from prune_init.explain import refusal, refused
from prune_init.pruning.schedule import densities
from prune_init.record import given_masks


def network(config: DictConfig) -> None:
    """Build the network, send one batch through it, and look for what is to be pruned.

    Without memory at first. Where that fails, real numbers tell whether the network is wrong or needs their values.
    """
    import torch

    try:
        with torch.device("meta"):
            _network(config)
    except Exception:
        _network(config)


def _network(config: DictConfig) -> None:
    import torch

    from prune_init.pruning.weights import prunable

    net, name = build(config.architecture), config.architecture.name
    weights = prunable(net, **chosen(config))
    if config.masks:
        given_masks.check_fit(config.masks, weights)
    try:
        outputs = net(torch.zeros(2, *config.dataset.input_shape))
    except (RuntimeError, ValueError) as error:
        shape = "x".join(map(str, config.dataset.input_shape))
        reason = f"cannot take images of {shape} ({first_line(error)}); choose another data set or network"
        raise InputError("architecture", name, reason) from None
    if getattr(outputs, "shape", None) != (2, config.dataset.num_classes):
        found = getattr(outputs, "shape", [type(outputs).__name__])[-1]
        reason = f"gives {found} outputs for {config.dataset.num_classes} classes; allowed: one per class"
        raise InputError("architecture", name, reason)


def optimizer(config: DictConfig) -> None:
    """Build optimiser and schedule on one parameter: wrong values show here rather than after scoring."""
    import torch

    weight, recipe = torch.nn.Parameter(torch.zeros(1)), config.recipe
    with _blamed("recipe.optimizer", recipe.optimizer._target_):
        optimizer = instantiate(recipe.optimizer)([weight])
        optimizer.step()
    scales_itself = getattr(optimizer, "_step_supports_amp_scaling", False)  # Lightning asks so, after pruning
    if config.precision == "16-mixed" and recipe.gradient_clip is not None and scales_itself:
        why = "precision=16-mixed cannot clip gradients (recipe.gradient_clip) with it; allowed: false"
        raise InputError("recipe.optimizer.fused", "true", why)
    if recipe.scheduler is not None:
        with _blamed("recipe.scheduler", recipe.scheduler._target_):
            scheduler = instantiate(recipe.scheduler)(optimizer)
            optimizer.step()
            scheduler.step()


def scorer(config: DictConfig) -> None:
    """Build the scorer, which judges its own settings."""
    from prune_init.pruning.checks import check_dtype

    dtype = getattr(build(config.scorer), "dtype", None)
    with _blamed("scorer.dtype", dtype):
        check_dtype(dtype)


def functions(config: DictConfig) -> None:
    """Functions with some arguments filled in only show when they are called whether they take them."""
    schedule = building.schedule(config.schedule)
    with _blamed("schedule", config.schedule.name):
        densities(schedule, 1 - config.sparsity, config.iterations or config.scorer.get("iterations", 1))
    ablation = config.ablation
    if "_target_" in ablation:
        with _blamed("ablation", ablation.name):
            inspect.signature(build(ablation))


def loss(config: DictConfig) -> None:
    """Call it on outputs of as many classes as there are."""
    import torch

    classes = config.dataset.num_classes
    made = build(config.loss)
    with _blamed("loss", config.loss.name, f"cannot take {classes} outputs and a label"):
        value = made(torch.zeros(2, classes), torch.tensor([0, classes - 1]))
        if not isinstance(value, torch.Tensor) or value.shape != ():
            found = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise InputError("loss", config.loss.name, f"gives {found}; allowed: the mean over the batch, one number")


def callbacks(config: DictConfig) -> None:
    """Make each, and look whether it is one that a run can take."""
    if config.callbacks:
        from prune_init.training.callbacks import check

        for name, choice in config.callbacks.items():
            check(f"callbacks.{name}", build(choice), epochs=config.recipe.epochs, dashboard=bool(config.logger))


@contextmanager
def _blamed(key: str, value: object, what: str = "") -> Iterator[None]:
    """What fails inside is told of the setting that it came from."""
    try:
        yield
    except InputError as error:
        raise refused(key, value, str(error).partition(": ")[2]) from None
    except InstantiationException as error:
        raise refused(key, value, refusal(error) or str(error)) from None
    except (TypeError, ValueError, ArithmeticError, RuntimeError, IndexError) as error:
        raise refused(key, value, f"{what or f'{value} refuses it'} ({first_line(error)})") from None


TRIALS: dict[Callable[[DictConfig], Any], list[str]] = {
    optimizer: ["recipe", "precision"],
    scorer: ["scorer"],
    functions: ["schedule", "scorer", "iterations", "ablation"],
    callbacks: ["callbacks", "recipe"],
    network: ["architecture", "dataset", "include", "exclude", "masks"],
    loss: ["loss", "dataset"],
}
"""All of them, and the settings that each looks at."""
