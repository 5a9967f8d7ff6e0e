"""A `PruneResult` in a notebook: its display, its equality, and the progress bar."""

import re
import sys

import pytest
import torch
from torch import nn

import prune_init
from prune_init import InputError, PruneResult


def net(layers: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(12, 12) for _ in range(layers - 1)), nn.Linear(12, 3))


def pruned(layers: int = 2, **options) -> PruneResult:
    return prune_init.prune(net(layers), "magnitude", 0.9, input_shape=(12,), **options)


def test_it_shows_its_layers_and_totals_not_its_masks():
    result = pruned()
    title, heads, first, second, total, bill = repr(result).splitlines()
    assert "Magnitude" in title and "sparsity 90.00 %" in title
    assert re.split("  +", heads) == ["layer", "shape", "size", "kept", "density", "on a path"]
    kept = [layer.kept for layer in result.layers]
    assert first.split()[:4] == ["0.weight", "12x12", "144", str(kept[0])]
    assert second.split()[:4] == ["1.weight", "3x12", "36", str(kept[1])]
    assert total.split()[:5] == ["all", "180", "18", "10.00", "%"] and bill.startswith("0 passes (1 x 0 examples)")
    assert result.table() == "\n".join((heads, first, second, total))


def test_html_has_a_cell_for_each_of_the_table_and_is_escaped():
    result = pruned()
    shown = result._repr_html_()
    assert re.findall("<td[^>]*>([^<]*)<", shown)[:4] == ["0.weight", "12x12", "144", str(result.layers[0].kept)]
    assert shown.count("<tr>") == 4
    object.__setattr__(result, "settings", {**result.settings, "scorer": "<function score>"})
    assert "&lt;function score&gt;" in result._repr_html_()


def test_of_a_deep_net_the_middle_is_left_out_but_of_the_full_table():
    result = pruned(60)
    assert len(repr(result)) < 5000 and "... 20 more" in repr(result)
    assert len(result.table().splitlines()) == 62 and "more" not in result.table()


def test_unknown_paths_are_said_to_be_unknown():
    class Odd(nn.Linear):
        def forward(self, x):
            return super().forward(x).sort(-1).values

    with pytest.warns(UserWarning, match="effective sparsity is unknown"):
        result = prune_init.prune(nn.Sequential(Odd(12, 3)), "magnitude", 0.5, input_shape=(12,))
    assert "effective unknown" in repr(result) and result.table().splitlines()[-1].endswith("unknown")


def test_results_are_equal_if_their_masks_are():
    result = pruned()
    assert result == pruned() and result != pruned(3) and result != "masks"
    assert result != prune_init.prune(net(), "random", 0.9, input_shape=(12,))


def test_a_frame_has_a_row_for_each_layer():
    pytest.importorskip("pandas")
    result = pruned()
    frame = result.to_frame()
    assert list(frame.name) == ["0.weight", "1.weight"] and int(frame.kept.sum()) == 18


def test_without_pandas_there_is_no_frame(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="to_frame=pandas: is not installed: pip install pandas"):
        pruned().to_frame()


def test_a_bar_only_if_it_is_asked_for(capsys):
    pruned(iterations=3)
    assert capsys.readouterr() == ("", "")
    pruned(iterations=3, progress=True)
    shown = capsys.readouterr()
    assert not shown.out and "scoring: 100%" in shown.err and "3/3" in shown.err
    told: list[tuple[int, int]] = []
    pruned(iterations=3, progress=lambda *numbers: told.append(numbers))
    assert told == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(InputError, match="progress=3: allowed: True for a bar"):
        pruned(progress=3)
