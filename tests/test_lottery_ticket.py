"""Cycles of training, pruning and rewinding: what is rewound, what is pruned, and resuming after any epoch."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prune_init
from prune_init.training.lottery_ticket import LotteryTicket
from prune_init.training.module import PruneThenTrain


class Recorder(pl.Callback):
    """Records net, optimiser and learning rate at the start and at the end of every epoch."""

    def __init__(self):
        self.starts, self.ends = [], []

    def note(self, trainer, module):
        net = {name: tensor.clone() for name, tensor in module.net.state_dict().items()}
        momentum = [
            s["momentum_buffer"].clone() for s in trainer.optimizers[0].state.values() if "momentum_buffer" in s
        ]
        masks = {name: mask.clone() for name, mask in module.masks.tensors().items()}
        return net, momentum, trainer.optimizers[0].param_groups[0]["lr"], masks

    def on_train_epoch_start(self, trainer, module):
        self.starts.append(self.note(trainer, module))

    def on_train_epoch_end(self, trainer, module):
        self.ends.append(self.note(trainer, module))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3))


def batches():
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, torch.arange(64) % 3), batch_size=16)


def trained(levels, rewind_epoch, epochs=4, sparsity=0.875):
    def prune(model, **options):
        return prune_init.prune(model, "magnitude", **{"sparsity": 0.0, **options})

    module = PruneThenTrain(
        net(),
        prune=prune,
        sample=lambda device: [],
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5),
    )
    cycles, recorder = (
        LotteryTicket(levels=levels, rewind_epoch=rewind_epoch, epochs=epochs, sparsity=sparsity),
        Recorder(),
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        max_epochs=cycles.max_epochs,
        accelerator="cpu",
        enable_checkpointing=False,
        callbacks=[cycles, recorder],
        **quiet,
    )
    trainer.fit(module, train_dataloaders=batches(), val_dataloaders=batches())
    return module, recorder


@pytest.mark.parametrize("rewind_epoch", [0, 1, 3])
def test_each_level_starts_where_the_first_one_was(rewind_epoch):
    _, recorder = trained(levels=3, rewind_epoch=rewind_epoch)
    per_level = 4 - rewind_epoch
    assert len(recorder.starts) == 4 + 3 * per_level
    weights, momentum, rate, _ = recorder.starts[rewind_epoch]
    for level in (1, 2, 3):
        found, found_momentum, found_rate, masks = recorder.starts[4 + (level - 1) * per_level]
        for name, tensor in weights.items():
            expected = tensor * masks[name] if name in masks else tensor
            assert torch.equal(found[name], expected), (level, name)
        assert all(torch.equal(a, b) for a, b in zip(found_momentum, momentum, strict=True))
        assert found_rate == rate == 0.1 * 0.5**rewind_epoch


def test_each_level_prunes_the_weights_that_the_last_one_trained():
    _, recorder = trained(levels=3, rewind_epoch=1)
    total = 6 * 20 + 20 * 3
    previous = recorder.starts[0][3]
    for level, start in ((1, 4), (2, 7), (3, 10)):
        masks = recorder.starts[start][3]
        trained_weights = recorder.ends[start - 1][0]
        kept = torch.cat([masks[name].flatten() for name in masks])
        magnitudes = torch.cat([trained_weights[name].flatten().abs() for name in masks])
        assert int(kept.sum()) == round(0.125 ** (level / 3) * total)
        assert magnitudes[kept].min() >= magnitudes[~kept].max()
        assert all((masks[name] <= previous[name]).all() for name in masks)
        previous = masks
