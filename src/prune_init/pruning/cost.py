"""What scoring costs: passes, floating-point operations, seconds, memory; measured, not derived."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from prune_init.pruning.structures import leaves


@dataclass
class Ledger:
    """Counts while scoring runs.

    Attributes:
        forward, backward: examples sent through the net, and back through it.
        hessian: examples sent back through a backward pass (Hessian-vector products).
        flops: floating-point operations of convolutions and matrix products, forward and back, as
            `torch.utils.flop_counter` counts them (a multiply-add is two). Iterations between which the net was
            not made smaller cost the same: one is counted.
        seconds: of the whole scoring.
        peak_memory: bytes beyond what was in use at the start: allocated on a GPU, resident on a CPU (Linux). 0 where
            it cannot be known: on a GPU, below an earlier peak of the process, whose record is left as it is.
    """

    forward: int = 0
    backward: int = 0
    hessian: int = 0
    flops: int = 0
    seconds: float = 0.0
    peak_memory: int = 0

    def __add__(self, other: "Ledger") -> "Ledger":
        """The cost of both; of two peaks the higher one."""
        sums = {key: value + getattr(other, key) for key, value in vars(self).items()}
        return Ledger(**{**sums, "peak_memory": max(self.peak_memory, other.peak_memory)})

    @contextmanager
    def measure(self, device: torch.device) -> Iterator[None]:
        """Measure seconds and memory of what happens inside, and of nothing that a GPU still does when it begins."""
        if device.type != "cuda":
            forget_peak(device)
        _wait(device)
        earlier = peak(device) if device.type == "cuda" else 0
        before, start = _in_use(device), time.perf_counter()
        try:
            yield
        finally:
            _wait(device)
            self.seconds = time.perf_counter() - start
            highest = peak(device)
            self.peak_memory = max(0, highest - before) if highest > earlier else 0


@dataclass
class Passes:
    """Counts passes through a net that is scored, as they are made.

    Attributes:
        ledger: examples sent forward and back.
        last: the input of the last forward pass, and its target, if any.
    """

    ledger: Ledger = field(default_factory=Ledger)
    last: tuple[Any, Any] | None = None
    _inputs: list[tuple[ReferenceType[Tensor], int]] = field(default_factory=list)

    @property
    def examples(self) -> int:
        """How many different examples were looked at in this iteration."""
        return sum(examples for _, examples in self._inputs)

    def begin_iteration(self) -> None:
        """Count examples from zero again."""
        self._inputs.clear()

    def forward(self, x: Any) -> None:
        """A forward pass of this input."""
        first = leaves(x)[0]
        self.ledger.forward += len(first)
        if not any(reference() is first for reference, _ in self._inputs):
            self._inputs.append((ref(first), len(first)))
        self.last = (x, None)

    def backward(self, examples: int) -> None:
        """A backward pass of as many examples."""
        self.ledger.backward += examples

    def hessian(self, examples: int) -> None:
        """A backward pass through a backward pass of as many examples."""
        self.ledger.hessian += examples


@dataclass(frozen=True)
class Cost:
    """What a pruning cost. `passes` = `iterations` x `examples_per_iteration`, the unit of the rebuttal's table."""

    iterations: int
    examples_per_iteration: int
    ledger: Ledger = field(default_factory=Ledger)

    def __add__(self, other: "Cost") -> "Cost":
        """The cost of two prunings with the same sample."""
        return replace(self, iterations=self.iterations + other.iterations, ledger=self.ledger + other.ledger)

    @property
    def passes(self) -> int:
        """Forward/backward passes of single examples."""
        return self.iterations * self.examples_per_iteration

    @property
    def seconds(self) -> float:
        """Of scoring and selecting."""
        return self.ledger.seconds

    @property
    def flops(self) -> int:
        """Of all iterations."""
        return self.ledger.flops

    def as_dict(self) -> dict[str, float]:
        """All numbers by name; see `Ledger`."""
        counts = {"iterations": self.iterations, "examples_per_iteration": self.examples_per_iteration}
        return {"passes": self.passes, **counts, **asdict(self.ledger)}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """Reset the record of the highest memory, for the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark alone; see proc(5)


def _in_use(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _resident("VmRSS")


def peak(device: torch.device) -> int:
    """The most bytes that this process held: allocated on a GPU, else resident; 0 where the system does not tell.

    Not `getrusage`, whose maximum a process takes over from the one that started it.
    """
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")


def _resident(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
