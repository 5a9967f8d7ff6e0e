"""The page: all figures, a table of all runs and their provenance in one file."""

import hashlib
import shlex
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.benchmark.summary import Summary, caption, grid
from prune_init.benchmark.variants import AVERAGED
from prune_init.errors import InputError
from prune_init.launching import plan_file
from prune_init.record import results
from prune_init.record import status as run_status
from prune_init.record.keys import differing, label, leaves
from prune_init.report.cost import costs
from prune_init.report.drawing import Drawing, ratio, sparsity
from prune_init.report.series import Panel, Series
from prune_init.subcommands import called

MOST = 12
"""The most values of a configuration key that are listed."""

SECTIONS = {
    "accuracy": "Accuracy against compression",
    "density": "Where weights are left",
    "cost": "What scoring costs",
    "training": "Training",
    "conservation": "Conservation of scores",
}


def page(
    folder: Path,
    panels: Sequence[Panel],
    drawings: Sequence[Drawing],
    problems: Sequence[str],
    tables: Sequence[Summary] = (),
) -> str:
    """Make the HTML of the report on `folder`, to be written to folder/report."""
    here = files("prune_init.report")
    script = here.joinpath("page.js").read_text("utf-8")
    runs = [run for panel in panels for run in panel.runs]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"ratio": ratio, "sparsity": sparsity, "as_is": Markup}
    template = environment.from_string(here.joinpath("page.html").read_text("utf-8"))
    varies, constant = _setup(runs)
    series = {one.key: one for panel in panels for one in panel.series}
    return template.render(
        title=folder.resolve().name,
        lead=f"Pruning at initialisation, {panels[0].title}"
        + (f" and {len(panels) - 1} more" if len(panels) > 1 else ""),
        folder=folder,
        style=here.joinpath("page.css").read_text("utf-8"),
        script=script,
        digest=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        tips={one.key: one.tips for one in drawings if one.tips},
        cards=_cards(panels, runs, len(problems), _missing(folder, runs)),
        varies=varies,
        constant=constant,
        tables=[(Panel(one.dataset, one.architecture, ()).key, caption(one), list(grid(one))) for one in tables],
        panels=panels,
        series=series.values(),
        sections={key: [one for one in drawings if one.name.startswith(f"{key}-")] for key in SECTIONS},
        titles=SECTIONS,
        costs={panel.key: costs(panel) for panel in panels},
        rows=[row for panel in panels for row in _rows(panel)],
        problems=problems,
        provenance=_provenance(folder, runs),
        choices=_choices(drawings),
    )


def _choices(drawings: Sequence[Drawing]) -> dict[str, list[str]]:
    """The switches of the accuracy figures that have more than one position."""
    found = {key: list(dict.fromkeys(one.switches[key] for one in drawings if one.switches)) for key in ("x", "y")}
    return {key: values for key, values in found.items() if len(values) > 1}


def _missing(folder: Path, runs: Sequence[FinishedRun]) -> int:
    """The number of planned runs in `folder` that are not finished; 0 if a plan cannot be read."""
    try:
        planned = {run.folder for sweep in plan_file.read(folder) for run in sweep.runs}
    except InputError:
        return 0
    return len(planned - {run.folder for run in runs})


def _setup(runs: Sequence[FinishedRun]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The configuration keys that vary over the runs and those that do not, with their values."""
    flat = [leaves(run.record.config) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one if not key.endswith("_partial_"))
    values = {key: sorted({str(one.get(key)) for one in flat}, key=_natural) for key in keys}
    told = [key for key in differing(flat) if key != "sparsity"]
    varies = [(key, f"{', '.join(values[key][:MOST])}{', ...' if len(values[key]) > MOST else ''}") for key in told]
    return varies, [(key, one[0]) for key, one in values.items() if len(one) == 1]


def _natural(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def _cards(
    panels: Sequence[Panel], runs: Sequence[FinishedRun], problems: int, missing: int
) -> list[tuple[str, str, str, str | None]]:
    """The page's key figures: heading, number, its meaning, and the panel that it is about, if any."""
    seconds = sum(run.record.seconds.total for run in runs)
    gone = sum(run.record.collapsed for run in runs)
    notes = "" if not problems else "; 1 note below" if problems == 1 else f"; {problems:,} notes below"
    count = f"{len(runs):,} of {len(runs) + missing:,}" if missing else f"{len(runs):,}"
    cards: list[tuple[str, str, str, str | None]] = [("Runs", count, f"finished{notes}", None)]
    for panel in panels:
        inside = [run.record for run in panel.runs]
        sizes = (len(panel.series), len(panel.exponents), len({record.seed for record in inside}))
        cards.append(("Grid", " \u00d7 ".join(map(str, sizes)), "series, compressions, seeds", panel.key))
        if (best := leader(panel)) is not None:
            cards.append((*best, panel.key))
    cards.append(("Collapsed", f"{gone:,}", "runs with no path from input to output left", None))
    tied = sum(bool(run.record.ties and run.record.ties.told) for run in runs)
    if tied:
        cards.append(
            (
                "By position",
                f"{tied:,}",
                "runs with tied scores, where weights were chosen by position; see the notes",
                None,
            )
        )
    cards.append(("Compute", _time(seconds), "in all runs together", None))
    return cards


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours = seconds / 3600
    return f"{60 * hours:.0f} min" if hours < 1 else f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def leader(panel: Panel) -> tuple[str, str, str] | None:
    """The card of the series with the highest mean at the highest compression that all series of a panel share."""
    trained = [{p.exponent: v for p in s.points if (v := p.accuracy("last"))} for s in panel.series]
    shared = set.intersection(*map(set, trained)) if trained else set()
    if not shared or len(trained) < 2:
        return None
    at = max(shared)
    value, series = max(((v[at].mean, s) for v, s in zip(trained, panel.series, strict=True)), key=lambda pair: pair[0])
    return f"Highest at {ratio(at)}", f"{value:.1f} %", f"{series.look.label}, mean top-1 after the last epoch"


def _rows(panel: Panel) -> Iterator[tuple[Panel, Series, FinishedRun, str, str | None]]:
    """The rows of the table of runs, each with what distinguishes the run from others, and its command."""
    flat = {id(run): leaves(run.record.config) for run in panel.runs}
    keys = [key for key in differing(list(flat.values())) if key not in (*AVERAGED, "scorer.name")]
    for series in panel.series:
        for run in series:
            differs = ", ".join(label(key, flat[id(run)].get(key)) for key in keys)
            yield panel, series, run, differs, _command(run)


def _command(run: FinishedRun) -> str | None:
    """The command of a run, if its folder records it."""
    status = run_status.read(run.folder)
    told = status is not None and status.identity == run.record.identity
    return shlex.join(["python", "-m", "prune_init", *status.overrides]) if status is not None and told else None


def _provenance(folder: Path, runs: Sequence[FinishedRun]) -> list[tuple[str, str]]:
    """The provenance of the runs and of this page."""
    versions = Counter(", ".join(f"{name} {number}" for name, number in run.record.versions.items()) for run in runs)
    commits = Counter(str(run.record.commit or "not from a checkout") for run in runs)
    own = results.versions()
    return [
        ("folder", str(folder.resolve())),
        *(("runs made with", f"{text or 'unknown'} ({count:,} runs)") for text, count in versions.most_common(5)),
        *(("commit of runs", f"{text} ({count:,} runs)") for text, count in commits.most_common(5)),
        ("this page", f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, prune_init {own['prune_init']}"),
        ("its commit", results.commit() or "not from a checkout"),
        ("its command", f"{called()} {shlex.join(sys.argv[1:])}"),
        (
            "published curves",
            "Tanaka et al. 2020: ganguli-lab/Synaptic-Flow, commit 9dfa57a (first version, June 2020)",
        ),
    ]
