"""Path rules for recurrent layers: paths lead through time, as all gates read the input and the last hidden state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from prune_init.pruning.behaviour import Paths
from prune_init.pruning.operations import name_of, plain
from prune_init.pruning.paths.kinds import Kind, Kinds, UnsupportedOperationError, reached
from prune_init.pruning.paths.products import Rule

State = tuple[Tensor, ...]
"""The hidden state and, for an LSTM, the cell state, each (batch, units)."""


class _Weights(NamedTuple):
    """One layer's weights in one direction: (gates x units, features), (gates x units, hidden), (hidden, units)."""

    ih: Tensor
    hh: Tensor
    projection: Tensor | None = None


Cell = Callable[[Tensor, State, _Weights], State]


def _lstm_cell(x: Tensor, state: State, weights: _Weights) -> State:
    """c' = f c + i g and h' = o tanh(c'): paths through gate o reach only h'; a projection of h' may follow."""
    h, c = state
    i, f, g, o = F.linear(x, weights.ih).add(F.linear(h, weights.hh)).chunk(4, -1)
    c = reached(i + f + g + c)
    h = reached(c + o)
    return (h if weights.projection is None else reached(F.linear(h, weights.projection))), c


def _gru_cell(x: Tensor, state: State, weights: _Weights) -> State:
    """h' = (1 - z) n + z h, where n reads h through gate r."""
    (h,) = state
    r, z, n = F.linear(x, weights.ih).add(F.linear(h, weights.hh)).chunk(3, -1)
    return (reached(r + z + n + h),)


def _rnn_cell(x: Tensor, state: State, weights: _Weights) -> State:
    return (reached(F.linear(x, weights.ih) + F.linear(state[0], weights.hh)),)


def _layers(cell: Cell, x: Tensor, start: State, weights: list[_Weights], directions: int) -> tuple[Tensor, State]:
    """Run all layers over x, (time, batch, features); `start` stacks the states layer by layer, then by direction."""
    last: list[State] = []
    for first in range(0, len(weights), directions):
        outputs = []
        for position in range(first, first + directions):
            order = 1 if position == first else -1  # the second direction reads from the end
            state = tuple(part[position] for part in start)
            steps = []
            for step in list(x)[::order]:
                state = cell(step, state, weights[position])
                steps.append(state[0])
            outputs.append(torch.stack(steps[::order]))
            last.append(state)
        x = torch.cat(outputs, -1)
    return x, tuple(torch.stack(parts) for parts in zip(*last, strict=True))


def _pattern(kinds: Kinds, value: Tensor) -> Tensor:
    """The pattern of an input or state; a constant one begins no path."""
    return kinds.term(value, Kind.PATH)


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
    x = x.transpose(0, 1) if batch_first else x
    output, last = _layers(_cell_of(func), x, _start(kinds, hx), weights, directions)
    return (output.transpose(0, 1) if batch_first else output), *last


def _grouped(kinds: Kinds, params: list[Tensor], count: int, biases: int) -> list[_Weights]:
    """Group torch's flat list of ih, hh, biases and projection by layer and direction."""
    size = len(params) // count
    parts = [params[size * i : size * (i + 1)] for i in range(count)]
    factors = kinds.factor
    return [
        _Weights(factors(ih), factors(hh), factors(rest[biases]) if len(rest) > biases else None)
        for ih, hh, *rest in parts
    ]


def _single(kinds: Kinds, func: Any, input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, *_: Any) -> Any:
    weights = _Weights(kinds.factor(w_ih), kinds.factor(w_hh))
    state = _cell_of(func)(_pattern(kinds, input), _start(kinds, hx), weights)
    return state if len(state) > 1 else state[0]


def _cell_of(func: Any) -> Cell:
    return {"lstm": _lstm_cell, "gru": _gru_cell}.get(plain(name_of(func)).removesuffix("_cell"), _rnn_cell)


RULES: dict[Paths, Rule] = {Paths.RECURRENT: _layer, Paths.RECURRENT_CELL: _single}
