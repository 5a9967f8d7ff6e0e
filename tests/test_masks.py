"""Selecting, ranking and storing masks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_init import InputError, load_masks
from prune_init.files import whole
from prune_init.pruning import masks, selection


@st.composite
def layers(draw):
    """A few layers with small integer scores, so that most are tied, and with some weights pruned already."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    scores, candidates = {}, {}
    for index, size in enumerate(sizes):
        values = draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))
        live = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        scores[f"layer{index}"] = torch.tensor(values, dtype=torch.float64)
        candidates[f"layer{index}"] = torch.tensor(live)
    return scores, candidates


def by_sorting(scores, candidates, keep):
    """The definition: sort by descending score, then by position, and take the first `keep`."""
    entries = [
        (-float(value), position, name, index)
        for position, (name, index, value) in enumerate(
            (name, index, value) for name, tensor in scores.items() for index, value in enumerate(tensor)
        )
        if candidates[name][index]
    ]
    kept = {(name, index) for _, _, name, index in sorted(entries)[:keep]}
    return {name: torch.tensor([(name, i) in kept for i in range(len(t))]) for name, t in scores.items()}


def kept_of(scores, candidates, keep, lowest=selection.lowest):
    """The masks without the weights that `lowest` chooses; checks the scores that it reports at the cut."""
    total = masks.count(candidates)
    choice = lowest(scores, candidates, keep, total)
    kept = {name: mask.clone() for name, mask in candidates.items()}
    for name, where in choice.pruned.items():
        assert kept[name].view(-1)[where].all()  # only candidates are removed
        masks.fill(kept[name], where, False)
    if keep < total:
        pruned = torch.cat([score[candidates[name] & ~kept[name]] for name, score in scores.items()])
        left = torch.cat([score[mask] for score, mask in zip(scores.values(), kept.values(), strict=True)])
        assert choice.highest_removed == pruned.max()
        assert choice.lowest_kept == (left.min() if len(left) else math.inf)
    return kept


def on_another_device(scores, candidates, keep, total):
    """The algorithm that `lowest` uses on devices other than the CPU."""
    return selection._by_sorting(scores, candidates, total - keep) if keep < total else selection.Choice({})


@pytest.mark.parametrize("lowest", [selection.lowest, on_another_device])
@given(drawn=layers(), keep=st.integers(0, 50))
def test_what_is_not_lowest_is_the_sorted_definition(lowest, drawn, keep):
    scores, candidates = drawn
    found = kept_of(scores, candidates, keep, lowest)
    expected = by_sorting(scores, candidates, keep)
    assert all(torch.equal(found[name], expected[name]) for name in scores)


@given(layers(), st.integers(0, 50), st.integers(1, 4))
def test_the_sampled_bracket_changes_nothing(drawn, keep, stride):
    scores, candidates = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "SMALL", 0)
        patch.setattr(selection, "PIECE", 3)
        patch.setattr(selection, "STRIDE", stride)
        found = kept_of(scores, candidates, keep)
    expected = by_sorting(scores, candidates, keep)
    assert all(torch.equal(found[name], expected[name]) for name in scores)


@pytest.mark.parametrize("fraction", [1e-5, 0.02, 0.5, 0.999])
@pytest.mark.parametrize("spread", ["normal", "heavy", "two values", "sorted"])
def test_many_scores_are_cut_where_sorting_cuts_them(fraction, spread):
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(300_000, generator=generator, dtype=torch.float64)
    flat = {
        "normal": flat,
        "heavy": flat.pow(9),
        "two values": flat.sign(),
        "sorted": flat.sort().values,  # the worst case for a sample at fixed positions
    }[spread]
    live = torch.rand(300_000, generator=generator) < 0.7
    scores = dict(zip("abc", flat.split([1000, 99_000, 200_000]), strict=True))
    candidates = dict(zip("abc", live.split([1000, 99_000, 200_000]), strict=True))
    keep = round(fraction * int(live.sum()))
    found = torch.cat(list(kept_of(scores, candidates, keep).values()))
    order = torch.where(live, flat, -torch.inf).argsort(descending=True, stable=True)
    assert torch.equal(found.nonzero().flatten(), order[:keep].sort().values)


@given(layers())
def test_fewer_kept_in_every_layer_are_a_subset(drawn):
    scores, candidates = drawn
    ranked = masks.rank_in_layer(scores, candidates)
    total = sum(int(c.sum()) for c in candidates.values())
    previous = candidates
    for keep in range(total, -1, -1):
        kept = kept_of(ranked, candidates, keep)
        assert sum(int(m.sum()) for m in kept.values()) == keep
        assert all((kept[name] <= previous[name]).all() for name in kept)
        previous = kept


@pytest.mark.parametrize("content", [b"", b"\x08\x00", b"not a mask file at all" * 10])
def test_torn_mask_files_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "masks.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"masks\.safetensors") as caught:
        load_masks(path)
    assert "\n" not in str(caught.value) and path.read_bytes() == content
    with pytest.raises(InputError, match="no such file"):
        load_masks(tmp_path / "nothing.safetensors")


def test_weights_are_no_masks(tmp_path):
    masks.save(tmp_path / "weights.safetensors", {"a": torch.ones(3)}, {})
    with pytest.raises(InputError, match=r"a is torch\.float32"):
        load_masks(tmp_path / "weights.safetensors")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "masks.safetensors"
    path.write_text("old")

    def write():
        with whole(path) as partial:
            partial.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
