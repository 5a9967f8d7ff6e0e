"""What a run shows in the terminal: its plan and its outcome."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.table import Column, Table

from prune_init import host
from prune_init.pruning import layer_table
from prune_init.record import own_code, results
from prune_init.record.run_record import Accuracies, CompactSavings, ExportedNet, RunRecord, TiedScores


class Console:
    """Output of a run, formatted in a terminal and as plain lines in a log."""

    def __init__(self) -> None:
        self.rich = host.console()
        # Show a warning as one sentence, without the file and line of our code.
        warnings.showwarning = lambda message, *_, **__: self.rich.print(
            f"[yellow]warning:[/] {message}", soft_wrap=True
        )

    def plan(self, cfg: DictConfig, folder: Path) -> None:
        """Show the resolved configuration in brief."""
        scorer = {key: value for key, value in cfg.scorer.items() if key not in ("name", "_target_", "dtype")}
        iterations = scorer.pop("iterations", 1) if cfg.iterations is None else cfg.iterations
        mode = scorer.pop("mode", "eval") if cfg.mode is None else cfg.mode
        lines = {
            "data set": f"{cfg.dataset.name}, {cfg.dataset.num_classes} classes of {_shape(cfg.dataset.input_shape)}",
            "architecture": cfg.architecture.name,
            "scorer": None
            if cfg.masks
            else f"{cfg.scorer.name}, {iterations} x {cfg.schedule.name}, {cfg.scope}, {mode} mode",
            "masks": cfg.masks,
            "ablation": None if cfg.ablation.name == "none" else cfg.ablation.name,
            "sparsity": f"{100 * cfg.sparsity:.6g} %, {cfg.target} (exponent {cfg.exponent:.3g})",
            "training": f"{_count(cfg.recipe.epochs, 'epoch')}, batch {cfg.recipe.batch_size}" if cfg.train else "none",
            "loss": None if cfg.loss.name == "cross_entropy" else cfg.loss.name,
            "callbacks": ", ".join(cfg.callbacks) if cfg.callbacks else None,
            "lifecycle": None
            if "_target_" not in cfg.lifecycle
            else f"{cfg.lifecycle.name}, {_count(cfg.lifecycle.levels, 'level')}",
            "seed": cfg.seed,
            "folder": _short(folder),
        }
        self.rich.print(_grid(lines))
        self.rich.print()

    def exporting(self, kind: str) -> None:
        """Say that the network is being exported, which takes seconds."""
        self.rich.print(f"exporting the trained network to net.{kind}")

    def already_done(self, record: RunRecord, folder: Path, cfg: DictConfig) -> None:
        """Say that the run is finished already, and show its outcome and which files that `cfg` asks for it lacks."""
        self.rich.print("This run is finished already (force=true runs it again).\n")
        self.outcome(record, folder)
        for line in (*results.lacking([folder], cfg), *own_code.changed([folder])):
            self.rich.print(f"[yellow]warning:[/] {line}", soft_wrap=True)

    def outcome(self, record: RunRecord, folder: Path, dashboards: Sequence[str | None] = ()) -> None:
        """Show layers, cost, accuracies, seconds, and where to find the files and dashboards."""
        self.rich.print(_layer_table(record))
        cost = record.cost
        lines = {
            "cost": f"{cost.passes:,} passes ({_count(cost.iterations, 'iteration')} of "
            f"{_count(cost.examples_per_iteration, 'example')}), {cost.flops / 1e9:.3g} GFLOP",
            "ties": _ties(record.ties),
            "compact": _savings(record.compaction),
            "training": _stopped(record),
            "top-1": _accuracies(record, record.top1),
            "top-5": _accuracies(record, record.top5),
            "export": _export(record.export),
            "seconds": ", ".join(f"{phase} {value:.1f}" for phase, value in record.seconds),
            "results": _short(folder),
        }
        self.rich.print(_grid(lines))
        for where in filter(None, dashboards):  # unwrapped, so that it can be copied
            self.rich.print(f"[bold]see[/]      {where.replace(f'{Path.cwd()}/', '')}", soft_wrap=True)
        if record.collapsed:
            self.rich.print("\n[bold red]layer collapse: no path leads from input to output[/]")


def _grid(lines: dict[str, Any]) -> Table:
    """A table with one row for each value that is not None."""
    grid = Table.grid(Column(), Column(overflow="fold"), padding=(0, 2))
    for key, value in lines.items():
        if value is not None:
            grid.add_row(f"[bold]{key}[/]", str(value))
    return grid


def _layer_table(record: RunRecord) -> Table:
    *layers, total = layer_table.rows(record)
    table = host.table(*layer_table.HEADS, words=layer_table.WORDS, feet=total)
    for name, *cells in layers:
        table.add_row(name.removesuffix(".weight"), *cells)
    return table


def _ties(ties: TiedScores | None) -> str | None:
    """The warning about ties, in brief."""
    if ties is None or not ties.told:
        return None
    layers = f", {_count(len(ties.unscored), 'layer')} emptied without a score" if ties.unscored else ""
    return f"{_percent(ties.share)} of the kept weights were chosen by position{layers}"


def _savings(saved: CompactSavings | None) -> str | None:
    if saved is None:
        return None
    computed, parameters = (both.compact / both.dense for both in (saved.multiply_adds, saved.parameters))
    step = saved.step_seconds
    return (
        f"{_percent(computed)} of multiply-adds, {_percent(parameters)} of parameters left; "
        f"a training step takes {1000 * step.compact:.3g} ms instead of {1000 * step.dense:.3g} ms"
    )


def _export(export: ExportedNet | None) -> str | None:
    if export is None:
        return None
    if export.file is None:
        return f"failed ({export.error})"
    return f"{export.file}, whose outputs differ by {export.difference:.1e} of the largest"


def _stopped(record: RunRecord) -> str | None:
    end = record.trained
    if end is None or not end.stopped or not record.config["train"]:
        return None
    return f"stopped after {_count(end.steps, 'step')}, in epoch {end.epochs}"


def _accuracies(record: RunRecord, top: Accuracies) -> str:
    if top.last is None:
        return "not tested" if record.config["train"] else "not trained"
    parts = [f"last {_percent(top.last)}", f"best epoch on the test set {_percent(top.best)}"]
    if top.at_best_validation is not None:
        parts.append(f"at best validation {_percent(top.at_best_validation)}")
    return ", ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _percent(fraction: float | None) -> str:
    return f"{100 * (fraction or 0):.2f} %"


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape))


def _short(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
