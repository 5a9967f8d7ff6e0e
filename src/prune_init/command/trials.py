"""Small trials of what a configuration names, without data and memory: what cannot work shows before a run begins."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from prune_init.command import building
from prune_init.command.building import build, chosen
from prune_init.errors import InputError, check_whole, first_line
from prune_init.explain import refusal, refused
from prune_init.pruning.schedule import densities
from prune_init.record import given_masks


def network(config: DictConfig) -> None:
    """Build the network without memory, send one batch of shapes through it, and look for what is to be pruned."""
    import torch

    from prune_init.pruning.weights import prunable

    bare = OmegaConf.masked_copy(config, ["architecture", "dataset"])
    with torch.device("meta"):
        net = build(bare.architecture)
        weights = prunable(net, **chosen(config))
        if config.masks:
            given_masks.check_fit(config.masks, weights)
        images = torch.empty(2, *bare.dataset.input_shape)
        try:
            outputs = net(images)
        except NotImplementedError:
            return  # an operation without a shape rule: the run itself will tell
        except (RuntimeError, ValueError) as error:
            shape = "x".join(map(str, bare.dataset.input_shape))
            reason = f"cannot take images of {shape} ({first_line(error)}); choose another data set or network"
            raise InputError("architecture", bare.architecture.name, reason) from None
    if getattr(outputs, "shape", None) != (2, bare.dataset.num_classes):
        found = getattr(outputs, "shape", [type(outputs).__name__])[-1]
        reason = f"gives {found} outputs for {bare.dataset.num_classes} classes; allowed: one per class"
        raise InputError("architecture", bare.architecture.name, reason)


def optimizer(config: DictConfig) -> None:
    """Build optimiser and schedule on one parameter: wrong values show here rather than after scoring."""
    import torch

    def attempt(key: str, act: Callable[[], Any]) -> Any:
        target = config.recipe[key]._target_
        try:
            return act()
        except (TypeError, ValueError, ArithmeticError) as error:
            raise refused(f"recipe.{key}", target, f"{target} refuses it ({error})") from None
        except InstantiationException as error:
            raise refused(f"recipe.{key}", target, refusal(error) or str(error)) from None

    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = attempt("optimizer", lambda: instantiate(config.recipe.optimizer)([weight]))
    scales_itself = getattr(optimizer, "_step_supports_amp_scaling", False)  # Lightning asks so, after pruning
    if config.precision == "16-mixed" and config.recipe.gradient_clip is not None and scales_itself:
        why = "precision=16-mixed cannot clip gradients (recipe.gradient_clip) with it; allowed: false"
        raise InputError("recipe.optimizer.fused", "true", why)
    if config.recipe.scheduler is None:
        return
    scheduler = attempt("scheduler", lambda: instantiate(config.recipe.scheduler)(optimizer))
    attempt("optimizer", optimizer.step)
    attempt("scheduler", scheduler.step)


def scorer(config: DictConfig) -> None:
    """Build the scorer and compare its settings with the types that its class declares."""
    from prune_init.pruning.checks import check_dtype

    scorer = build(OmegaConf.masked_copy(config, ["scorer"]).scorer)
    dtype = getattr(scorer, "dtype", None)
    with _named("scorer.dtype", dtype):
        check_dtype(dtype)
    for field in dataclasses.fields(scorer) if dataclasses.is_dataclass(scorer) else ():
        value = getattr(scorer, field.name)
        allowed = {int: "a whole number", float: "a number", bool: "true, false"}.get(field.type)  # type: ignore[arg-type]
        fits = type(value) in ((int, float) if field.type is float else (field.type,))
        if allowed is not None and not fits:
            raise InputError(f"scorer.{field.name}", value, f"allowed: {allowed}")


def functions(config: DictConfig) -> None:
    """Functions with some arguments filled in only show when they are called whether they take them."""
    schedule = building.schedule(OmegaConf.masked_copy(config, ["schedule"]).schedule)
    iterations = config.iterations or config.scorer.get("iterations", 1)
    check_whole("scorer.iterations", iterations, least=1)
    with _named("schedule", config.schedule.name):
        densities(schedule, 1 - config.sparsity, iterations)
    ablation = OmegaConf.masked_copy(config, ["ablation"]).ablation
    if "_target_" in ablation:
        made = build(ablation)
        try:
            inspect.signature(made)
        except ValueError as error:
            raise refused("ablation", ablation.name, str(error)) from None


def loss(config: DictConfig) -> None:
    """Call it on outputs of as many classes as there are."""
    import torch

    classes, name = config.dataset.num_classes, config.loss.name
    made = build(OmegaConf.masked_copy(config, ["loss"]).loss)
    try:
        value = made(torch.zeros(2, classes), torch.tensor([0, classes - 1]))
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise refused("loss", name, f"cannot take {classes} outputs and a label ({first_line(error)})") from None
    if not isinstance(value, torch.Tensor) or value.shape != ():
        found = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise refused("loss", name, f"gives {found}; allowed: the mean over the batch, one number")


def callbacks(config: DictConfig) -> None:
    """Make each, and look whether it is one that a run can take."""
    if config.callbacks:
        from prune_init.training.callbacks import check

        for name, choice in OmegaConf.masked_copy(config, ["callbacks", "recipe"]).callbacks.items():
            check(f"callbacks.{name}", build(choice), epochs=config.recipe.epochs, dashboard=bool(config.logger))


@contextmanager
def _named(key: str, value: object) -> Iterator[None]:
    """What the library refuses inside, told of the setting that it came from."""
    try:
        yield
    except InputError as error:
        raise refused(key, value, str(error).partition(": ")[2]) from None


TRIALS: dict[Callable[[DictConfig], None], list[str]] = {
    optimizer: ["recipe", "precision"],
    scorer: ["scorer"],
    functions: ["schedule", "scorer", "iterations", "ablation"],
    callbacks: ["callbacks", "recipe"],
    network: ["architecture", "dataset", "include", "exclude", "masks"],
    loss: ["loss", "dataset"],
}
"""All of them, and the settings that each looks at."""
