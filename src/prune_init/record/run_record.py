"""What a run leaves as `result.json`, field by field. Keys that came later are None in files from before."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Number = int | float


class Part(BaseModel):
    """Plain values, checked and never converted; keys of later versions are kept."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")


class LayerCounts(Part):
    """One prunable tensor."""

    name: str
    """Of the parameter."""
    shape: list[int]
    size: int
    """Number of weights."""
    kept: int
    effective: int | None = None
    """Number of kept weights on a path from input to output; None if paths could not be followed."""
    density: float
    """kept / size."""


class ScoringCost(Part):
    """What scoring cost."""

    passes: int
    """Forward/backward passes of single examples: iterations x examples_per_iteration."""
    iterations: int
    examples_per_iteration: int
    forward: int | None = None
    """Examples sent through the net, ..."""
    backward: int | None = None
    """... back through it, ..."""
    hessian: int | None = None
    """... and back through a backward pass."""
    flops: int
    """Floating-point operations; a multiply-add is two."""
    seconds: float
    peak_memory: int | None = None
    """Bytes beyond what was in use before."""


class Accuracies(Part):
    """Accuracies as fractions, by how the epoch was chosen; None where nothing was tested. Epochs count from 1."""

    last: float | None
    """On the test set, after the last epoch: chooses nothing."""
    best: float | None
    """The largest of all epochs on the test set, as published: it selects on the test set."""
    best_epoch: int | None = None
    """The first epoch that has it."""
    at_best_validation: float | None
    """On the test set, after the epoch with the highest validation top-1; None without `validation=N`."""
    best_validation: float | None = None
    """On the validation set, after that same epoch."""
    best_validation_epoch: int | None = None
    """That epoch."""


class PhaseSeconds(Part):
    """Seconds of wall time; of a run that was interrupted, `training` and `total` count the epochs of all attempts."""

    setup: float
    """Until the run was built, reading the data included."""
    scoring: float
    """Of scoring and selecting."""
    training: float
    """Of all epochs, with their tests."""
    total: float


class TrainingEnd(Part):
    """How far training went."""

    epochs: int
    """That began."""
    steps: int
    """Of the optimiser."""
    stopped: bool
    """Whether it ended before the last epoch did."""


class TiedScores(Part):
    """How far position decided, where scores did not; see `prune_init.pruning.ties.Ties`, which has more."""

    share: float
    """Fraction of the kept weights that were once tied with weights that were pruned."""
    unscored: list[str]
    """Layers without any score, of which nothing is left."""
    told: str
    """The warning; empty if ties do not matter."""


class DenseAndCompact(Part):
    """One number of the masked net, and of the compact one."""

    dense: Number
    compact: Number


class CompactSavings(Part):
    """What training without the dead channels saves."""

    multiply_adds: DenseAndCompact
    """Of one image."""
    parameters: DenseAndCompact
    step_seconds: DenseAndCompact
    """Of a training step, forward and backward."""


class DeviceUsed(Part):
    """What the run was computed on: the last bits of its numbers depend on it."""

    kind: str
    """cpu, cuda, ..."""
    name: str
    """Model of the GPU, or of the processor."""
    processor: str | None = None
    """Model of the host's processor."""
    count: int
    """Of devices, over all processes."""
    threads: int
    """Of PyTorch, in each process."""
    peak_memory: int
    """The most bytes that the first process held: on the GPU, else resident."""
    cuda: str | None = None
    """Version, if used."""
    cudnn: int | None = None
    """Version, if used."""


class ExportedNet(Part):
    """What `export=` wrote; None for what there is not."""

    file: str | None
    """Its name."""
    difference: float | None
    """Between its outputs and the net's, relative to the largest, on a batch of random numbers."""
    error: str | None
    """Why there is no file."""


class RunRecord(Part):
    """A finished run."""

    status: Literal["complete"] = "complete"
    identity: str
    """SHA-256 of all that defines the result; see `prune_init.record.settings.identity`."""
    config: dict[str, Any]
    """The resolved configuration, without places on the machine."""
    scorer: str
    architecture: str
    dataset: str
    seed: int
    sparsity: float
    """Fraction of prunable weights that was to be removed."""
    exponent: float
    """log10 of the compression ratio."""
    effective_sparsity: float | None
    """Sparsity counted over weights on a path from input to output; None if paths could not be followed."""
    connected: bool | None
    """Whether any path is left; None if unknown."""
    layers: list[LayerCounts]
    cost: ScoringCost
    ties: TiedScores | None = None
    compaction: CompactSavings | None = None
    """Only with compact=true."""
    top1: Accuracies
    top5: Accuracies
    seconds: PhaseSeconds
    trained: TrainingEnd | None = None
    export: ExportedNet | None = None
    """Only with `export=`."""
    device: DeviceUsed | None = None
    versions: dict[str, str]
    """Of Python and of the packages that make the result."""
    commit: str | None
    """Of the source tree, marked + if it had uncommitted changes; None outside a checkout."""

    @property
    def collapsed(self) -> bool:
        """Whether it is known that no path from input to output is left."""
        return self.connected is False

    @property
    def effective_exponent(self) -> float | None:
        """log10 of the compression ratio counted over weights on a path; None where there is none, or unknown."""
        sparsity = self.effective_sparsity
        return None if sparsity is None or not 0 <= sparsity < 1 else 0.0 - math.log10(1 - sparsity)
