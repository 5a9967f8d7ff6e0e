"""Functions by which the conformance tests call the library."""

import copy

import conformance_nets as nets
import torch

import prune_init
from prune_init.scorers import named


def scored(scorer, **options):
    """The scorer for a text such as "synflow_l2 power=1"."""
    name, *given = scorer.split()
    return named(name, **{key: int(value) for key, value in (one.split("=") for one in given)}, **options)


def pruned(model, scorer, sparsity=0.8, **options):
    """Prune a copy of `model`, so that `model` can be used in the next comparison."""
    scorer = scored(scorer) if isinstance(scorer, str) else scorer
    return prune_init.prune(copy.deepcopy(model), scorer, sparsity, input_shape=nets.input_shape(model), **options)


def same(found, expected, where=None):
    """Whether tensors of the same name are equal bit for bit (only at the weights of `where`, if given)."""
    assert list(found) == list(expected)
    return all(
        torch.equal(found[name], expected[name])
        if where is None
        else torch.equal(found[name][where[name]], expected[name][where[name]])
        for name in expected
    )
