"""The figure of docs/replication.md: published curves of the networks that were trained, and our points."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from prune_init.report import published
from prune_init.report.accuracy import grid
from prune_init.report.drawing import Drawing
from prune_init.report.palette import look, rank
from prune_init.report.replication_cells import KeptRun
from prune_init.report.runs import FinishedRun
from prune_init.report.series import Panel, Point, Series


def figure(cells: Sequence[KeptRun]) -> Drawing:
    """Draw a panel for each network and data set, accuracy of the best epoch; unfinished runs are hollow."""
    shown = _panels(cells)
    drawing = grid("replication", "Published test accuracy against compression, and ours", shown, "best")
    places = {panel.title: axes for panel, axes in zip(_in_order(shown), drawing.figure.axes, strict=True)}
    for cell in (cell for cell in cells if not cell.finished):
        dataset, architecture, scorer, exponent = cell.key
        _, color, marker = look(scorer)
        axes = places[Panel(dataset, architecture, ()).title]
        axes.plot([exponent], [max(cell.top1)], marker, color=color, markerfacecolor="#ffffff", zorder=5)
    return drawing


def _in_order(shown: Iterable[Panel]) -> list[Panel]:
    return sorted(shown, key=lambda panel: (panel.dataset, panel.architecture))  # as `grid` sorts them


def _panels(cells: Sequence[KeptRun]) -> list[Panel]:
    """A panel for each network's finished runs; scorers with only a published curve get a series without points."""
    runs: dict[tuple[str, str], dict[str, dict[float, list[FinishedRun]]]] = {}
    for cell in cells:
        dataset, architecture, scorer, exponent = cell.key
        scorers = runs.setdefault((dataset, architecture), defaultdict(lambda: defaultdict(list)))
        for name in published.scorers(dataset, architecture):
            _ = scorers[name]
        if cell.record is not None:
            scorers[scorer][exponent].append(FinishedRun(Path(), cell.record))
    return [
        Panel(*network, tuple(_series(name, scorers[name]) for name in sorted(scorers, key=rank)))
        for network, scorers in runs.items()
    ]


def _series(scorer: str, at: dict[float, list[FinishedRun]]) -> Series:
    return Series(scorer, "", 0, tuple(Point(exponent, tuple(at[exponent])) for exponent in sorted(at)))
