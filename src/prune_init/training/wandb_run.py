"""A run in Weights & Biases that never prompts, never hangs, and continues as the same run after an interruption."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from prune_init.errors import InputError, first_line
from prune_init.explain import refused
from prune_init.host import environment
from prune_init.record import results
from prune_init.record.run_record import RunRecord
from prune_init.training.dashboards import Plain, counted, outcome

SECONDS_TO_CONNECT = 30
SECONDS_TO_UPLOAD = 300


class WandbRun(WandbLogger):
    """Logs curves by epoch, the outcome as summary columns, layer densities as a table, and masks if asked for.

    Args:
        save_dir: the run's folder; W&B writes to `wandb` below it, or below WANDB_DIR if that is set.
        id: the W&B id, the same for every start of the same run. A run resumed from a checkpoint appends to the W&B run
            of this id; a run that starts over replaces it by a new one.
        mode: offline, online or disabled. If the server does not answer, online becomes offline.
        preset: name of the experiment, put before `group` and among the tags.
        group, job_type, tags: used to sort and find runs; the commit is always a tag.
        masks: upload masks.safetensors as an artifact.
        more: further arguments of `wandb.init`, such as project, entity, notes.
    """

    def __init__(
        self,
        save_dir: Path,
        *,
        id: str,
        mode: str | None = None,
        preset: str | None = None,
        group: str,
        tags: Sequence[str] = (),
        masks: bool = False,
        name: str | None = None,
        **more: Any,
    ) -> None:
        commit = results.commit()
        labels = [*tags, preset, commit and commit[:10] + commit[40:]]
        group = group if preset is None else f"{preset}/{group}"
        more |= {"mode": mode or "offline", "group": group, "tags": [str(label) for label in labels if label]}
        super().__init__(name or save_dir.name, os.environ.get("WANDB_DIR") or save_dir, id=id, **more)
        self._goes_on, self._with_masks = False, masks

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started on first access."""
        if self._experiment is None and not hasattr(self, "_attach_id"):  # a spawned process attaches to its parent's
            # The configuration already contains the tags of WANDB_TAGS, and W&B fails at an empty mode or tag.
            empty = [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value]
            with environment(dict.fromkeys(["WANDB_TAGS", *empty])):
                self._experiment = _start({**self._wandb_init, "resume": "allow" if self._goes_on else None})
        return super().experiment

    @rank_zero_only
    def begin(self, config: Plain, *, goes_on: bool) -> None:
        """Start the run and log its configuration."""
        self._goes_on = goes_on
        self.log_hyperparams({**config, "commit": results.commit(), "versions": results.versions()})

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics with epochs counted from 1."""
        super().log_metrics(counted(metrics), step)

    @rank_zero_only
    def record(self, record: RunRecord, folder: Path) -> None:
        """Log the outcome in one row, so that W&B can plot any column against any other."""
        import wandb

        columns: list[str | int] = ["layer", "size", "kept", "density", "effective"]
        layers = [[layer.name, layer.size, layer.kept, layer.density, layer.effective] for layer in record.layers]
        staging = Path(self.save_dir or folder).absolute() / "wandb"  # W&B's default does not move with an offline run
        with environment({"WANDB_DATA_DIR": str(staging)}):
            self.experiment.log(outcome(record) | {"layers": wandb.Table(columns=columns, data=layers)})
            if self._with_masks:
                known = {key: getattr(record, key) for key in ("scorer", "sparsity", "seed", "identity")}
                masks = wandb.Artifact(f"masks-{self.experiment.id}", type="masks", metadata=known)
                masks.add_file(str((folder / "masks.safetensors").absolute()), policy="immutable")
                self.experiment.log_artifact(masks)

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """End the W&B run, if it began."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=exit_code)

    def where(self) -> str | None:
        """The address of the run's page, or the command that uploads an offline run."""
        run = self.experiment
        if run.disabled:
            return None
        return f"wandb sync {run.settings.sync_dir}" if run.offline else run.url


def _start(options: Plain) -> Any:
    """Call `wandb.init` without prompts; if the server does not answer, offline.

    Raises:
        InputError: nobody is logged in for online mode, or `wandb.init` has no such argument.
    """
    import wandb

    settings = wandb.Settings(
        console="off",  # it would capture the progress bars
        silent=True,
        init_timeout=SECONDS_TO_CONNECT,
        finish_timeout=SECONDS_TO_UPLOAD,
    )
    options.pop("anonymous")  # has no effect, but W&B warns about it
    if options["mode"] == "online" and not wandb.login(prompt=False, verify=False):
        raise InputError("logger.mode", "online", "nobody is logged in; run `wandb login` or set WANDB_API_KEY")
    try:
        run = wandb.init(**options, settings=settings)
    except TypeError as error:
        raise refused("logger", "wandb", first_line(error)) from error
    except wandb.errors.CommError as error:
        reason = str(error).splitlines()[0]
        warnings.warn(f"W&B does not answer ({reason}); logging offline, for `wandb sync` later", stacklevel=2)
        wandb.teardown()  # its service is still waiting for the answer and holds the id
        run = wandb.init(**{**options, "mode": "offline"}, settings=settings)
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    return run
