"""What `prune-init report` does: read the runs, draw, write."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from prune_init import host
from prune_init.benchmark.collect import collect
from prune_init.benchmark.summary import Summary, comma_separated, latex, markdown, summaries
from prune_init.benchmark.tables import write_csv
from prune_init.errors import InputError
from prune_init.files import whole
from prune_init.report.accuracy import WHICH, accuracy
from prune_init.report.conservation import measured, neurons
from prune_init.report.cost import cost
from prune_init.report.curves import curves
from prune_init.report.density import density
from prune_init.report.drawing import Drawing
from prune_init.report.figures import COMPUTED, check, draw
from prune_init.report.grouping import panels
from prune_init.report.page import Shown, page
from prune_init.report.runs import load
from prune_init.report.scores import ScorerFlow
from prune_init.report.series import Panel

MOST = 10
"""Lines of trouble that the terminal shows; the page has them all."""


def write_page(folder: Path, baseline: str | None = None) -> Path:
    """Write report/report.html below `folder`, with its figures beside it; returns its path.

    Args:
        folder: of the runs.
        baseline: the scorer to which the tables of means tell differences, paired by seed.

    Raises:
        InputError: there is nothing to show, or no such baseline.
    """
    console = host.console()
    runs, problems = load(folder)
    means = [one for one in summaries([run.record for run in runs], "top1_last", baseline) if one.exponents]
    shown = panels(runs)
    out = folder / "report"
    out.mkdir(exist_ok=True)
    pictures = []
    for panel in track(shown, "drawing", console=console, transient=True):
        for narrow in (False, True):
            for section, drawing, about in _drawings(panel, [] if narrow else problems, narrow=narrow):
                pictures.append(_shown(section, panel.key, drawing, out, about, narrow=narrow))
    theory = _theory(shown[0], problems)
    if theory is not None:
        for narrow in (False, True):
            drawing = neurons(shown[0].architecture, theory, narrow=narrow)
            pictures.append(_shown("conservation", "", drawing, out, {}, narrow=narrow))
    _write_tables(folder, means, out)
    with whole(out / "report.html") as path:
        path.write_text(page(folder, shown, pictures, problems, means))
    _say(console, problems)
    count = "1 run" if len(runs) == 1 else f"{len(runs):,} runs"
    console.print(f"{count}, {len(pictures) // 2} figures: {out / 'report.html'}", soft_wrap=True)
    return out / "report.html"


def _shown(section: str, panel: str, drawing: Drawing, out: Path, about: dict[str, str], *, narrow: bool) -> Shown:
    """A figure in the page; its narrow form, for phones, is no file of its own."""
    if narrow:
        drawing.name += "-narrow"
    return Shown(section, panel, drawing, drawing.svg() if narrow else drawing.save(out), about, narrow)


def _write_tables(folder: Path, means: list[Summary], out: Path) -> None:
    """The tables of runs and of means, beside the page."""
    write_csv(collect(folder).rows, out / "results.csv")
    for form, ending in ((markdown, "md"), (latex, "tex"), (comma_separated, "csv")) if means else ():
        with whole(out / f"table.{ending}") as partial:
            partial.write_text(form(means))


def draw_figures(folder: Path, names: list[str]) -> None:
    """Write report/figure-NAME.svg and .png below `folder`, for each name.

    Raises:
        InputError: there is no such figure, or no run that it needs.
    """
    console = host.console()
    for name in names:
        check(name)
    shown, problems = _panels(folder, optional=all(name in COMPUTED for name in names))
    out = folder / "report"
    drawings = [draw(name, shown) for name in names]
    out.mkdir(exist_ok=True, parents=True)
    for drawing in drawings:
        drawing.save(out)
        console.print(f"{drawing.title}. {drawing.caption}\n{out / drawing.name}.svg, .png\n", soft_wrap=True)
    _say(console, problems)


def _panels(folder: Path, *, optional: bool) -> tuple[list[Panel], list[str]]:
    try:
        runs, problems = load(folder)
    except InputError:
        if optional:
            return [], []
        raise
    return panels(runs), problems


def _drawings(panel: Panel, problems: list[str], *, narrow: bool) -> list[tuple[str, Drawing, dict[str, str]]]:
    """All figures of a panel, each with its section and the switches that it belongs to."""
    found = []
    for which in filter(panel.trained, WHICH):
        for effective in (False, True):
            if not effective or any(run.record.effective_exponent is not None for run in panel.runs):
                switches = {"x": "effective" if effective else "nominal", "y": which}
                found.append(("accuracy", accuracy(panel, which, effective=effective, narrow=narrow), switches))
    found.append(("density", density(panel, narrow=narrow), {}))
    found.append(("cost", cost(panel, narrow=narrow), {}))
    training = curves(panel, problems, narrow=narrow)
    return found if training is None else [*found, ("training", training, {})]


def _theory(panel: Panel, problems: list[str]) -> dict[str, ScorerFlow] | None:
    """Conservation in the network of most runs."""
    dataset = panel.runs[0].record.config.get("dataset") or {}
    scorers = tuple(dict.fromkeys(series.scorer for series in panel.series))[:5]
    try:
        return measured(panel.architecture, dataset["num_classes"], tuple(dataset["input_shape"]), scorers)
    except (InputError, KeyError, TypeError) as error:
        problems.append(f"conservation in {panel.architecture} cannot be shown: {error}")
        return None


def _say(console: Console, problems: list[str]) -> None:
    for line in problems[:MOST]:
        console.print(f"[yellow]note:[/] {escape(line)}", soft_wrap=True)
    if len(problems) > MOST:
        console.print(f"[yellow]note:[/] and {len(problems) - MOST:,} more lines, all of them in the page")
