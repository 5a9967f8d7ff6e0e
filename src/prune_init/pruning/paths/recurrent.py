"""Path rules for recurrent layers: paths lead through time, as all gates read the input and the last hidden state."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from prune_init.pruning.behaviour import Paths
from prune_init.pruning.operations import name_of, plain
from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError, reached
from prune_init.pruning.paths.products import Rule


class Value(NamedTuple):
    """A value, (batch, units): 1 where paths arrive, and 1 where it may differ from 0, as a constant too."""

    paths: Tensor
    nonzero: Tensor


State = tuple[Value, ...]
"""The hidden state and, for an LSTM, the cell state."""


class _Weights(NamedTuple):
    """One layer's patterns in one direction: (gates x units, features), (gates x units, hidden), (hidden, units)."""

    ih: Tensor
    hh: Tensor
    biases: tuple[Tensor, ...] = ()
    projection: Tensor | None = None

    def gates(self, x: Value, h: Value, count: int) -> list[tuple[Value, Value]]:
        """For each gate, what the input and what the hidden state contribute."""
        parts = []
        for place, (value, weight) in enumerate(((x, self.ih), (h, self.hh))):
            nonzero = F.linear(value.nonzero, weight.detach(), *self.biases[place : place + 1])
            paths = F.linear(value.paths, weight)
            parts.append([Value(*pair) for pair in zip(paths.chunk(count, -1), nonzero.chunk(count, -1), strict=True)])
        return list(zip(*parts, strict=True))


Cell = Callable[[Value, State, _Weights], State]


def _lstm_cell(x: Value, state: State, weights: _Weights) -> State:
    """c' = f c + i g and h' = o tanh(c'), where the sigmoids i, f and o are never 0; a projection of h' may follow."""
    h, c = state
    i, f, g, o = (_sum_of(*parts) for parts in weights.gates(x, h, 4))
    cell = _sum_of(Value(i.paths * g.nonzero + f.paths * c.nonzero, g.nonzero), g, c)
    h = _sum_of(Value(o.paths * cell.nonzero, cell.nonzero), cell)
    if weights.projection is not None:
        p = weights.projection
        h = _sum_of(Value(F.linear(h.paths, p), F.linear(h.nonzero, p.detach())))
    return h, cell


def _gru_cell(x: Value, state: State, weights: _Weights) -> State:
    """h' = (1 - z) n + z h, where n = tanh(a + r b) reads the input in a and h in b; r and z are never 0."""
    (h,) = state
    (r1, r2), (z1, z2), (a, b) = weights.gates(x, h, 3)
    n = _sum_of(a, b, Value((r1.paths + r2.paths) * _sum_of(b).nonzero, b.nonzero))
    both = _sum_of(n, h)
    return (_sum_of(both, Value((z1.paths + z2.paths) * both.nonzero, both.nonzero)),)


def _rnn_cell(x: Value, state: State, weights: _Weights) -> State:
    ((from_input, from_state),) = weights.gates(x, state[0], 1)
    return (_sum_of(from_input, from_state),)


def _sum_of(*values: Value) -> Value:
    """A sum, or a function of it that maps 0 to 0."""
    paths, nonzero = (sum(parts[1:], parts[0]) for parts in zip(*values, strict=True))
    return Value(reached(paths), reached(nonzero).detach())


def _layers(cell: Cell, x: Value, start: State, weights: list[_Weights], directions: int) -> tuple[Value, State]:
    """Run all layers over x, (time, batch, features); `start` stacks the states layer by layer, then by direction."""
    last: list[State] = []
    for first in range(0, len(weights), directions):
        outputs = []
        for position in range(first, first + directions):
            order = 1 if position == first else -1  # the second direction reads from the end
            state = tuple(Value(part.paths[position], part.nonzero[position]) for part in start)
            steps = []
            for step in list(zip(*x, strict=True))[::order]:
                state = cell(Value(*step), state, weights[position])
                steps.append(state[0])
            outputs.append(_joined(torch.stack, steps[::order]))
            last.append(state)
        x = _joined(partial(torch.cat, dim=-1), outputs)
    return x, tuple(_joined(torch.stack, parts) for parts in zip(*last, strict=True))


def _joined(function: Callable[[list[Tensor]], Tensor], values: Sequence[Value]) -> Value:
    return Value(*(function(list(parts)) for parts in zip(*values, strict=True)))


def _pattern(kinds: Kinds, value: Tensor) -> Value:
    """The pattern of an input or state; a constant one begins no path."""
    return Value(kinds.term(value, Kind.PATH), kinds.nonzero(value))


def _start(kinds: Kinds, hx: Any) -> State:
    return tuple(_pattern(kinds, part) for part in (hx if isinstance(hx, (tuple, list)) else (hx,)))


def _layer(
    kinds: Kinds,
    func: Any,
    input: Tensor,
    hx: Any,
    params: Any,
    has_biases: Any,
    num_layers: int,
    dropout: float,
    train: Any,
    bidirectional: Any,
    batch_first: Any = None,
) -> tuple[Tensor, ...]:
    if batch_first is None or not isinstance(num_layers, int) or isinstance(num_layers, bool):
        raise UnsupportedOperationError("packed sequences have no rule for paths")
    directions = 2 if bidirectional else 1
    weights = _grouped(kinds, list(params), num_layers * directions, 2 if has_biases else 0)
    x = _pattern(kinds, input)
    x = Value(*(part.transpose(0, 1) for part in x)) if batch_first else x
    output, last = _layers(_cell_of(func), x, _start(kinds, hx), weights, directions)
    return (output.paths.transpose(0, 1) if batch_first else output.paths), *(part.paths for part in last)


def _grouped(kinds: Kinds, params: list[Tensor], count: int, biases: int) -> list[_Weights]:
    """Group torch's flat list of ih, hh, biases and projection by layer and direction."""
    size = len(params) // count
    parts = [params[size * i : size * (i + 1)] for i in range(count)]
    return [_patterns(kinds, ih, hh, rest[:biases], rest[biases:]) for ih, hh, *rest in parts]


def _patterns(
    kinds: Kinds, ih: Tensor, hh: Tensor, biases: Sequence[Tensor | None], rest: Sequence[Tensor] = ()
) -> _Weights:
    shifts = tuple(kinds.nonzero(bias) for bias in biases if bias is not None)
    return _Weights(kinds.factor(ih), kinds.factor(hh), shifts, *(kinds.factor(projection) for projection in rest))


def _single(kinds: Kinds, func: Any, input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, *biases: Tensor | None) -> Any:
    weights = _patterns(kinds, w_ih, w_hh, biases)
    state = _cell_of(func)(_pattern(kinds, input), _start(kinds, hx), weights)
    return tuple(part.paths for part in state) if len(state) > 1 else state[0].paths


def _cell_of(func: Any) -> Cell:
    return {"lstm": _lstm_cell, "gru": _gru_cell}.get(plain(name_of(func)).removesuffix("_cell"), _rnn_cell)


RULES: dict[Paths, Rule] = {Paths.RECURRENT: _layer, Paths.RECURRENT_CELL: _single}
