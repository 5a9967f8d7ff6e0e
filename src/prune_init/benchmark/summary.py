"""Tables for a paper: scorer by compression, mean and 95 % t-interval over seeds, and the difference to a baseline."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.benchmark.intervals import interval
from prune_init.benchmark.table import COLUMNS
from prune_init.benchmark.variants import networks, variants
from prune_init.errors import InputError, one_of
from prune_init.files import write

TEX = str.maketrans(
    {**{sign: f"\\{sign}" for sign in "_#%&${}"}, "^": r"\^{}", "~": r"\~{}", "\\": r"\textbackslash{}"}
)
"""How LaTeX writes characters that have a meaning in it."""

Values = Mapping[int, float]
"""Values by seed; accuracies are in per cent."""


@dataclass(frozen=True)
class Summary:
    """The table of one network on one data set.

    Attributes:
        lines: the values by line name (the scorer, with a variant's name in brackets), then by exponent.
        left_out: number of runs without a finite value.
    """

    dataset: str
    architecture: str
    column: str
    baseline: str | None
    lines: Mapping[str, Mapping[float, Values]]
    left_out: int

    @property
    def exponents(self) -> list[float]:
        """The exponents of all lines, sorted."""
        return sorted({exponent for line in self.lines.values() for exponent in line})

    def differences(self, name: str) -> dict[float, Values]:
        """Differences of a line to the baseline, by exponent, for seeds that both have; empty for the baseline."""
        base = {} if self.baseline in (None, name) else self.lines.get(str(self.baseline), {})
        return {
            x: {seed: value - base[x][seed] for seed, value in values.items() if seed in base[x]}
            for x, values in self.lines[name].items()
            if x in base
        }


def summaries(runs: Sequence[FinishedRun], column: str, baseline: str | None = None) -> list[Summary]:
    """Make a table for each data set and network, in alphabetical order.

    Args:
        runs: the runs to summarise.
        column: a numeric column of the table of runs.
        baseline: the name of a line, such as `random`.

    Raises:
        InputError: there is no such column, or no table has such a line.
    """
    numbers = [name for name, (kind, _, _) in COLUMNS.items() if kind in (int, float)]
    if column not in numbers:
        raise InputError("table", column, one_of(column, numbers))
    groups = networks(runs)
    found = [_summary(key, groups[key], column, baseline) for key in sorted(groups)]
    names = {name for one in found for name in one.lines}
    if baseline is not None and baseline not in names:
        raise InputError("baseline", baseline, one_of(baseline, names))
    return found


def _summary(key: tuple[str, str], runs: list[FinishedRun], column: str, baseline: str | None) -> Summary:
    get, scale = COLUMNS[column][1], 100 if _percent(column) else 1
    lines: dict[str, dict[float, dict[int, float]]] = {}
    left_out = 0
    for scorer, variant, _, groups in variants(runs):
        line = lines.setdefault(f"{scorer} ({variant})" if variant else scorer, defaultdict(dict))
        for exponent, run in ((exponent, run) for exponent, group in groups.items() for run in group.runs):
            value = get(run.record)
            if value is None or not math.isfinite(value):
                left_out += 1
            else:
                line[exponent][run.record.seed] = scale * value
    return Summary(*key, column, baseline, lines, left_out)


def _percent(column: str) -> bool:
    return column.startswith("top") and not column.endswith("epoch")


def cell(values: Values | None, column: str, *, sign: bool = False) -> str:
    """A cell as text: mean and half-width of three or more values, fewer as they are; empty if there are none."""
    if not values:
        return ""
    form = ("+" if sign else "") + (".2f" if _percent(column) else ".4g")
    numbers = [values[seed] for seed in sorted(values)]
    found = interval(numbers)
    if found.half is None:
        return ", ".join(f"{number:{form}}" for number in numbers)
    return f"{found.mean:{form}} ± {found.half:{form.lstrip('+')}}"


def grid(summary: Summary) -> Iterator[list[str]]:
    """The rows of the table as text, heads first; differences are in a row below each scorer's own."""
    exponents = summary.exponents
    yield ["scorer", *(f"{10**exponent:,.4g}x" for exponent in exponents)]
    for name, line in summary.lines.items():
        yield [name, *(cell(line.get(x), summary.column) for x in exponents)]
        if differences := summary.differences(name):
            cells = (cell(differences.get(x), summary.column, sign=True) for x in exponents)
            yield [f"{name} - {summary.baseline}", *cells]


def caption(summary: Summary) -> str:
    """The caption: what the table shows."""
    unit = ", %" if _percent(summary.column) else ""
    text = f"{summary.architecture} on {summary.dataset}: {summary.column}{unit} by compression; mean ± half of the "
    text += "95 % t-interval over seeds, single values where there are fewer than three"
    text += "" if summary.baseline is None else f"; differences to {summary.baseline} are paired by seed"
    return text + (f". {summary.left_out} runs without a value are left out." if summary.left_out else ".")


def markdown(found: Sequence[Summary]) -> str:
    """The tables in Markdown, one after another."""
    parts = []
    for summary in found:
        head, *lines = grid(summary)
        rows = (head, ["---", *["---:"] * (len(head) - 1)], *lines)
        texts = ([text.replace("|", r"\|") for text in cells] for cells in rows)
        parts += [caption(summary), "", *(f"| {' | '.join(cells)} |" for cells in texts), ""]
    return "\n".join(parts)


def latex(found: Sequence[Summary]) -> str:
    """The tables as LaTeX tabulars with booktabs rules."""
    parts = []
    for summary in found:
        head, *lines = ([_tex(text) for text in cells] for cells in grid(summary))
        first, *others = (" & ".join(cells) + r" \\" for cells in (head, *lines))
        begin = rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}"
        parts += [f"% {caption(summary)}", begin, r"\toprule", first, r"\midrule", *others]
        parts += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(parts)


def _tex(text: str) -> str:
    return text.translate(TEX).replace(" ± ", r" $\pm$ ").replace(" - ", " $-$ ")


def comma_separated(found: Sequence[Summary]) -> str:
    """The tables as CSV, one line for each cell, at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("dataset", "architecture", "scorer", "exponent", "column")
    numbers = ("n", "mean", "half", "baseline", "n_paired", "difference", "difference_half")
    writer.writerow([*names, *numbers])
    for summary in found:
        for name, line in summary.lines.items():
            differences = summary.differences(name)
            for exponent, values in sorted(line.items()):
                about = [summary.dataset, summary.architecture, name, exponent, summary.column]
                far = _numbers(differences.get(exponent))
                writer.writerow([*about, *_numbers(values), summary.baseline, *far])
    return out.getvalue()


def _numbers(values: Values | None) -> list[float | None]:
    if not values:
        return [0, None, None]
    found = interval([values[seed] for seed in sorted(values)])
    return [found.n, found.mean, found.half]


def save(found: Sequence[Summary], folder: Path) -> None:
    """Write table.md, table.tex and table.csv."""
    for form, ending in ((markdown, "md"), (latex, "tex"), (comma_separated, "csv")):
        write(folder / f"table.{ending}", form(found))
