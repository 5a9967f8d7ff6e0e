"""Our layer densities against those that the SynFlow authors published."""

import pytest

from prune_init.analysis.published import compare, published


def test_the_published_table_is_whole():
    kept = published("synflow")
    assert len(kept) == 12 * 14 and {len(runs) for runs in kept.values()} == {3}
    # One published run at exponent 6 prunes every weight: ties at the threshold die there.
    assert sorted(sum(kept[6.0, layer][run] for layer in range(14)) for run in range(3)) == [0, 15, 15]


@pytest.mark.parametrize("scorer", ["magnitude", "random"])
def test_scorers_without_passes_agree_at_exponent_1(scorer):
    """One seed against the mean of three; a layer of k weights is a draw with a spread of about sqrt(k)."""
    for row in compare(scorer, [1.0], seeds=1):
        assert abs(row.ours - row.theirs) < 5 * row.theirs**0.5, row


@pytest.mark.slow
def test_synflow_agrees_at_exponent_2():
    """Within 5 % in every layer of more than 100 weights."""
    rows = compare("synflow", [2.0], seeds=1)
    assert len(rows) == 14
    assert max(abs(row.difference) for row in rows if row.theirs > 100) < 0.05
