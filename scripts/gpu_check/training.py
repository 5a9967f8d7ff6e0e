"""Comparisons of training: GPU and CPU, resumed and uninterrupted, compact and masked, other precisions."""

import os
from typing import Any

import torch

from gpu_check.fits import Fit, fit, gap
from gpu_check.nets import SHAPE, net
from gpu_check.report import Report
from prune_init.pruning.paths.effective_weights import effective_weights

NEAR = 1e-6
"""Tolerance for the rounding of float64, amplified by training steps."""
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "compact": {"compact_for": SHAPE},
    "channels last": {"channels_last": True},
    "float64": {"precision": "64-true"},
}
PRECISIONS: dict[str, dict[str, Any]] = {
    "bf16-mixed, channels last": {"precision": "bf16-mixed", "channels_last": True},
    "16-mixed": {"precision": "16-mixed"},
    "bf16-true": {"precision": "bf16-true"},
}


def train(report: Report, *, quick: bool) -> None:
    """Train ResNet-20 on noise for two or three epochs, in all supported ways, and compare the results."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # set before the first product: deterministic ones need it
    name = "resnet8" if quick else "resnet20"
    size: dict[str, Any] = {"count": 64, "batch": 32} if quick else {}
    with report.attempt(case="GPU and CPU, float64"):
        cpu, gpu = (fit(name, 2, device=device, precision="64-true", **size) for device in ("cpu", "auto"))
        _compare(report, "GPU and CPU, float64", cpu, gpu, NEAR)
    with report.attempt(case="compact and masked"):
        _compact(report, name, size)
    for way, options in WAYS.items():
        with report.attempt(case=f"resumed and not, {way}"):
            options = {**options, **size, "deterministic": True}
            whole, half = fit(name, 3, **options), fit(name, 2, **options)
            rest = fit(name, 3, resume=half.folder, **options)
            _compare(report, f"resumed and not, {way}", whole, rest, 0.0)
    with report.attempt(case="precisions"):
        single = fit(name, 2, **size)
        for way, options in PRECISIONS.items():
            with report.attempt(case=way):
                _near(report, way, single, fit(name, 2, **options, **size))
    with report.attempt(case="deterministic, max pools"):
        found = fit("conv" if quick else "vgg11_tiny", 1, deterministic=True, **size)
        report.say(case="deterministic, max pools", leak=found.leak, passes=found.leak == 0)


def _compact(report: Report, name: str, size: dict[str, Any]) -> None:
    """Compare the weights on a path, which both nets train, in float64, where only rounding may differ."""
    masked, small = (
        fit(name, 2, precision="64-true", deterministic=True, compact_for=shape, **size) for shape in (None, SHAPE)
    )
    on_path = effective_weights(net(name), masked.masks, torch.empty(1, *SHAPE))
    a, b = ({key: found.state[key] * mask for key, mask in on_path.items()} for found in (masked, small))
    far, worst = gap(a, b)
    passes = far <= NEAR and small.leak == 0
    report.say(case="compact and masked, float64", gap=far, worst=worst, leak=small.leak, passes=passes)


def _compare(report: Report, case: str, a: Fit, b: Fit, most: float) -> None:
    far, worst = gap(a.state, b.state)
    same = all(mask.equal(b.masks[name]) for name, mask in a.masks.items())
    passes = far <= most and same and b.leak == 0
    report.say(case=case, gap=far, worst=worst, same_masks=same, leak=b.leak, passes=passes)


def _near(report: Report, case: str, single: Fit, other: Fit) -> None:
    metrics = {f"{key}_{name}": found.last[f"train/{key}"] for key in ("loss", "top1")
               for name, found in (("float32", single), ("here", other))}  # fmt: skip
    report.say(case=case, **metrics, leak=other.leak, passes=other.leak == 0)
