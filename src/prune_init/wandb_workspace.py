"""The panels of a W&B workspace that shows what `training.wandb_run` and `training.dashboards` log."""

from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

SCORER = wr.Config("scorer.name")
AXES = ("scorer", "exponent", "effective_sparsity", "connected", "cost/passes", "seconds/scoring", "top1/last")
LOGARITHMIC = {"cost/passes", "seconds/scoring"}


def workspace(entity: str, project: str, name: str) -> ws.Workspace:
    """The workspace, not saved yet."""
    sections = [
        _section("Accuracy", [_over_exponent("top1/last"), _over_exponent("top5/last")], columns=2),
        _section("Training", [_line(key, "epoch", key) for key in ("test/top1", "test/loss", "train/loss", "lr")], 2),
        _section("Density", _density(), columns=3),
        _section("Cost", _cost(), columns=3),
        _section("Parallel coordinates", [wr.ParallelCoordinatesPlot(title="all runs", columns=_axes())], columns=1),
    ]
    return ws.Workspace(entity=entity, project=project, name=name, sections=sections)


def _section(name: str, panels: list[Any], columns: int) -> ws.Section:
    layout = ws.SectionLayoutSettings(columns=columns, rows=-(-len(panels) // columns))
    return ws.Section(name=name, panels=panels, is_open=True, layout_settings=layout)


def _density() -> list[Any]:
    """Density of each layer, effective against nominal sparsity, and the share of runs that stay connected."""
    layers = wr.CustomChart(
        query={"summaryTable": {"tableKey": "layers"}},
        chart_name="wandb/bar/v0",
        chart_fields={"label": "layer", "value": "density"},
        chart_strings={"title": "density of each layer"},
    )
    nominal, effective = wr.SummaryMetric("sparsity"), wr.SummaryMetric("effective_sparsity")
    scatter = wr.ScatterPlot(title="effective over nominal sparsity", x=nominal, y=effective)
    return [layers, scatter, _over_exponent("connected", "share of runs with a path left")]


def _cost() -> list[Any]:
    bars = [
        wr.BarPlot(title=f"{metric} by scorer", metrics=[metric], groupby=SCORER, groupby_aggfunc="mean")
        for metric in ("cost/passes", "seconds/scoring")
    ]
    passes, accuracy = wr.SummaryMetric("cost/passes"), wr.SummaryMetric("top1/last")
    return [*bars, wr.ScatterPlot(title="top-1 over passes", x=passes, y=accuracy, log_x=True)]


def _axes() -> list[wr.ParallelCoordinatesPlotColumn]:
    return [
        wr.ParallelCoordinatesPlotColumn(
            metric=wr.SummaryMetric(key), display_name=key, log=True if key in LOGARITHMIC else None
        )
        for key in AXES
    ]


def _over_exponent(metric: str, title: str | None = None) -> wr.LinePlot:
    """A line plot over the exponent, which is the x axis of the published figures."""
    return _line(metric, "exponent", title or f"{metric} over log10 of the compression ratio")


def _line(metric: str, x: str, title: str) -> wr.LinePlot:
    """A line plot of the mean over the runs of each scorer, with their standard deviation."""
    group: dict[str, Any] = {"groupby": SCORER, "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    return wr.LinePlot(title=title, x=x, y=[metric], title_x=x, **group)
