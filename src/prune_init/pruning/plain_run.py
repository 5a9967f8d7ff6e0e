"""Running a net eagerly and in full precision, operation by operation, whatever is set up for training."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import checkpoint

from prune_init.errors import InputError, ModelError, first_line
from prune_init.pruning.masks import Tensors
from prune_init.pruning.read_only import attributes_kept
from prune_init.pruning.structures import arguments, mapped

_HOOKED = "a net that recomputes parts of itself, or moves what it saved, during the backward pass is not supported"


def call(model: nn.Module, weights: Tensors, others: Tensors, x: Any) -> Any:
    """The model's output for x with these tensors; x is copied and attributes restored, as some nets change them."""
    args, kwargs = arguments(model, mapped(Tensor.clone, x))
    with attributes_kept(model, numbers=False):
        return functional_call(model, {**others, **weights}, args, kwargs)


def dtype_hint(error: str, model: nn.Module, weights: Tensors) -> str:
    """A hint for the error message of a net whose own tensors or casts do not fit the dtype that it is scored in."""
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    used = next(iter(weights.values())).dtype
    if own == used or not any(word in error for word in ("type", "Double", "Float")):
        return ""
    return f"; scores are computed in {used}, which does not match the net's own tensors or casts: try dtype={own}"


@contextmanager
def plainly(model: nn.Module) -> Iterator[None]:
    """Inside the context, `model` runs eagerly and in full precision, and may be called with substituted tensors.

    The context switches off activation checkpointing, which would recompute parts in the backward pass with the
    model's own tensors in place of the substituted ones; `torch.compile`; autocast; fused attention, which has no
    second derivative; inference mode; and, on GPUs, TF32 and non-deterministic algorithms.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with ExitStack() as settings:
        settings.enter_context(_without_checkpoints())
        settings.enter_context(disable_saved_tensors_hooks(_HOOKED))
        if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled, and the import would take a second
            settings.enter_context(torch.compiler.set_stance("force_eager"))
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(sdpa_kernel(SDPBackend.MATH))
        # Models on a device without float64 are scored on the CPU.
        settings.enter_context(_without_autocast({"cpu", *(p.device.type for p in model.parameters())}))
        settings.enter_context(_exact(cudnn=not recurrent))
        yield


@contextmanager
def _without_autocast(kinds: set[str]) -> Iterator[None]:
    """Switch off autocast on these kinds of devices, around the model and inside its forward."""
    own = torch.autocast.__enter__

    def enter(self: torch.autocast) -> Any:
        found = own(self)
        for kind in kinds:
            torch.set_autocast_enabled(kind, False)  # what leaving the context restores
        return found

    torch.autocast.__enter__ = enter  # type: ignore[method-assign]
    try:
        with ExitStack() as stack:
            for kind in kinds:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        torch.autocast.__enter__ = own  # type: ignore[method-assign]


@contextmanager
def _without_checkpoints() -> Iterator[None]:
    """Make `torch.utils.checkpoint.checkpoint` only call its function.

    torch has no public switch for this. Should the private names change, `disable_saved_tensors_hooks` turns what
    would be a wrong gradient into an error.
    """

    def nothing_around(*_: Any, **__: Any) -> Iterator[None]:
        yield

    substitutes: dict[str, Any] = {
        "CheckpointFunction": _CallOnly,
        "_checkpoint_without_reentrant_generator": nothing_around,
        "_checkpoint_without_reentrant_generator_impl": nothing_around,
    }
    own = {name: getattr(checkpoint, name) for name in substitutes if hasattr(checkpoint, name)}
    try:
        for name in own:
            setattr(checkpoint, name, substitutes[name])
        yield
    finally:
        for name, value in own.items():
            setattr(checkpoint, name, value)


def gradients(model: nn.Module, scalar: Tensor, weights: Tensors, *, twice: bool) -> Tensors:
    """d scalar / d weights by name, 0 for weights that the scalar does not depend on; `twice`: differentiable again.

    Raises:
        InputError: `scalar`, computed from the model's output, cannot be differentiated by the weights.
    """
    if not scalar.requires_grad:
        raise ModelError(model, "its output depends on none of its weights (torch.no_grad or detach in its forward?)")
    with _backward_alone(model):
        found = torch.autograd.grad(scalar, list(weights.values()), create_graph=twice, materialize_grads=True)
    # Scorers change gradients in place, which fails on an expanded view that repeats its elements.
    return {name: g if twice else g.contiguous() for name, g in zip(weights, found, strict=True)}


@contextmanager
def _backward_alone(model: nn.Module) -> Iterator[None]:
    """The context for a backward pass: refuse a `model` that runs parts of itself again, with its own tensors.

    Raises:
        InputError: a part of the model ran again, or the backward pass failed.
    """
    parts = set(model.modules())

    def refuse(module: nn.Module, _: Any) -> None:
        if module in parts:
            why = "recomputes parts in the backward pass; only torch.utils.checkpoint.checkpoint is supported for this"
            raise ModelError(model, why)

    hook = nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        yield
    except InputError:
        raise
    except RuntimeError as error:
        raise ModelError(model, f"cannot be differentiated: {first_line(error)}") from error
    finally:
        hook.remove()


class _CallOnly:
    """Replaces the autograd function of checkpointing, which recomputes."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        """The function's own result."""
        return function(*args)


@contextmanager
def _exact(*, cudnn: bool) -> Iterator[None]:
    """Full precision and deterministic algorithms on GPUs; no cuDNN for RNNs, as its RNNs have no second derivative."""
    matmul = torch.get_float32_matmul_precision()
    enabled = torch.backends.cudnn.enabled and cudnn
    try:
        torch.set_float32_matmul_precision("highest")
        with torch.backends.cudnn.flags(enabled=enabled, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
