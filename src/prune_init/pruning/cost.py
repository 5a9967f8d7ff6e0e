"""What scoring costs: passes, floating-point operations, seconds, memory; measured, not derived."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

import torch


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
        peak_memory: bytes beyond what was in use at the start: allocated on a GPU, resident on a CPU.
    """

    forward: int = 0
    backward: int = 0
    hessian: int = 0
    flops: int = 0
    seconds: float = 0.0
    peak_memory: int = 0

    def __add__(self, other: "Ledger") -> "Ledger":
        """Both bills together; of two peaks the higher one."""
        sums = {key: value + getattr(other, key) for key, value in vars(self).items()}
        return Ledger(**{**sums, "peak_memory": max(self.peak_memory, other.peak_memory)})

    @contextmanager
    def measure(self, device: torch.device) -> Iterator[None]:
        """Measure seconds and memory of what happens inside."""
        before, start = _in_use(device), time.perf_counter()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            yield
        finally:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            self.seconds = time.perf_counter() - start
            self.peak_memory = max(0, _peak(device) - before)


@dataclass(frozen=True)
class Cost:
    """The bill. `passes` = `iterations` x `examples_per_iteration`, the unit of the rebuttal's table."""

    iterations: int
    examples_per_iteration: int
    ledger: Ledger = field(default_factory=Ledger)

    def __add__(self, other: "Cost") -> "Cost":
        """The bill of two prunings with the same sample."""
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


def _in_use(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    with open("/proc/self/statm") as file:  # noqa: PTH123  (a kernel interface, not a file)
        return int(file.read().split()[1]) * resource.getpagesize()


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
