"""Training under Lightning on noise, set up as in the command."""

import logging
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

import prune_init
from gpu_check.nets import SHAPE, net, sample
from prune_init.benchmark.speed.cases import SGD, images
from prune_init.data.dataset import Dataset
from prune_init.pruning.masks import Tensors
from prune_init.training.datamodule import DataModule
from prune_init.training.history import History
from prune_init.training.module import PruneThenTrain
from prune_init.training.resume import Resumable, WholeCheckpoints

TESTS = 512
"""Number of test images."""
FLOOR = 1e-3
"""A tensor smaller than this fraction of the largest tensor is compared relative to this size; see `gap`."""


class Fit(NamedTuple):
    """The result of training.

    Attributes:
        state: tensors of the whole net, on the CPU.
        masks: masks by weight name, on the CPU.
        last: metrics of the last epoch.
        folder: the folder of its checkpoint.
    """

    state: Tensors
    masks: Tensors
    last: dict[str, float]
    folder: Path

    @property
    def leak(self) -> float:
        """The largest absolute value of a pruned weight."""
        return max(float((self.state[name] * ~mask).abs().max()) for name, mask in self.masks.items())


def fit(
    name: str,
    epochs: int,
    *,
    count: int = 640,
    batch: int = 128,
    precision: Any = "32-true",
    device: str = "auto",
    scorer: str = "synflow",
    sparsity: float = 0.98,
    deterministic: bool = False,
    resume: Path | None = None,
    callbacks: Sequence[pl.Callback] = (),
    **options: Any,
) -> Fit:
    """Prune a net and train it on `count` images, or resume from the checkpoint in the folder `resume`."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    folder = resume or Path(tempfile.mkdtemp())
    iterations = 20 if scorer == "synflow" else 1
    random = torch.Generator().manual_seed(0)
    module = PruneThenTrain(
        net(name),
        prune=partial(
            prune_init.prune,
            scorer=scorer,
            sparsity=sparsity,
            iterations=iterations,
            input_shape=SHAPE,
            generator=random,
        ),
        sample=lambda device: [(x.to(device), y.to(device)) for x, y in sample()],
        optimizer=partial(torch.optim.SGD, fused=True, **SGD | {"lr": 0.05}),
        **options,
    )
    history = History(folder / "metrics.csv")
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator=device,
        devices=1,
        precision=precision,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[
            history,
            *callbacks,
            Resumable("the same run"),
            ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False),
        ],
        plugins=[WholeCheckpoints()],
        deterministic=deterministic,
        benchmark=not deterministic,
    )
    data = DataModule(Dataset(images(count), images(TESTS), 10, SHAPE), batch_size=batch, seed=0)
    trainer.fit(module, datamodule=data, ckpt_path=resume and folder / "last.ckpt", weights_only=True)
    state = {name: tensor.detach().cpu() for name, tensor in module.whole_net().state_dict().items()}
    masks = {name: mask.cpu() for name, mask in module.masks.tensors().items()}
    return Fit(state, masks, history.rows[-1], folder)


def gap(a: Tensors, b: Tensors) -> tuple[float, str]:
    """The largest difference between two tensors of the same name, relative to their largest number, and the name.

    A tensor that is nearly zero, such as the running mean of a dead layer, contains only rounding, whose relative
    difference would be large. So no tensor counts as smaller than `FLOOR` times the largest tensor.
    """
    names = [name for name, tensor in a.items() if tensor.is_floating_point()]
    sizes = {name: _largest(a[name]) for name in names}
    floor = FLOOR * max(sizes.values())
    return max((_largest(a[name].double() - b[name].double()) / max(sizes[name], floor), name) for name in names)


def _largest(tensor: Tensor) -> float:
    return float(tensor.double().abs().max())
