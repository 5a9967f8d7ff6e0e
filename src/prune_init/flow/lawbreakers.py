"""Operations that do not pass on the flow they receive, and what is known about them."""

from prune_init.flow.connections import Flow
from prune_init.traced import operation, place

BREAKS = 1e-9
"""An operation breaks the law where it changes the flow by more than this fraction; rounding stays far below."""

_NOT_HOMOGENEOUS = {
    "saturates": "tanh sigmoid hardtanh hardsigmoid relu6 softsign logsigmoid clamp",
    "bends near 0": "gelu silu mish elu selu celu softplus hardswish",
    "normalises: scaling its input does not scale its output": """layernorm groupnorm instancenorm1d instancenorm2d
        instancenorm3d rmsnorm localresponsenorm normalize softmax logsoftmax""",
    "multiplies values that all depend on the input": """matmul bmm square pow scaleddotproductattention
        multiheadattention""",
}
_AS_USED_HERE = {
    "multiplies values that all depend on the input": "mul",
    "brings in a constant": "add sub pad constantpad1d constantpad2d constantpad3d",
}


def lawbreakers(flow: Flow) -> dict[str, str]:
    """The modules whose output does not carry the flow that comes in, by name, and why (Euler's theorem).

    What counts is the flow measured on this input: ReLU6 that stays below 6 obeys the law. Where nothing flows, as
    behind a last layer of zeros, an operation known not to be homogeneous is named all the same.
    """
    found = {}
    _, *nodes, _ = flow.graph.nodes
    for node in nodes:
        if node not in flow.live:
            continue
        layer = flow.layers.get(node)
        before = flow.entering(node) + flow.bias(node) if layer is None else float((layer.written + layer.bias).sum())
        after = flow.leaving(node)
        size = sum(flow.gross(other) for other in (node, *node.users))
        name = operation(node, flow.model)
        if abs(before - after) > BREAKS * size:
            why = _reason(name, _NOT_HOMOGENEOUS | _AS_USED_HERE) or "is not homogeneous of degree 1"
            found[place(node)] = f"{name} {why} (flow {before:.4g} in, {after:.4g} out)"
        elif flow.gross(node) == 0 and _reason(name, _NOT_HOMOGENEOUS):
            found[place(node)] = f"{name} {_reason(name, _NOT_HOMOGENEOUS)} (nothing flows here on this input)"
    return found


def _reason(name: str, reasons: dict[str, str]) -> str | None:
    return next((reason for reason, names in reasons.items() if name in names.split()), None)
