"""Operations that do not pass on the flow they receive, and what is known about them."""

from prune_init.flow.connections import MeasuredFlow
from prune_init.pruning.operations import Law
from prune_init.traced import known, operation, place

BREAKS = 1e-9
"""An operation breaks the law where it changes the flow by more than this fraction; rounding stays far below."""


def lawbreakers(flow: MeasuredFlow) -> dict[str, str]:
    """The modules whose output does not carry the flow that comes in, by name, and why (Euler's theorem).

    What counts is the flow measured on this input: ReLU6 that stays below 6 obeys the law. Where nothing flows, as
    behind a last layer of zeros, an operation known not to be homogeneous is named all the same.
    """
    broken = {}
    _, *nodes, _ = flow.run.graph.nodes
    for node in nodes:
        if node not in flow.run.live:
            continue
        layer = flow.layers.get(node)
        before = flow.entering(node) + flow.bias(node) if layer is None else float((layer.written + layer.bias).sum())
        after = flow.leaving(node)
        size = sum(flow.gross(other) for other in (node, *node.users))
        name, found = operation(node, flow.run.model), known(node, flow.run.model)
        law = found.law if found else None
        if abs(before - after) > BREAKS * size:
            why = (law or Law.CURVES).value
            broken[place(node)] = f"{name} {why} (flow {before:.4g} in, {after:.4g} out)"
        elif flow.gross(node) == 0 and law and not law.depends_on_use:
            broken[place(node)] = f"{name} {law.value} (nothing flows here on this input)"
    return broken
