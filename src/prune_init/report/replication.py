"""Bring the table and the figure of docs/replication.md up to date, published accuracies beside ours.

prune-init replication
"""

import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from prune_init.arguments import Parser
from prune_init.benchmark.replication import KEPT
from prune_init.errors import InputError
from prune_init.files import whole
from prune_init.report.palette import look
from prune_init.report.replication_cells import KeptRun, read

DOCUMENT = Path("docs/replication.md")
FIGURE = "replication"
BEGIN, END = f"<!-- begin: {FIGURE} -->\n", f"<!-- end: {FIGURE} -->\n"


def table(cells: Iterable[KeptRun]) -> str:
    """A Markdown table with a line for each run and, if several seeds are finished, one for their mean."""
    lines = [
        "| network | scorer | exponent | seed | epochs | best epoch, % | last epoch, % | published, % | their mean "
        "| difference | in their standard deviations | hours |",
        "|---|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    groups: dict[Any, list[KeptRun]] = defaultdict(list)
    for cell in cells:
        groups[cell.key].append(cell)
    for same in groups.values():
        for cell in same:
            epochs, of = len(cell.top1), cell.config["recipe"]["epochs"]
            ran = str(epochs) if cell.finished else f"{epochs} of {of}"
            lines.append(
                _line(cell, cell.config["seed"], ran, max(cell.top1), cell.top1[-1], cell.hours, cell.finished)
            )
        done = [cell for cell in same if cell.finished]
        if len(done) > 1:
            best, last, hours = (mean(x) for x in zip(*((max(c.top1), c.top1[-1], c.hours) for c in done), strict=True))
            seeds = len({cell.config["seed"] for cell in done})
            told = f"mean of {len(done)}" + (f" runs, {seeds} seed{'s' * (seeds > 1)}" if seeds < len(done) else "")
            lines.append(_line(done[0], told, "", best, last, hours, True))
    return "\n".join(lines) + "\n"


def _line(cell: KeptRun, seed: object, epochs: str, best: float, last: float, hours: float, finished: bool) -> str:
    dataset, architecture, scorer, exponent = cell.key
    theirs = cell.theirs
    far = ["", ""]
    if finished and theirs:
        points, spread = best - mean(theirs), stdev(theirs)
        far = [f"{points:+.2f}", f"{points / spread:+.1f}" if spread else ""]
    shown = [f"{architecture}, {dataset}", look(scorer).label, f"{exponent:g}", seed, epochs]
    shown += [f"{best:.2f}" if finished else f"({best:.2f})", f"{last:.2f}" if finished else f"({last:.2f})"]
    shown += [", ".join(f"{x:.2f}" for x in theirs) or "none", f"{mean(theirs):.2f}" if theirs else ""]
    return f"| {' | '.join(map(str, [*shown, *far, f'{hours:.2f}']))} |"


def origins(cells: Iterable[KeptRun]) -> Iterator[str]:
    """The commands of the runs in Markdown, by the machine, the versions and the day they were started on."""
    made: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        about = cell.about
        machine, versions = about["machine"], about["versions"]
        where = machine["gpu"] or f"{machine['processor']} with {machine['cores']} cores"
        commit = f", commit {about['commit'][:7]}" if about["commit"] else ""
        what = f"torch {versions['torch']}, Python {versions['python']}{commit}"
        made[f"{where}, {what}, begun on {about['started'][:10]}:"].append(about["command"])
    for where, commands in made.items():
        yield f"{where}\n\n```\n" + "\n".join(commands) + "\n```\n"


def section(cells: list[KeptRun]) -> str:
    """The part of the document that is made from the kept runs."""
    finished = sum(cell.finished for cell in cells)
    note = f"{finished} of {len(cells)} runs are finished; of the others the accuracies so far stand in brackets.\n"
    picture = f"![Published test accuracy against compression, and ours]({FIGURE}.svg)\n"
    caption = "Published runs dashed, ours as points; hollow ones are unfinished: the best epoch so far.\n"
    return "\n".join([note, table(cells), picture, caption, *origins(cells)])


def write(folder: Path = KEPT, document: Path = DOCUMENT) -> None:
    """Rewrite the document's section and draw the figure beside it.

    Raises:
        InputError: there is no kept run, or the document lacks the marks of the section.
    """
    from prune_init.report.replication_figure import figure

    cells = read(folder)
    try:
        text = document.read_text("utf-8")
    except OSError as error:
        raise InputError("--document", document, f"cannot be read ({error.strerror})") from None
    if not (BEGIN in text and END in text):
        raise InputError("--document", document, f"needs the lines {BEGIN.strip()} and {END.strip()}")
    inner = f"{BEGIN}\n{section(cells)}\n{END}"
    with whole(document) as partial:
        partial.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: inner, text, flags=re.DOTALL), "utf-8")
    with TemporaryDirectory() as scratch:
        figure(cells).save(Path(scratch))
        with whole(document.with_name(f"{FIGURE}.svg")) as partial:
            shutil.copyfile(Path(scratch) / f"{FIGURE}.svg", partial)


def main(given: list[str] | None = None) -> None:
    """Run the command."""
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=KEPT, help=f"default: {KEPT}")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help=f"default: {DOCUMENT}")
    parser.run(lambda chosen: write(chosen.folder, chosen.document), given, to="--document")


if __name__ == "__main__":
    main()
