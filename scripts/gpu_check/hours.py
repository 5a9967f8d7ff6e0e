"""Hours of a run of each network of the published sweeps, by `prune-init estimate`, with noise in place of images."""

from hydra import initialize_config_module

from gpu_check.report import Report
from prune_init.benchmark.cells import cells, sweep
from prune_init.benchmark.estimate import estimates

PRESETS = ("figure1", "figure6")
ONE = ("scorer=synflow", "exponent=2", "seed=0")
"""One cell for each network, since masked nets take the same time to train at any compression."""


def hours(report: Report, *, quick: bool) -> None:
    """Report the hours of each cell; those of a preset are these times the number of its runs."""
    for preset in ("figure1_small",) if quick else PRESETS:
        with report.attempt(preset=preset), initialize_config_module("prune_init.conf", version_base="1.3"):
            found = cells(*sweep([f"experiment={preset}", *ONE]))
            for row in estimates(found, 2 if quick else 20):
                report.say(preset=preset, cell=row["cell"], hours=row["hours"], noise=row.get("noise"))
