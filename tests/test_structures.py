"""Tuples, lists and dicts of tensors as inputs and outputs of a net."""

from collections import OrderedDict, UserDict, namedtuple

import torch
from torch import nn

from prune_init.pruning.structures import arguments, leaves, mapped

ONE, TWO = torch.zeros(1), torch.ones(2)


class Two(nn.Module):
    def forward(self, first, second=None):
        return first


class One(nn.Module):
    def forward(self, inputs):
        return inputs


class Any(nn.Module):
    def forward(self, *args, **kwargs):
        return args


def test_a_structure_is_spread_over_the_arguments_that_it_fits():
    assert arguments(Two(), ONE) == ((ONE,), {})
    assert arguments(Two(), (ONE, TWO)) == ((ONE, TWO), {})
    assert arguments(Two(), [ONE]) == ((ONE,), {})
    assert arguments(Two(), {"second": TWO, "first": ONE}) == ((), {"second": TWO, "first": ONE})
    assert arguments(Two(), UserDict(first=ONE)) == ((), {"first": ONE})
    assert arguments(Any(), (ONE, ONE, TWO)) == ((ONE, ONE, TWO), {})
    assert arguments(nn.Bilinear(1, 2, 3), (ONE, TWO)) == ((ONE, TWO), {})


def test_a_structure_that_fits_no_arguments_is_one_argument():
    pair, named = (ONE, TWO), {"tokens": ONE}
    assert arguments(One(), pair)[0][0] is pair
    assert arguments(Two(), {"other": ONE}) == (({"other": ONE},), {})
    assert arguments(One(), named)[0][0] is named
    assert arguments(Any(), {0: ONE}) == (({0: ONE},), {})


def test_tensors_are_found_and_mapped_in_order():
    pair = namedtuple("pair", "a b")
    nested = {"x": [ONE, (TWO, None)], "y": pair(3, TWO)}
    found = leaves(nested)
    assert [id(t) for t in found] == [id(ONE), id(TWO), id(TWO)]
    doubled = mapped(lambda t: 2 * t, nested)
    assert type(doubled["y"]) is pair and doubled["y"].a == 3 and doubled["x"][1][1] is None
    assert [t.tolist() for t in leaves(doubled)] == [[0.0], [2.0, 2.0], [2.0, 2.0]]
    assert leaves(UserDict(a=ONE)) == [ONE] and leaves(7) == [] and leaves(ONE) == [ONE]


def test_an_output_that_refuses_update_is_rebuilt():
    class Output(OrderedDict):  # as those of transformers
        def update(self, *_):
            raise RuntimeError("refused")

    output = Output()
    output["logits"] = TWO
    rebuilt = mapped(lambda x: 2 * x, output)
    assert type(rebuilt) is Output and rebuilt["logits"].tolist() == [2.0, 2.0] and output["logits"] is TWO
