"""Operations that break the conservation laws, and the reasons."""

from collections import Counter

from prune_init.flow.connections import BREAKS, MeasuredFlow
from prune_init.pruning.behaviour import Law
from prune_init.tracing.nodes import known, operation, place


def lawbreakers(flow: MeasuredFlow) -> dict[str, str]:
    """The operations whose flow out differs from the flow in (Euler's theorem), by place in the model, with the reason.

    The flow measured on this input decides: a ReLU6 whose input stays below 6 obeys the law. Where nothing flows, as
    before a last layer of zeros, an operation that is known not to be homogeneous is named nevertheless. What runs
    before the first layer breaks no law, as all cuts and neurons lie behind it. The second call at a place is `PLACE,
    call 2`.
    """
    broken = {}
    calls: Counter[str] = Counter()
    _, *nodes, _ = flow.run.graph.nodes
    first = next(position for position, node in enumerate(nodes) if node in flow.layers)
    for position, node in enumerate(nodes):
        where = place(node)
        calls[where] += 1
        where += f", call {calls[where]}" if calls[where] > 1 else ""
        if position < first or node not in flow.run.live:
            continue
        layer = flow.layers.get(node)
        before = flow.entering(node) + flow.bias(node) if layer is None else float((layer.written + layer.bias).sum())
        after = flow.leaving(node)
        size = sum(flow.gross(other) for other in (node, *node.users))
        name, found = operation(node, flow.run.model), known(node, flow.run.model)
        law = found.law if found else None
        if abs(before - after) > BREAKS * size:
            why = (law or Law.CURVES).value
            broken[where] = f"{name} {why} (flow {before:.4g} in, {after:.4g} out)"
        elif layer is not None and flow.misread(node):
            broken[where] = f"{name} does not read its input as it is: look for hooks"
        elif flow.gross(node) == 0 and law and not law.depends_on_use:
            broken[where] = f"{name} {law.value} (nothing flows here on this input)"
    return broken
