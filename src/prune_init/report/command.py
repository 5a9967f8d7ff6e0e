"""The work of `prune-init report`: read the runs, draw, write."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from prune_init import host
from prune_init.benchmark.summary import save, summaries
from prune_init.errors import InputError, one_of
from prune_init.files import write, write_csv
from prune_init.report.accuracy import WHICH, accuracy
from prune_init.report.conservation import builder, measured, neurons
from prune_init.report.cost import cost
from prune_init.report.curves import curves
from prune_init.report.density import density
from prune_init.report.drawing import Drawing
from prune_init.report.figures import COMPUTED, FIGURES
from prune_init.report.grouping import panels
from prune_init.report.page import page
from prune_init.report.runs import load
from prune_init.report.series import Panel

MOST = 10
"""The most notes on problems that the terminal shows; the page shows all."""


def write_page(folder: Path, baseline: str | None = None) -> Path:
    """Write report/report.html below `folder`, with its figures beside it; return its path.

    Args:
        folder: the folder of the runs.
        baseline: a scorer; the tables of means show the differences to it, paired by seed.

    Raises:
        InputError: there is nothing to show, or no such baseline.
    """
    console = host.console()
    found = load(folder)
    means = [one for one in summaries(found.runs, "top1_last", baseline) if one.exponents]
    shown, problems = panels(found.runs), found.problems
    out = folder / "report"
    out.mkdir(exist_ok=True)
    drawings: list[Drawing] = []
    for panel in track([*shown, None], "drawing", console=console, transient=True):
        made = _theory(shown[0], problems) if panel is None else _drawings(panel, problems)
        for drawing in made:
            drawing.save(out)
        drawings += made
    write_csv(out / "results.csv", found.rows)
    if means:
        save(means, out)
    write(out / "report.html", page(folder, shown, drawings, problems, means))
    _say(console, problems)
    count = "1 run" if len(found.runs) == 1 else f"{len(found.runs):,} runs"
    console.print(f"{count}, {len(drawings) // 2} figures: {out / 'report.html'}", soft_wrap=True)
    return out / "report.html"


def draw_figures(folder: Path, names: list[str]) -> None:
    """Write report/figure-NAME.svg and .png below `folder` for each name.

    Raises:
        InputError: there is no such figure, or there are no runs for it.
    """
    console = host.console()
    for name in names:
        if name not in FIGURES:
            raise InputError("figure", name, one_of(name, FIGURES))
    shown: list[Panel] = []
    problems: list[str] = []
    try:
        found = load(folder)
        shown, problems = panels(found.runs), found.problems
    except InputError:
        if not all(name in COMPUTED for name in names):
            raise
    drawings = {name: FIGURES[name](shown) for name in names}
    out = folder / "report"
    out.mkdir(exist_ok=True, parents=True)
    for name, drawing in drawings.items():
        drawing.name = f"figure-{name}"
        drawing.save(out)
        console.print(f"{drawing.title}. {drawing.caption}\n{out / drawing.name}.svg, .png\n", soft_wrap=True)
    _say(console, problems)


def _drawings(panel: Panel, problems: list[str]) -> list[Drawing]:
    """All figures of a panel, and their narrow forms."""
    found = []
    paths = any(run.record.effective_exponent is not None for run in panel.runs)
    for narrow in (False, True):
        same = [
            accuracy(panel, which, effective=effective, narrow=narrow)
            for which in filter(panel.trained, WHICH)
            for effective in ((False, True) if paths else (False,))
        ]
        same += [density(panel, narrow=narrow), cost(panel, narrow=narrow)]
        training = curves(panel, [] if narrow else problems, narrow=narrow)
        same += [] if training is None else [training]
        for drawing in same:
            drawing.panel, drawing.narrow = panel.key, narrow
        found += same
    return found


def _theory(panel: Panel, problems: list[str]) -> list[Drawing]:
    """The figures of conservation in the network with most runs."""
    config = panel.runs[0].record.config
    scorers = tuple(dict.fromkeys(series.scorer for series in panel.series))[:5]
    try:
        dataset, make = config["dataset"], builder(config["architecture"])
        found = measured(make, dataset["num_classes"], tuple(dataset["input_shape"]), scorers)
    except (InputError, KeyError, TypeError) as error:
        problems.append(f"conservation in {panel.architecture} cannot be shown: {error}")
        return []
    return [neurons(panel.architecture, found, narrow=narrow) for narrow in (False, True)]


def _say(console: Console, problems: list[str]) -> None:
    for line in problems[:MOST]:
        console.print(f"[yellow]note:[/] {escape(line)}", soft_wrap=True)
    if len(problems) > MOST:
        console.print(f"[yellow]note:[/] and {len(problems) - MOST:,} more lines, all of them in the page")
