"""Device settings for pruning and training, and what must be restored: settings, random states, statistics."""

from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_module
from torch import nn

import prune_init
from prune_init.command.assembly import make_trainer
from prune_init.command.building import on_processor
from prune_init.data.examples import Examples
from prune_init.data.sampler import Sampler
from prune_init.pruning.cost import Ledger
from prune_init.record.schema import check
from prune_init.record.settings import identity
from prune_init.scorers.magnitude import Magnitude
from prune_init.training.module import PruneThenTrain
from prune_init.training.resume import Resumable

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def settings() -> dict[str, Any]:
    cudnn = torch.backends.cudnn
    return {
        "matmul": torch.get_float32_matmul_precision(),
        **{name: getattr(cudnn, name) for name in ("allow_tf32", "deterministic", "benchmark")},
    }


def put(values: dict[str, Any]) -> None:
    torch.set_float32_matmul_precision(values["matmul"])
    for name in ("allow_tf32", "deterministic", "benchmark"):
        setattr(torch.backends.cudnn, name, values[name])


@pytest.fixture
def fast_settings():
    """All settings that a user can change for speed."""
    before = settings()
    put({"matmul": "high", "allow_tf32": True, "deterministic": False, "benchmark": True})
    yield settings()
    put(before)


class Looking(Magnitude):
    """Checks the settings during scoring, and fails at its second call."""

    def __call__(self, net: Any) -> Any:
        assert settings() == {"matmul": "highest", "allow_tf32": False, "deterministic": True, "benchmark": False}
        seen.append(True)
        if len(seen) == 2:
            raise RuntimeError("a scorer that fails")
        return super().__call__(net)


seen: list[bool] = []


def test_scoring_is_exact_and_reproducible_and_settings_come_back(fast_settings):
    seen.clear()
    prune_init.prune(network(), Looking(), 0.5, input_shape=(1, 6, 6))
    assert settings() == fast_settings
    with pytest.raises(RuntimeError, match="a scorer that fails"):
        prune_init.prune(network(), Looking(), 0.5, input_shape=(1, 6, 6))
    assert settings() == fast_settings and len(seen) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, the next test looks at its generator itself")
@pytest.mark.parametrize("scorer", ["snip", "random", "synflow"])
def test_pruning_on_the_processor_leaves_a_gpus_random_numbers_alone(scorer):
    net, data = network(), [(torch.randn(6, 1, 6, 6), torch.arange(6) % 3)]

    def calls() -> list[Any]:  # deferred by torch.manual_seed until a GPU is first used
        return list(torch.cuda._lazy_seed_tracker.get_calls())

    before = calls()
    prune_init.prune(net, scorer, 0.5, mode="train", data=data, input_shape=(1, 6, 6))
    assert len(before) > 0 and calls() == before and not torch.cuda.is_initialized()


@gpu
def test_pruning_on_the_processor_does_not_move_a_gpus_generator():
    torch.cuda.manual_seed_all(5)
    before = torch.cuda.get_rng_state()
    prune_init.prune(network(), "snip", 0.5, mode="train", data=[(torch.randn(6, 1, 6, 6), torch.arange(6) % 3)])
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_a_compiled_net_is_scored_as_it_is_written():
    import torch._dynamo
    from torch._dynamo.utils import counters

    net, data = network(), [(torch.randn(6, 1, 6, 6), torch.arange(6) % 3)]
    net.compile(backend="eager")
    torch._dynamo.reset()
    counters.clear()
    for scorer in ("synflow", "snip"):
        prune_init.prune(net, scorer, 0.5, data=data, input_shape=(1, 6, 6))
    assert counters["frames"]["total"] == 0 and not counters["stats"]
    net(data[0][0])
    assert counters["frames"]["total"] == 1


def test_the_clock_waits_for_the_device_and_leaves_its_record(monkeypatch):
    """A driver that records its calls shows that the device is idle when the clock starts and when it stops."""
    asked: list[str] = []
    memory = {"allocated": 100, "highest": 700}

    def ask(what: str, *_: Any) -> int:
        asked.append(what)
        return memory.get(what, 0)

    monkeypatch.setattr(torch.cuda, "synchronize", partial(ask, "wait"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", partial(ask, "allocated"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", partial(ask, "highest"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", partial(ask, "reset"))
    monkeypatch.setattr("time.perf_counter", partial(ask, "clock"))
    ledger = Ledger()
    with ledger.measure(torch.device("cuda")):
        memory["highest"] = 900
    assert [what for what in asked if what in ("wait", "clock", "reset")] == ["wait", "clock", "wait", "clock"]
    assert ledger.peak_memory == 800
    with ledger.measure(torch.device("cuda")):
        memory["allocated"] = 200
    assert ledger.peak_memory == 0, "an earlier peak hides this one"


@gpu
def test_peak_statistics_of_a_gpu_stay():
    del (large := {"it": torch.empty(2**28, device="cuda")})["it"]
    assert not large and torch.cuda.max_memory_allocated() >= 2**30
    prune_init.prune(network().cuda(), "synflow", 0.5, input_shape=(1, 6, 6))
    assert torch.cuda.max_memory_allocated() >= 2**30


def test_random_states_go_on_where_they_were_and_else_a_line_says_so():
    trainer, states = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), Resumable("this run")
    module, checkpoint = pl.LightningModule(), {"global_step": 0}
    states.on_save_checkpoint(trainer, module, checkpoint)
    wanted = torch.rand(3)
    states.on_load_checkpoint(trainer, module, checkpoint)
    states.on_train_start(trainer, module)
    assert torch.equal(torch.rand(3), wanted)
    (mine,) = checkpoint["random_states"]
    for others, line in (([mine, mine], "2 x cpu; on 1 x cpu"), ([mine | {"kind": "cuda"}], "1 x cuda; on 1 x cpu")):
        states.on_load_checkpoint(trainer, module, {"global_step": 0, "random_states": others})
        before = torch.get_rng_state()
        with pytest.warns(UserWarning, match=f"last.ckpt was written on {line} random numbers"):
            states.on_train_start(trainer, module)
        assert torch.equal(torch.get_rng_state(), before)


def composed(*overrides: str) -> Any:
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ([], ("highest", False, True)),
        (["tf32=true"], ("high", True, True)),
        (["trainer.deterministic=true"], ("highest", False, False)),
        (["trainer.benchmark=false"], ("highest", False, False)),
    ],
)
def test_32_bits_are_ieee_numbers_unless_asked_for_less(fast_settings, tmp_path, overrides, wanted):
    make_trainer(composed("trainer.accelerator=cpu", *overrides), tmp_path, [])
    torch.use_deterministic_algorithms(False)
    found = settings()
    assert (found["matmul"], found["allow_tf32"], found["benchmark"]) == wanted


def test_only_a_processor_needs_a_cpp_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no_such_compiler")
    on_gpu, here = composed("compile=true", "trainer.accelerator=cuda"), composed("compile=true", "trainer=cpu")
    assert not on_processor(on_gpu.trainer) and on_processor(here.trainer)
    check(on_gpu)
    with pytest.raises(prune_init.InputError, match="compile=true: needs a C"):
        check(here)


def test_a_mode_of_compiling_is_passed_on_and_another_run(monkeypatch):
    plain, graphs = (composed(f"compile={how}", "trainer.accelerator=cuda") for how in ("true", "reduce-overhead"))
    check(graphs)
    assert identity(graphs) != identity(plain)
    with pytest.raises(prune_init.InputError, match="compile=fast: allowed: true, false, reduce-overhead"):
        check(composed("compile=fast"))
    modes: list[Any] = []
    monkeypatch.setattr(nn.Module, "compile", lambda _, mode: modes.append(mode))
    for cfg in (plain, graphs):
        prune = partial(prune_init.prune, scorer="magnitude")
        module = PruneThenTrain(network(), prune=prune, sample=list, optimizer=torch.optim.SGD, compiled=cfg.compile)
        module.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        module.setup("fit")
    assert modes == [None, "reduce-overhead"]


def test_files_are_read_into_pinned_memory_for_a_gpu_alone():
    read, numbers = torch.zeros, torch.arange(4)
    examples = Examples(read, read, numbers, numbers, workers=0)
    for kind, pinned in (("cuda", True), ("cpu", False)):
        assert examples.loader(Sampler(4, 2), device=kind, augment=None)._batches.pin_memory == pinned  # type: ignore[attr-defined]
