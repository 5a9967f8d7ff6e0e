"""The measured cost of scoring: passes, floating-point operations, seconds and memory."""

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
    """The counts and measurements of one scoring.

    Attributes:
        forward, backward: the number of examples in forward and in backward passes.
        hessian: the number of examples in backward passes through a backward pass (Hessian-vector products).
        flops: floating-point operations of convolutions and matrix products in forward and backward passes, as
            `torch.utils.flop_counter` counts them (a multiply-add is two). They are measured in the first iteration
            and after each time the net was made smaller; iterations in between cost the same.
        seconds: the duration of scoring and selection.
        peak_memory: bytes beyond what was in use at the start: allocated on a GPU, resident on a CPU (Linux). 0 where
            it is unknown: on other systems, or on a GPU below an earlier peak of the process, which is not reset.
    """

    forward: int = 0
    backward: int = 0
    hessian: int = 0
    flops: int = 0
    seconds: float = 0.0
    peak_memory: int = 0

    def __add__(self, other: "Ledger") -> "Ledger":
        """The sum of both costs, with the higher of the two memory peaks."""
        sums = {key: value + getattr(other, key) for key, value in vars(self).items()}
        return Ledger(**{**sums, "peak_memory": max(self.peak_memory, other.peak_memory)})

    @contextmanager
    def measure(self, device: torch.device) -> Iterator[None]:
        """Measure time and peak memory inside the context, after waiting for earlier work on a GPU to finish."""
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
    """Counts the passes through a scored net while they are made.

    Attributes:
        ledger: where examples are added up.
        last: the input of the last forward pass and its target, if any; None before the first pass.
    """

    ledger: Ledger = field(default_factory=Ledger)
    last: tuple[Any, Any] | None = None
    _inputs: list[tuple[ReferenceType[Tensor], int]] = field(default_factory=list)

    @property
    def examples(self) -> int:
        """The number of different examples used in this iteration."""
        return sum(examples for _, examples in self._inputs)

    def begin_iteration(self) -> None:
        """Start counting `examples` from zero."""
        self._inputs.clear()

    def forward(self, x: Any) -> None:
        """Count a forward pass of this input."""
        first = leaves(x)[0]
        self.ledger.forward += len(first)
        if not any(reference() is first for reference, _ in self._inputs):
            self._inputs.append((ref(first), len(first)))
        self.last = (x, None)

    def repeat(self, others: "Passes") -> None:
        """Count the passes of `others` in this iteration too."""
        self.ledger.forward += others.ledger.forward
        self.ledger.backward += others.ledger.backward
        self.ledger.hessian += others.ledger.hessian
        self._inputs, self.last = list(others._inputs), others.last


@dataclass(frozen=True)
class Cost:
    """The cost of one pruning; `passes`, the unit of the table in the SynFlow paper's rebuttal, is the main figure."""

    iterations: int
    examples_per_iteration: int
    ledger: Ledger = field(default_factory=Ledger)

    def __add__(self, other: "Cost") -> "Cost":
        """The cost of two prunings with the same sample size."""
        return replace(self, iterations=self.iterations + other.iterations, ledger=self.ledger + other.ledger)

    @property
    def passes(self) -> int:
        """Forward/backward passes of single examples: iterations x examples per iteration."""
        return self.iterations * self.examples_per_iteration

    @property
    def seconds(self) -> float:
        """The duration of scoring and selection."""
        return self.ledger.seconds

    @property
    def flops(self) -> int:
        """Floating-point operations of all iterations."""
        return self.ledger.flops

    def as_dict(self) -> dict[str, float]:
        """All numbers by name; see `Ledger`."""
        counts = {"iterations": self.iterations, "examples_per_iteration": self.examples_per_iteration}
        return {"passes": self.passes, **counts, **asdict(self.ledger)}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """Reset the record of peak memory, for the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # 5 resets only the peak; see proc(5)


def _in_use(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _resident("VmRSS")


def peak(device: torch.device) -> int:
    """Peak memory of this process in bytes: allocated on a GPU, else resident; 0 if the system does not report it.

    `getrusage` is not used because a process inherits its maximum from the process that started it.
    """
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")


def _resident(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
