"""Training steps without Lightning: formats, CUDA graphs, compact nets, torch.compile."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import prune_init
from gpu_check.card import bf16
from gpu_check.nets import CUDA, DEVICE, SHAPE, net, seconds
from gpu_check.report import Report
from prune_init.benchmark.speed.cases import SGD
from prune_init.benchmark.speed.utilisation import step_flops

LEAST = {128: 0.25, 512: 0.35}
"""By batch size: the fraction of the rate of a bf16 matrix product that training VGG-16 should reach on a GPU."""
WAYS: dict[str, dict[str, bool]] = {
    "bf16, channels last": {},
    "bf16, channels last, cudnn.benchmark": {"benchmark": True},
    "bf16, contiguous": {"channels_last": False},
    "float32 (TF32 convolutions), channels last": {"autocast": False},
    "bf16, channels last, one CUDA graph": {"benchmark": True, "graph": True},
}
Act = Callable[[], object]


def nets_and_batches(*names: str, quick: bool) -> list[tuple[str, int]]:
    """These nets, each with all batch sizes; `quick`: a small net instead."""
    return [("resnet8", 8)] if quick else [(name, batch) for name in names for batch in LEAST]


def step(report: Report, *, quick: bool) -> None:
    """Time bare steps in all ways, and check whether the fastest in bf16 reaches its share of a product's rate."""
    highest = bf16(quick=quick)
    for name, batch in nets_and_batches("vgg16", "resnet18", quick=quick):
        work, shares = step_flops(net(name).to(DEVICE)) * batch, {}
        for way, options in WAYS.items():
            if not CUDA and "graph" in options:
                continue
            with report.attempt(net=name, batch=batch, way=way):
                took = _timed(name, batch, **options)
                shares[way] = work / took / highest
                report.say(net=name, batch=batch, way=way, **rate(took, batch, work, highest))
        judge(report, name, batch, {way: share for way, share in shares.items() if way.startswith("bf16")})


def rate(took: float, batch: int, work: float, highest: float) -> dict[str, Any]:
    """The speed of a step of `batch` images and `work` operations, in the units of the table."""
    tflops = work / took / 1e12
    return {"ms": 1e3 * took, "images_per_s": batch / took, "tflops": tflops, "share": 1e12 * tflops / highest}


def judge(report: Report, name: str, batch: int, shares: dict[str, float]) -> None:
    """Check that the fastest way is fast enough, only for VGG-16 on a GPU."""
    if CUDA and name == "vgg16" and batch in LEAST and shares:
        best = max(shares, key=shares.__getitem__)
        least, share = LEAST[batch], shares[best]
        report.say(net=name, batch=batch, fastest=best, share=share, least=least, passes=share >= least)


def _timed(name: str, batch: int, *, benchmark: bool = False, graph: bool = False, **formats: bool) -> float:
    torch.backends.cudnn.benchmark = benchmark
    try:
        act = stepper(net(name), batch, **formats)
        return per_step(_graph(act) if graph else act)
    finally:
        torch.backends.cudnn.benchmark = False


def stepper(model: nn.Module, batch: int, *, autocast: bool = True, channels_last: bool = True) -> Act:
    """A function that does one training step (forward, backward, SGD), always on the same images."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(DEVICE, memory_format=order).train()  # type: ignore[call-overload]
    x = torch.randn(batch, *SHAPE, device=DEVICE).contiguous(memory_format=order)
    y = torch.arange(batch, device=DEVICE) % 10
    optimizer = torch.optim.SGD(model.parameters(), fused=True, **SGD | {"lr": 1e-3})

    def act() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return act


def per_step(act: Act, count: int = 20) -> float:
    """Seconds per step, of many steps in a row without waiting for the device in between."""
    count = count if CUDA else 2

    def many() -> None:
        for _ in range(count):
            act()

    return seconds(many) / count


def _graph(act: Act) -> Act:
    """All kernels of a step as one CUDA graph, which shows the time of a step without Python's share."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            act()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        act()
    return graph.replay


def compact(report: Report, *, quick: bool) -> None:
    """Compare compact nets with the equivalent masked nets: outputs in float64, and the time of steps."""
    for name in ("resnet8",) if quick else ("vgg16", "resnet18"):
        for sparsity in (0.9,) if quick else (0.98, 0.999):
            with report.attempt(net=name, sparsity=sparsity):
                model = net(name).to(DEVICE)
                prune_init.prune(model, "synflow", sparsity, iterations=3 if quick else 100, input_shape=SHAPE)
                small = prune_init.compact(model, torch.zeros(2, *SHAPE))
                report.say(net=name, sparsity=sparsity, **_alike(model, small))
                for batch in (8,) if quick else LEAST:
                    for way, autocast in (("bf16", True), ("float32 (TF32 convolutions)", False)):
                        masked, less = (
                            1e3 * per_step(stepper(copy.deepcopy(m), batch, autocast=autocast), 10)
                            for m in (model, small)
                        )
                        report.say(
                            net=name,
                            sparsity=sparsity,
                            batch=batch,
                            way=way,
                            masked_ms=masked,
                            compact_ms=less,
                            times=masked / less,
                        )


def _alike(model: nn.Module, small: nn.Module) -> dict[str, Any]:
    x = torch.randn(8, *SHAPE, device=DEVICE, dtype=torch.float64)
    a, b = (copy.deepcopy(m).double().eval()(x) for m in (model, small))
    far = float((a - b).abs().max() / a.abs().max())
    left = sum(p.numel() for p in small.parameters()) / sum(p.numel() for p in model.parameters())
    return {"parameters_left": left, "outputs_apart": far, "passes": far <= 1e-12}
