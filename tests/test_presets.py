"""Presets are exactly the published sweeps; planning, narrowing, resuming and inspecting any sweep."""

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig
from records import record

import prune_init
from prune_init import InputError
from prune_init.benchmark import status
from prune_init.benchmark.stand_in import SIZES
from prune_init.command.building import build
from prune_init.launching import plan, plan_file
from prune_init.pruning.weights import prunable
from prune_init.record import results, settings

QUICK = ("architecture=mlp", "recipe.epochs=1", "recipe.batch_size=500", "trainer=cpu", "train=false")
RUNS = {
    "figure1": 26 * 5 * 3,
    "figure6": 12 * 5 * 13 * 3,
    "rebuttal_a": 6 * 3 * 13 * 3,
    "rebuttal_b": 4 * 13 * 3,
    "imagenet_vgg19": 3 * 3,
    "critical": 13 * 26 * 3,
    "replicate_cpu": 6 * 3,
    "figure1_small": 5 * 5 * 2,
    "figure6_small": 2 * 5 * 3 * 2,
    "rebuttal_a_small": 2 * 3 * 3 * 2,
    "rebuttal_b_small": 4 * 3 * 2,
    "imagenet_vgg19_small": 3 * 2,
    "critical_small": 13 * 10,
}
Sweep = tuple[ConfigLoader, DictConfig, list[list[str]]]


@pytest.fixture
def sweep() -> Iterator[Callable[..., Sweep]]:
    """`sweep("experiment=figure1", ...)` returns Hydra's loader, the configuration and the jobs of that command."""

    def read(*arguments: str) -> Sweep:
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", list(arguments), run_mode=RunMode.MULTIRUN)
        return loader, config, plan.all_jobs(loader, config)

    with initialize_config_module("prune_init.conf", version_base="1.3"):
        yield read


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", RUNS)
def test_a_preset_sweeps_by_itself_over_exactly_its_runs(sweep, name):
    _, config, jobs = sweep(f"experiment={name}")
    assert config.hydra.mode == RunMode.MULTIRUN
    assert len({tuple(job) for job in jobs}) == len(jobs) == RUNS[name]


def test_every_sweeping_preset_is_counted_here():
    conf = Path(prune_init.__file__).parent.parent.parent / "conf/experiment"
    assert {path.stem for path in conf.glob("*.yaml")} - {"compare", "smoke"} == set(RUNS)


@pytest.mark.parametrize("name", [name for name, runs in RUNS.items() if runs <= 60])
def test_the_runs_of_a_preset_are_that_many_folders(sweep, name):
    planned = plan.plan(*sweep(f"experiment={name}"))
    assert len({run.folder for run in planned}) == len({run.identity for run in planned}) == RUNS[name]


def test_figure1_is_the_published_grid(sweep):
    _, config, jobs = sweep("experiment=figure1")
    exponents = sorted({float(override.split("=")[1]) for job in jobs for override in job if "exponent=" in override})
    assert exponents == [quarter / 4 for quarter in range(26)]
    assert (config.dataset.name, config.architecture.name, config.recipe.name) == ("cifar100", "vgg16", "cifar_vgg")


PAIRS = {
    (data, network): recipe
    for data in ("cifar10", "cifar100", "tiny_imagenet")
    for network, recipe in {
        "vgg11": "cifar_vgg",
        "vgg16": "cifar_vgg",
        "resnet18": "cifar_resnet",
        "wide_resnet18": "cifar_resnet",
    }.items()
}


def test_figure6_trains_each_pair_by_its_own_recipe(sweep):
    narrow = sweep("experiment=figure6", "seed=0", "scorer=snip", "exponent=1")
    found = {}
    for run in plan.plan(*narrow):
        cfg = narrow[0].load_sweep_config(narrow[1], list(run.overrides))
        found[cfg.dataset.name, cfg.architecture.name.removesuffix("_tiny")] = cfg.recipe.name
    assert found == {pair: "tiny_imagenet" if pair[0] == "tiny_imagenet" else PAIRS[pair] for pair in PAIRS}


def test_the_command_line_narrows_a_preset(sweep):
    _, _, jobs = sweep("experiment=figure6", "seed=0", "exponent=1,2", "pair=cifar10_vgg11", "scorer=snip,random")
    assert sorted(sorted(job) for job in jobs) == [
        ["experiment=figure6", f"exponent={exponent}", "pair=cifar10_vgg11", f"scorer={scorer}", "seed=0"]
        for exponent in (1, 2)
        for scorer in ("random", "snip")
    ]


def test_replicate_cpu_has_cells_of_figure_6_first_with_one_seed(sweep):
    """A cell computes the same as the run of figure 6, except for rounding."""
    loader, config, jobs = sweep("experiment=replicate_cpu")
    seeds = [next(part for part in job if part.startswith("seed=")) for job in jobs]
    assert seeds == sorted(seeds) and seeds[0] == "seed=0"
    assert config.hydra.runtime.choices["hydra/launcher"] == "packed_local"
    for job in jobs[: len(jobs) // 3]:
        cfg = loader.load_sweep_config(config, job)
        same = [f"pair={cfg.dataset.name}_{cfg.architecture.name}", f"scorer={cfg.scorer.name}", "seed=0"]
        _, published, (told,) = sweep("experiment=figure6", *same, f"exponent={cfg.exponent:g}")
        theirs = settings.resolved(loader.load_sweep_config(published, told))
        ours = settings.resolved(cfg)
        ours["mode"], theirs["mode"] = (which["mode"] or which["scorer"].get("mode") for which in (ours, theirs))
        differ = {key for key in ours if ours[key] != theirs[key]}
        assert differ <= {"compact", "compile", "channels_last", "trainer"} and cfg.recipe.epochs == 160
        assert ours["trainer"] == {**theirs["trainer"], "accelerator": "cpu"}


def test_rebuttal_b_compares_four_ways_of_scoring(sweep):
    planned = plan.plan(*sweep("experiment=rebuttal_b", "seed=0", "exponent=2"))
    names = [run.folder.name.rpartition("-")[0] for run in planned]
    assert names == [
        "snip-x2.00-s0-cifar_vgg",
        "snip-x2.00-s0-train-cifar_vgg",
        "iter_snip-x2.00-s0-cifar_vgg",
        "synflow-x2.00-s0-cifar_vgg",
    ]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("mode=train", "train"),
        ("iterations=5", "iterations5"),
        ("schedule=linear", "linear"),
        ("scope=layer", "layer"),
        ("ablation=shuffle", "shuffle"),
        ("target=effective", "effective"),
        ("recipe=quick_adamw", "quick_adamw"),
        ("validation=500", "validation500"),
        ("compact=true", "compact"),
        ("train=false", "no_train"),
        ("precision=16-mixed", "16-mixed"),
        ("lifecycle=lottery_ticket", "lottery_ticket"),
    ],
)
def test_a_swept_key_shows_in_the_name_of_the_folder(sweep, override, told):
    plain, other = (plan.plan(*sweep("seed=0", *more))[0].folder.name for more in ([], [override]))
    assert plain.rpartition("-")[0] == "synflow-x1.70-s0"
    assert other.rpartition("-")[0] == f"synflow-x1.70-s0-{told}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["seed=0,1", "exponent=1,2.5", "scorer=snip,synflow", "recipe.optimizer.lr=0.1,0.01"],
        ["lifecycle=lottery_ticket", "sparsity=0.5,0.9", "iterations=null,3"],
        ["exclude=null,[classifier.weight]", "seed=range(0,3)"],
        ["+trainer.log_every_n_steps=5,7", "recipe.epochs=1,2"],
        ["experiment=rebuttal_a", "seed=1", "exponent=0.5,1", "pair=cifar10_vgg16,tiny_imagenet_resnet18"],
        ["hydra.sweep.subdir='${hydra.job.num}/${hydra.job.override_dirname}'", "seed=3,4"],
    ],
)
def test_the_plan_is_what_composing_each_job_gives(sweep, arguments):
    loader, config, jobs = sweep(*arguments)
    for number, (run, job) in enumerate(zip(plan.plan(loader, config, jobs), jobs, strict=True)):
        cfg = loader.load_sweep_config(config, job)
        cfg.hydra.job.num = number
        folder = (Path("runs") / cfg.hydra.sweep.subdir).absolute()
        assert (run.folder, run.identity, run.overrides) == (folder, settings.identity(cfg), tuple(job))
        assert (run.number, run.devices, run.nodes) == (number, 1, 1)


@pytest.mark.slow
def test_the_work_that_the_documents_count_is_that_of_the_presets(sweep):
    """The table in docs/cluster.md: runs, training images, hours at 1,000 images/s, jobs of eight runs, GB of masks."""
    document = (Path(prune_init.__file__).parents[2] / "docs/cluster.md").read_text()
    told = {line.split("`")[1]: line.split("|")[2:-1] for line in document.splitlines() if line.startswith("| `")}
    for name in (name for name in RUNS if not name.endswith("_small")):
        loader, config, jobs = sweep(f"experiment={name}")
        images = masks = 0
        pairs = Counter(next((part for part in job if part.startswith(("pair=", "cell="))), "") for job in jobs)
        for pair, runs in pairs.items():
            cfg = loader.load_sweep_config(config, [f"experiment={name}", *filter(None, [pair])])
            with torch.device("meta"):
                weights = prunable(build(cfg.architecture))
            images += runs * cfg.recipe.epochs * SIZES[cfg.dataset.name][0] * cfg.train
            masks += runs * sum(weight.numel() for weight in weights.values())
        trained = [f"{images / 1e9:.2f} billion", f"{images / 3.6e6:,.0f}"] if images else ["none", "scoring only"]
        found = [f"{len(jobs):,}", *trained, f"{-(-len(jobs) // 8):,}", f"{masks / 1e9:.1f} GB"]
        assert [told[name][i].strip() for i in (0, 2, 3, 4, 5)] == found


def test_planning_composes_once_per_choice_of_groups(sweep, monkeypatch):
    loader, config, jobs = sweep("experiment=figure1")
    composed, compose = [], loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *a: composed.append(a) or compose(*a))
    planned = plan.plan(loader, config, jobs)
    assert len(planned) == 390 and len(composed) == 5
    assert plan.plan(loader, config, jobs[7:]) == planned[7:] and len(composed) == 5  # as a launcher calls it


def test_no_value_of_one_job_is_left_in_another(sweep) -> None:  # type: ignore[no-untyped-def]
    loader, config, _ = sweep()
    compose = plan.Planner(loader, config).compose
    jobs = [["scorer=snip", "iterations=7"], ["scorer=snip", "seed=1"], ["scorer=snip", "iterations=7", "seed=2"]]
    found = [[compose(job, 0)[key] for key in ("iterations", "seed")] for job in [*jobs, *reversed(jobs)]]
    assert found == [[7, 0], [None, 1], [7, 2], [7, 2], [None, 1], [7, 0]]


def test_two_jobs_in_one_folder_are_refused(sweep):
    with pytest.raises(InputError, match=r"two runs would share it: exponent=1 .*; exponent=1\.0 "):
        plan.plan(*sweep("exponent=1,1.0", "seed=0"))


def test_a_plan_is_read_as_written_and_the_same_sweep_writes_the_same_file(tmp_path):
    runs = [plan.Planned(tmp_path / f"a/{n}", n * 64, (f"seed={n}",)) for n in "12"]
    assert plan_file.write(tmp_path, runs, "mine") == plan_file.write(tmp_path, runs, "mine")
    plan_file.write(tmp_path, runs[:1], "smaller")
    assert sorted(plan_file.read(tmp_path)) == [plan_file.Sweep("mine", runs), plan_file.Sweep("smaller", runs[:1])]
    (tmp_path / plan_file.FOLDER / "foreign.jsonl").write_text('{"schema": 7}\n')
    with pytest.raises(InputError, match=r"foreign\.jsonl: is not the plan of a sweep \(is of schema 7, not 1\)"):
        plan_file.read(tmp_path)


def shown(monkeypatch: pytest.MonkeyPatch, capsys: Any, folder: Path) -> str:
    monkeypatch.setattr("sys.argv", ["status", str(folder)])
    monkeypatch.setenv("COLUMNS", "120")
    status.main()
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_with_failures_runs_the_rest_lists_each_and_goes_on(command, tmp_path, monkeypatch, capsys):
    sweep = ("-m", *QUICK, "scorer=random,magnitude", "dataset=mnist,fashion_small", "hydra.sweeper.max_batch_size=1")
    outcome = command(*sweep)
    assert outcome.code == 1
    assert outcome.out.count("failed: ") == outcome.out.count("dataset.root=data: MNIST is not in ") == 2
    found = status.progress(tmp_path / "runs")
    assert [dict(counts) for _, counts in found.sweeps] == [{"failed": 2, "done": 2}]
    out = shown(monkeypatch, capsys, tmp_path / "runs")
    assert out.count("failed runs/") == 0 and out.count("dataset.root=data: MNIST is not in ") == 2
    logs = [Path(line.strip()) for line in out.splitlines() if line.endswith("error.log")]
    assert len(logs) == 2 and all("Traceback" in log.read_text() for log in logs)

    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    again = command(*sweep)
    assert again.code == 1 and "4 runs, 2 of them finished" in again.out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")} == times and len(times) == 2
    assert {json.loads(path.read_text())["attempt"] for path in tmp_path.rglob("mnist/**/status.json")} == {2}


def test_status_tells_missing_killed_torn_and_unplanned_runs(tmp_path, monkeypatch, capsys):
    runs = [
        plan.Planned(tmp_path / f"set/net/{name}", f"{n:064x}")
        for n, name in enumerate(("done", "gone", "torn", "never"))
    ]
    plan_file.write(tmp_path, runs, "figure1")
    folders = [*(run.folder for run in runs[:3]), tmp_path / "set/net/alone"]
    for folder in folders:
        folder.mkdir(parents=True)
    for folder, identity in ((folders[0], runs[0].identity), (folders[3], "f" * 64)):
        results.write(folder, record(identity=identity))
    told = {"schema": 1, "status": "running", "identity": runs[1].identity, "pid": 2**22 + 1, "process_started": 1}
    told |= {"host": socket.gethostname(), "overrides": [], "attempt": 1}
    told |= dict.fromkeys(("started", "updated"), "2026-11-23") | dict.fromkeys(("slurm_job", "error", "log"))
    (folders[1] / "status.json").write_text(json.dumps(told))
    (folders[2] / "result.json").write_text('{"schema"')
    assert [(title, dict(counts)) for title, counts in status.progress(tmp_path).sweeps] == [
        ("figure1", {"done": 1, "failed": 2, "missing": 1}),
        ("runs outside of sweeps", {"done": 1}),
    ]
    out = shown(monkeypatch, capsys, tmp_path)
    assert "ended without recording a reason, perhaps killed" in out and "net/torn/result.json: unreadable" in out


def test_status_of_nothing_is_one_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="holds no sweep and no run"):
        shown(monkeypatch, capsys, tmp_path)


def test_a_result_of_another_configuration_in_a_run_s_place_stops_the_sweep(command, tmp_path):
    assert command("-m", *QUICK, "scorer=random", "seed=0,1").code == 0
    one, other = sorted(path.parent for path in tmp_path.rglob("result.json"))
    (other / "result.json").replace(one / "result.json")
    outcome = command("-m", *QUICK, "scorer=random", "seed=0,1")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert one.name in outcome.err and "holds a run of another configuration" in outcome.err


def test_fewer_than_one_weight_left_ends_as_a_collapse(command, tmp_path):
    assert command(*QUICK[:-1], "scorer=random", "exponent=6.25").code == 0
    (record,) = tmp_path.rglob("result.json")
    row = json.loads(record.read_text())
    assert sum(layer["kept"] for layer in row["layers"]) == 0
    assert row["connected"] is False and row["top1"]["last"] == pytest.approx(0.1)


@pytest.mark.slow
def test_a_small_twin_from_end_to_end(command, tmp_path, monkeypatch, capsys):
    few = ("recipe.epochs=1", "+trainer.limit_train_batches=3", "+trainer.limit_val_batches=1")
    assert command("experiment=imagenet_vgg19_small", "trainer=cpu", *few).code == 0
    (counts,) = (counts for _, counts in status.progress(tmp_path / "runs").sweeps)
    assert counts == {"done": 6}
    rows = [json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("result.json")]
    assert {(row["scorer"], row["seed"], row["sparsity"]) for row in rows} == {
        (scorer, seed, 0.98) for scorer in ("snip", "grasp", "synflow") for seed in (0, 1)
    }
    (line,) = (line for line in shown(monkeypatch, capsys, tmp_path / "runs").splitlines() if "vgg19" in line)
    assert line.split() == ["imagenet_vgg19_small", "6", "6"]
