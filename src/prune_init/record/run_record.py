"""The fields of `result.json`, the record of a run. Fields that were added later are None in older files."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat

Number = int | float


class Part(BaseModel):
    """A group of plain values, validated without conversion; unknown keys, as of later versions, are kept."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")


class LayerCounts(Part):
    """Weight counts of one prunable tensor."""

    name: str
    """Name of the parameter."""
    shape: list[int]
    size: int
    """Number of weights."""
    kept: int
    effective: int | None = None
    """Number of kept weights on a path from input to output; None if paths could not be followed."""
    density: float
    """kept / size."""


class ScoringCost(Part):
    """The cost of scoring."""

    passes: int
    """Forward/backward passes of single examples: iterations x examples_per_iteration."""
    iterations: int
    examples_per_iteration: int
    forward: int | None = None
    """Examples in forward passes."""
    backward: int | None = None
    """Examples in backward passes."""
    hessian: int | None = None
    """Examples in backward passes through a backward pass (Hessian-vector products)."""
    flops: int
    """Floating-point operations; a multiply-add is two."""
    seconds: float
    peak_memory: int | None = None
    """Peak memory in bytes beyond what was in use before scoring."""


class Accuracies(Part):
    """Accuracies as fractions, by how the epoch was chosen; None if nothing was tested. Epochs count from 1."""

    last: float | None
    """Test accuracy after the last epoch; nothing is selected."""
    best: float | None
    """Highest test accuracy of all epochs, as published; the epoch is selected on the test set."""
    best_epoch: int | None = None
    """The first epoch with the accuracy `best`."""
    at_best_validation: float | None
    """Test accuracy after the epoch with the highest validation top-1; None without `validation=N`."""
    best_validation: float | None = None
    """Validation accuracy after that same epoch."""
    best_validation_epoch: int | None = None
    """The epoch with the highest validation top-1."""


class PhaseSeconds(Part):
    """Seconds of wall time; in an interrupted run, `training` and `total` count the epochs of all attempts."""

    setup: float
    """Reading the data and building the run."""
    scoring: float
    """Scoring and selecting weights."""
    training: float
    """All epochs, including their tests."""
    total: float


class TrainingEnd(Part):
    """How far training went."""

    epochs: int
    """Number of epochs that began."""
    steps: int
    """Number of optimiser steps."""
    stopped: bool
    """Whether training ended before the end of the last epoch."""


class TiedScores(Part):
    """How far position decided between weights of equal score; a part of `prune_init.pruning.ties.Ties`."""

    share: float
    """Fraction of the kept weights that were once tied with pruned weights."""
    unscored: list[str]
    """Layers without any score, which were pruned completely."""
    told: str
    """The warning; empty if ties do not matter."""


class DenseAndCompact(Part):
    """A number measured for the masked net and for the compact net."""

    dense: Number
    compact: Number


class CompactSavings(Part):
    """What training without the dead channels saves."""

    multiply_adds: DenseAndCompact
    """Multiply-adds for one image."""
    parameters: DenseAndCompact
    step_seconds: DenseAndCompact
    """Seconds of a training step, forward and backward."""


class DeviceUsed(Part):
    """The device of the run; the last bits of its numbers depend on it."""

    kind: str
    """cpu, cuda, ..."""
    name: str
    """Model of the GPU, or of the processor."""
    processor: str | None = None
    """Model of the host's processor."""
    count: int
    """Number of devices over all processes."""
    threads: int
    """Number of PyTorch's threads in each process."""
    peak_memory: int
    """Peak memory of the first process in bytes: on the GPU if one is used, else resident."""
    cuda: str | None = None
    """CUDA version; None if not used."""
    cudnn: int | None = None
    """cuDNN version; None if not used."""


class ExportedNet(Part):
    """The file that `export=` wrote, or why there is none."""

    file: str | None
    """Name of the file; None if the export failed."""
    difference: float | None
    """Largest difference between its outputs and the net's, relative to the largest output, on a random batch."""
    error: str | None
    """Why the export failed; None if it did not."""


class RunRecord(Part):
    """The record of a finished run."""

    status: Literal["complete"] = "complete"
    identity: str
    """SHA-256 of all settings that define the result; see `prune_init.record.settings.identity`."""
    config: dict[str, Any]
    """The resolved configuration; see `prune_init.record.settings.resolved`."""
    scorer: str
    architecture: str
    dataset: str
    seed: int
    sparsity: FiniteFloat
    """Fraction of prunable weights to remove, as requested."""
    exponent: FiniteFloat
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
    """Versions of Python and of the main packages."""
    code: dict[str, str] | None = None
    """SHA-256 of the files with classes of the user's own, by module."""
    commit: str | None
    """Git commit of the source tree, marked + if it had uncommitted changes; None outside a checkout."""

    @property
    def collapsed(self) -> bool:
        """Whether it is known that no path from input to output is left."""
        return self.connected is False

    @property
    def effective_exponent(self) -> float | None:
        """log10 of the compression ratio counted over weights on a path; None if no path is left, or if unknown."""
        sparsity = self.effective_sparsity
        return None if sparsity is None or not 0 <= sparsity < 1 else 0.0 - math.log10(1 - sparsity)
