"""The figures of Tanaka et al. 2020 and of their rebuttal, by name."""

from collections.abc import Callable, Sequence
from functools import partial

from prune_init.architectures.named import named
from prune_init.errors import InputError
from prune_init.report.accuracy import grid
from prune_init.report.conservation import IMAGE, SCORERS, layers, measured, neurons
from prune_init.report.density import density
from prune_init.report.drawing import Drawing
from prune_init.report.lottery_ticket import lottery_ticket
from prune_init.report.schedules import schedules
from prune_init.report.scores import ScorerFlow
from prune_init.report.series import Panel

BASELINES = ("random", "magnitude", "snip", "grasp", "grasp_official", "grasp_submission", "synflow")
GRASP = ("grasp", "grasp_official", "grasp_submission", "synflow")
SNIP = ("snip", "iter_snip", "force", "synflow")


def _figure_1(shown: Sequence[Panel]) -> Drawing:
    panel = _nearest(_of("1", shown, BASELINES))
    return grid("", f"Figure 1: accuracy against compression, {panel.title}", [panel], "best")


def _figure_2(shown: Sequence[Panel]) -> Drawing:
    panel = _nearest(_of("2", shown, BASELINES, trained=False))
    drawing = density(panel)
    drawing.title = f"Figure 2: where layers collapse, {panel.title}"
    return drawing


def _figure_3(shown: Sequence[Panel]) -> Drawing:
    drawing = neurons("conv", _conv())
    drawing.title = "Figure 3: conservation of scores, neuron by neuron"
    return drawing


def _conv() -> dict[str, ScorerFlow]:
    return measured(partial(named, "conv", 10, IMAGE), 10, IMAGE, SCORERS)


def _figure_4(shown: Sequence[Panel]) -> Drawing:
    drawing = layers("conv", _conv())
    drawing.title = "Figure 4: large layers have small scores"
    return drawing


def _all(name: str, title: str, scorers: tuple[str, ...]) -> Callable[[Sequence[Panel]], Drawing]:
    return lambda shown: grid("", title, _of(name, shown, scorers), "best")


FIGURES: dict[str, Callable[[Sequence[Panel]], Drawing]] = {
    "1": _figure_1,
    "2": _figure_2,
    "3": _figure_3,
    "4": _figure_4,
    "5": lottery_ticket,
    "6": _all("6", "Figure 6: accuracy against compression", BASELINES),
    "7": schedules,
    "a": _all("a", "Rebuttal, figure A: GraSP, its first and its corrected version, and SynFlow", GRASP),
    "b": _all("b", "Rebuttal, figure B: SNIP, its modes and iterations, and SynFlow", SNIP),
}
"""Figures by name, from the panels of a folder of runs or computed on the spot; an InputError if runs are missing."""
COMPUTED = ("3", "4", "5", "7")
"""Figures that need no runs."""

PRESETS = {"1": "figure1", "2": "critical", "6": "figure6", "a": "rebuttal_a", "b": "rebuttal_b"}


def _of(name: str, shown: Sequence[Panel], scorers: tuple[str, ...], *, trained: bool = True) -> list[Panel]:
    """The panels, with only the scorers of a figure."""
    kept = [
        Panel(panel.dataset, panel.architecture, tuple(s for s in panel.series if s.scorer in scorers and not s.levels))
        for panel in shown
    ]
    kept = [panel for panel in kept if panel.series and (panel.trained("best") or not trained)]
    if not kept:
        what = "trained runs" if trained else "runs"
        why = f"needs {what} of {', '.join(scorers)}: python -m prune_init -m experiment={PRESETS[name]}"
        raise InputError("figure", name, why)
    return kept


def _nearest(shown: Sequence[Panel]) -> Panel:
    """The panel of the published network and data set if there is one, else the panel with most runs."""
    return next((p for p in shown if (p.dataset, p.architecture) == ("cifar100", "vgg16")), shown[0])
