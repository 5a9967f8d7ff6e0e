"""Tables for a paper: scorer by compression, mean and 95 % t-interval over seeds, and the difference to a baseline."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prune_init.benchmark.intervals import interval
from prune_init.benchmark.table import COLUMNS
from prune_init.benchmark.variants import variants
from prune_init.errors import InputError, one_of
from prune_init.record.run_record import RunRecord

Values = Mapping[int, float]
"""By seed; accuracies in per cent."""


@dataclass(frozen=True)
class SummaryLine:
    """A scorer, or a variant of it.

    Attributes:
        name: of the scorer, with what is special in brackets.
        values: by exponent and seed.
        differences: to the baseline, by exponent and seed, where both have that seed; None of the baseline itself.
    """

    name: str
    values: Mapping[float, Values]
    differences: Mapping[float, Values] | None


@dataclass(frozen=True)
class Summary:
    """The table of one network on one data set."""

    dataset: str
    architecture: str
    column: str
    exponents: list[float]
    lines: list[SummaryLine]
    baseline: str | None
    left_out: int
    """Runs without a finite value."""


def summaries(records: Sequence[RunRecord], column: str, baseline: str | None = None) -> list[Summary]:
    """One for each network and data set, in alphabetical order.

    Args:
        records: finished runs.
        column: of the table of runs, a number.
        baseline: a line's name, as `random`.

    Raises:
        InputError: no such column, or no such line in any table.
    """
    numbers = [name for name, (kind, _, _) in COLUMNS.items() if kind in (int, float)]
    if column not in numbers:
        raise InputError("table", column, one_of(column, numbers))
    groups: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[record.dataset, record.architecture].append(record)
    found = [_summary(key, groups[key], column, baseline) for key in sorted(groups)]
    names = {line.name for one in found for line in one.lines}
    if baseline is not None and baseline not in names:
        raise InputError("baseline", baseline, one_of(baseline, names))
    return found


def _summary(key: tuple[str, str], records: list[RunRecord], column: str, baseline: str | None) -> Summary:
    get, scale = COLUMNS[column][1], 100 if _percent(column) else 1
    read: dict[str, dict[float, dict[int, float]]] = {}
    left_out = 0
    for scorer in sorted({record.scorer for record in records}):
        same = [record for record in records if record.scorer == scorer]
        for variant, places in variants(same):
            at = read.setdefault(f"{scorer} ({variant})" if variant else scorer, defaultdict(dict))
            for record in (same[place] for place in places):
                value = get(record)
                if value is None or not math.isfinite(value):
                    left_out += 1
                else:
                    at[round(record.exponent, 4)][record.seed] = scale * value
    base = read.get(baseline) if baseline is not None else None
    lines = [SummaryLine(name, at, None if base in (None, at) else _paired(at, base)) for name, at in read.items()]
    exponents = sorted({exponent for at in read.values() for exponent in at})
    return Summary(*key, column, exponents, lines, baseline, left_out)


def _paired(values: Mapping[float, Values], base: Mapping[float, Values] | None) -> Mapping[float, Values]:
    return {
        exponent: {seed: value - base[exponent][seed] for seed, value in at.items() if seed in base[exponent]}
        for exponent, at in values.items()
        if base is not None and exponent in base
    }


def _percent(column: str) -> bool:
    return column.startswith("top") and not column.endswith("epoch")


def cell(values: Values | None, column: str, *, sign: bool = False) -> str:
    """Mean and half-width from three seeds on, below that the single values; empty where there is none."""
    if not values:
        return ""
    form = ("+" if sign else "") + (".2f" if _percent(column) else ".4g")
    numbers = [values[seed] for seed in sorted(values)]
    found = interval(numbers)
    if found.half is None:
        return ", ".join(f"{number:{form}}" for number in numbers)
    return f"{found.mean:{form}} ± {found.half:{form.lstrip('+')}}"


def grid(summary: Summary) -> Iterator[list[str]]:
    """The head and the lines as text; differences stand in a line below each scorer's own."""
    yield ["scorer", *(f"{10**exponent:,.4g}x" for exponent in summary.exponents)]
    for line in summary.lines:
        yield [line.name, *(cell(line.values.get(x), summary.column) for x in summary.exponents)]
        if line.differences is not None:
            cells = (cell(line.differences.get(x), summary.column, sign=True) for x in summary.exponents)
            yield [f"{line.name} - {summary.baseline}", *cells]


def caption(summary: Summary) -> str:
    """What stands in the table."""
    unit = ", %" if _percent(summary.column) else ""
    text = f"{summary.architecture} on {summary.dataset}: {summary.column}{unit} by compression; mean ± half of the "
    text += "95 % t-interval over seeds, single values of fewer than three"
    text += "" if summary.baseline is None else f"; differences to {summary.baseline} are paired by seed"
    return text + (f". {summary.left_out} runs without a value are left out." if summary.left_out else ".")


def markdown(found: Sequence[Summary]) -> str:
    """One table after another."""
    parts = []
    for summary in found:
        head, *lines = grid(summary)
        rule = ["---", *["---:"] * (len(head) - 1)]
        rows = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
        parts.append(f"{caption(summary)}\n\n{rows}\n")
    return "\n".join(parts)


def latex(found: Sequence[Summary]) -> str:
    """Tabulars with the rules of the package booktabs."""
    parts = []
    for summary in found:
        head, *lines = ([_tex(text) for text in cells] for cells in grid(summary))
        body = "\n".join(" & ".join(cells) + r" \\" for cells in lines)
        columns = "l" + "r" * (len(head) - 1)
        parts.append(
            f"% {caption(summary)}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{' & '.join(head)} \\\\\n\\midrule\n"
            f"{body}\n\\bottomrule\n\\end{{tabular}}\n"
        )
    return "\n".join(parts)


def _tex(text: str) -> str:
    for plain, written in (("_", r"\_"), ("#", r"\#"), ("%", r"\%"), (" ± ", r" $\pm$ "), (" - ", " $-$ ")):
        text = text.replace(plain, written)
    return text


def comma_separated(found: Sequence[Summary]) -> str:
    """A line for each cell, at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("dataset", "architecture", "scorer", "exponent", "column")
    numbers = ("n", "mean", "half", "baseline", "n_paired", "difference", "difference_half")
    writer.writerow([*names, *numbers])
    for summary in found:
        for line in summary.lines:
            for exponent, values in sorted(line.values.items()):
                own, far = _numbers(values), _numbers((line.differences or {}).get(exponent))
                about = [summary.dataset, summary.architecture, line.name, exponent, summary.column]
                writer.writerow([*about, *own, summary.baseline, *far])
    return out.getvalue()


def _numbers(values: Values | None) -> list[float | None]:
    if not values:
        return [0, None, None]
    found = interval([values[seed] for seed in sorted(values)])
    return [found.n, found.mean, found.half]
