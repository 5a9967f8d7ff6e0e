"""The result of pruning as a table of layers: text for a terminal, HTML for a notebook."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prune_init.pruning.connectivity import Connectivity, Layer
    from prune_init.pruning.cost import Cost
    from prune_init.record.run_record import LayerCounts, RunRecord

HEADS = ("layer", "shape", "size", "kept", "density", "on a path")
WORDS = 2
"""The number of text columns; the numbers in the columns after them are aligned to the right."""

Row = Sequence[str]


def rows(found: "Connectivity | RunRecord", most: int | None = None) -> list[Row]:
    """A row of cells for each layer, and the totals; beyond `most` layers, those in the middle are left out."""
    cells = [_cells(layer) for layer in found.layers]
    if most is not None and len(cells) > most:
        half = most // 2
        cells[half:-half] = [(f"... {len(cells) - 2 * half} more", *[""] * (len(HEADS) - 1))]
    size, kept = (sum(getattr(layer, key) for layer in found.layers) for key in ("size", "kept"))
    effective = None if found.effective_sparsity is None else sum(layer.effective or 0 for layer in found.layers)
    return [*cells, ("all", "", *_numbers(size, kept, effective))]


def text(table: Sequence[Row]) -> str:
    """The table as lines with a header and aligned columns."""
    widths = [max(map(len, column)) for column in zip(HEADS, *table, strict=True)]

    def line(cells: Row) -> str:
        aligned = (
            cell.rjust(width) if number >= WORDS else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    return "\n".join(map(line, (HEADS, *table)))


def html(table: Sequence[Row]) -> str:
    """The table as an HTML `table` element."""

    def line(cells: Row, tag: str) -> str:
        styles = ("left" if number < WORDS else "right" for number in range(len(cells)))
        return "".join(f'<{tag} style="text-align:{s}">{escape(c)}</{tag}>' for c, s in zip(cells, styles, strict=True))

    body = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in table[:-1])
    return (
        f"<table><thead><tr>{line(HEADS, 'th')}</tr></thead><tbody>{body}</tbody>"
        f"<tfoot><tr>{line(table[-1], 'th')}</tr></tfoot></table>"
    )


def bill(cost: "Cost") -> str:
    """The cost in one line."""
    times = f"{cost.iterations:,} x {cost.examples_per_iteration:,} examples"
    return f"{cost.passes:,} passes ({times}), {cost.flops / 1e9:.3g} GFLOP, {cost.seconds:.3g} s"


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with two decimals; "unknown" for None."""
    return "unknown" if fraction is None else f"{100 * fraction:.2f} %"


def _cells(layer: "Layer | LayerCounts") -> Row:
    return (layer.name, "x".join(map(str, layer.shape)), *_numbers(layer.size, layer.kept, layer.effective))


def _numbers(size: int, kept: int, effective: int | None) -> Row:
    return f"{size:,}", f"{kept:,}", percent(kept / size), "unknown" if effective is None else f"{effective:,}"
