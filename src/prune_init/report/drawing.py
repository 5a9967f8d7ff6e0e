"""Figures with one look for all of them: as SVG in the page, and as SVG and PNG files beside it."""

import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from prune_init.files import whole, write
from prune_init.report.palette import FAINT, GRID, INK
from prune_init.report.series import Series

LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.markersize": 6.5,
    "lines.markeredgewidth": 1.4,
    "legend.frameon": False,
    "figure.facecolor": "#ffffff",
    "axes.facecolor": "none",
    "savefig.dpi": 150,
}
mpl.rcParams.update(LOOK)  # set globally, since artists read it when they are made, also in other modules


INCHES = 0.55
"""The room for a number below an axis."""
PIXELS = 1.74
"""The most pixels in the page for a point (1/72 inch) of a figure: text then has the same size in all figures."""


@dataclass
class Drawing:
    """A figure with its title, its caption and what a page needs.

    Attributes:
        name: the name of its files.
        title: what it shows.
        caption: how to read it.
        figure: the matplotlib figure.
        tips: by series key, the text for each of its points in drawing order; for a map, by rows.
        panel: in a page, the key of the panel that it belongs to.
        switches: in a page, the positions of the switches at which it is shown.
        narrow: whether it is the form for phones, which only the page has.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    tips: dict[str, Any] = field(default_factory=dict)
    panel: str = ""
    switches: dict[str, str] = field(default_factory=dict)
    narrow: bool = False

    @property
    def key(self) -> str:
        """The drawing's name in a page."""
        return f"{self.name}-narrow" if self.narrow else self.name

    def save(self, folder: Path) -> None:
        """Write NAME.svg and NAME.png into `folder`; a narrow form is drawn but not written."""
        svg = self.svg
        if not self.narrow:
            write(folder / f"{self.name}.svg", svg)
            with whole(folder / f"{self.name}.png") as path:
                self.figure.savefig(path, format="png")

    @cached_property
    def svg(self) -> str:
        """The SVG file's text."""
        engine = self.figure.get_layout_engine()
        assert engine is not None
        engine.execute(self.figure)
        self.figure.set_layout_engine(None)  # laid out once, so that both files are alike
        buffer = io.StringIO()
        meta = {"Date": None, "Creator": "prune_init", "Title": self.title}
        with mpl.rc_context({"svg.hashsalt": self.key}):  # makes ids in the SVG unique in the page
            self.figure.savefig(buffer, format="svg", metadata=meta)
        return buffer.getvalue()

    def for_page(self) -> str:
        """The SVG for a page: its colours follow light and dark mode, its size the page; series can be selected."""
        svg = self.svg[self.svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        size = re.compile(r'width="([\d.]+)pt" height="[\d.]+pt"')
        svg = size.sub(lambda found: f'style="max-width:{PIXELS * float(found[1]):.0f}px"', svg, count=1)
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(self.title)}" ', 1)
        svg = re.sub(r'id="points=([^"]*)"', r'class="series points" data-series="\1"', svg)
        svg = re.sub(r'id="series=([^"]*)"', r'class="series" data-series="\1"', svg)
        for color, name in ((INK, "ink"), (FAINT, "faint"), (GRID, "grid"), ("#ffffff", "paper")):
            svg = svg.replace(color, f"var(--{name})")
        return re.sub(r"\n\s*", "\n", svg)


def canvas(rows: int = 1, columns: int = 1, *, width: float = 8.6, height: float = 4.6, **more: Any) -> Figure:
    """An empty figure of rows x columns axes; width and height are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.subplots(rows, columns, squeeze=False, **more)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1, wspace=0.05, hspace=0.06)  # type: ignore[union-attr, call-arg]
    return figure


def mark(artist: Any, series: Series | str, *, points: bool = False) -> None:
    """Tell the page which series an artist belongs to, so that it can be hidden.

    `points` marks the artist of a series to whose points the drawing's tips belong.
    """
    key = series if isinstance(series, str) else series.key
    artist.set_gid(f"points={key}" if points else f"series={key}")


def compression_axis(axes: Axes, exponents: Iterable[float], *, label: str = "compression ratio") -> None:
    """Set up a log x axis of compression ratios, with the share removed below each."""
    low, high = min(exponents, default=0), max(exponents, default=1)
    pad = 0.04 * (high - low) if high > low else 0.5
    axes.set_xlim(low - pad, high + pad)
    room = axes.get_position().width * axes.figure.get_figwidth() / INCHES  # type: ignore[union-attr]
    step = 0.5 if high - low <= 1.6 else math.ceil((high - low) / room)
    ticks = [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    axes.xaxis.set_major_locator(FixedLocator(ticks or sorted({low, high})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{short(x)}\n{sparsity(x)}"))
    axes.set_xlabel(f"{label}, share removed")


def ratio(exponent: float) -> str:
    """Format 10**exponent for text: 3.2x, 100x, 31,623x."""
    value = 10.0**exponent
    return f"{value:.2g}x" if value < 99.5 else f"{value:,.0f}x"


def short(exponent: float) -> str:
    """Format 10**exponent for axes: 3.2, 100, 32k, 1M."""
    value = 10.0**exponent
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size * 0.9995:
            return f"{value / size:.{2 if value < 99.5 * size else 3}g}{unit}"
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def sparsity(exponent: float) -> str:
    """Format the fraction removed at compression 10**exponent, with as many nines as needed."""
    left = 100 * 10.0**-exponent
    return f"{100 - left:.{max(0, math.ceil(-math.log10(left) - 1e-9))}f}%"


def legend(figure: Figure, entries: Iterable[Series], extra: Iterable[Line2D] = ()) -> None:
    """Add a legend below the axes."""
    handles = [*(Line2D([], [], label=one.look.label, **one.style) for one in entries), *extra]
    rows = math.ceil(len(handles) / max(2, round(figure.get_figwidth() / 1.4)))
    columns = math.ceil(len(handles) / rows)  # rows of equal length
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9.5)
