"""A W&B workspace for runs of `logger=wandb`: accuracy by scorer, curves, densities, cost, parallel coordinates.

    prune-init dashboard --entity me --project prune_init

Needs the extra `prune_init[dashboard]` and a login. Each call makes a new view of the project and prints its address;
no view that is there is changed.
"""

import sys
from typing import TYPE_CHECKING, Any

from prune_init.arguments import Parser

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

SCORER = "scorer.name"
AXES = ("scorer", "exponent", "effective_sparsity", "connected", "cost/passes", "seconds/scoring", "top1/last")
LOGARITHMIC = {"cost/passes", "seconds/scoring"}


def workspace(entity: str, project: str, name: str) -> "ws.Workspace":
    """The workspace, not saved yet; its panels read what `training.wandb_run` and `training.dashboards` log."""
    import wandb_workspaces.workspaces as ws

    sections = [_accuracy(), _training(), _density(), _cost(), _everything()]
    return ws.Workspace(entity=entity, project=project, name=name, sections=sections)


def _accuracy() -> "ws.Section":
    """The published figures' axes: accuracy over the exponent of compression."""
    return _section("Accuracy", [_over_exponent("top1/last"), _over_exponent("top5/last")], columns=2)


def _training() -> "ws.Section":
    curves = ("test/top1", "test/loss", "train/loss", "lr")
    return _section("Training", [_line(metric, x="epoch", title=metric) for metric in curves], columns=2)


def _density() -> "ws.Section":
    """What is left, where, and how much of it lies on a path."""
    import wandb_workspaces.reports.v2 as wr

    layers = wr.CustomChart(
        query={"summaryTable": {"tableKey": "layers"}},
        chart_name="wandb/bar/v0",
        chart_fields={"label": "layer", "value": "density"},
        chart_strings={"title": "density of each layer"},
    )
    really = wr.ScatterPlot(
        title="effective over nominal sparsity",
        x=wr.SummaryMetric("sparsity"),
        y=wr.SummaryMetric("effective_sparsity"),
    )
    return _section(
        "Density", [layers, really, _over_exponent("connected", "share of runs with a path left")], columns=3
    )


def _cost() -> "ws.Section":
    import wandb_workspaces.reports.v2 as wr

    bars = [
        wr.BarPlot(title=f"{metric} by scorer", metrics=[metric], groupby=wr.Config(SCORER), groupby_aggfunc="mean")
        for metric in ("cost/passes", "seconds/scoring")
    ]
    scatter = wr.ScatterPlot(
        title="top-1 over passes", x=wr.SummaryMetric("cost/passes"), y=wr.SummaryMetric("top1/last"), log_x=True
    )
    return _section("Cost", [*bars, scatter], columns=3)


def _everything() -> "ws.Section":
    import wandb_workspaces.reports.v2 as wr

    columns = [
        wr.ParallelCoordinatesPlotColumn(
            metric=wr.SummaryMetric(key), display_name=key, log=True if key in LOGARITHMIC else None
        )
        for key in AXES
    ]
    plot = wr.ParallelCoordinatesPlot(title="all runs", columns=columns)
    return _section("Parallel coordinates", [plot], columns=1)


def _over_exponent(metric: str, title: str | None = None) -> "wr.LinePlot":
    return _line(metric, x="exponent", title=title or f"{metric} over log10 of the compression ratio")


def _line(metric: str, *, x: str, title: str) -> "wr.LinePlot":
    """Mean over the runs of a scorer, with their standard deviation."""
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=title,
        x=x,
        y=[metric],
        title_x=x,
        groupby=wr.Config(SCORER),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )


def _section(name: str, panels: list[Any], *, columns: int) -> "ws.Section":
    import wandb_workspaces.workspaces as ws

    rows = -(-len(panels) // columns)
    layout = ws.SectionLayoutSettings(columns=columns, rows=rows)
    return ws.Section(name=name, panels=panels, is_open=True, layout_settings=layout)


def main() -> None:
    """Save the workspace and print its address."""
    parser = Parser(__doc__)
    parser.add_argument("--entity", help="user or team; default: that of the login")
    parser.add_argument("--project", default="prune_init", help="as in logger.project; default: %(default)s")
    parser.add_argument("--name", default="pruning at initialisation", help="of the view; default: %(default)s")
    chosen = parser.parse_args()
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError:
        sys.exit("wandb_workspaces: is not installed; needs: pip install 'prune_init[dashboard]'")
    import wandb

    if not wandb.login(prompt=False, verify=False):
        sys.exit("login: nobody is logged in; run `wandb login` or set WANDB_API_KEY")
    try:
        entity = chosen.entity or wandb.Api().default_entity or ""
        view = workspace(entity, chosen.project, chosen.name)
        view.save()
    except Exception as error:  # whatever W&B's client makes of a refusal or a broken line
        reason = " ".join(str(error).split())
        sys.exit(f"project={chosen.entity or ''}/{chosen.project}: W&B did not take the workspace ({reason})")
    print(view.url)


if __name__ == "__main__":
    main()
