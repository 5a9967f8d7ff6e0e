"""Hours of a run of each network of the published sweeps, by `prune-init estimate`; noise stands in for images."""

from hydra import initialize_config_module

from gpu_check.report import Report
from prune_init.benchmark.cells import cells, sweep
from prune_init.benchmark.estimate import estimates

PRESETS = ("figure1", "figure6")
ONE = ("scorer=synflow", "exponent=2", "seed=0")
"""One cell of each network: masked nets take as long to train at any compression."""


def hours(report: Report, *, quick: bool) -> None:
    """Each as it is found: what a preset takes is this times its runs."""
    for preset in ("figure1_small",) if quick else PRESETS:
        with report.attempt(preset=preset), initialize_config_module("prune_init.conf", version_base="1.3"):
            found = cells(*sweep([f"experiment={preset}", *ONE]))
            for row in estimates(found, 2 if quick else 20):
                report.say(preset=preset, cell=row["cell"], hours=row["hours"], noise=row.get("noise"))
