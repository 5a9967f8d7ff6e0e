"""What is installed: the wheel runs on its own, and the library does not drag the command's dependencies in."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import prune_init

ROOT = Path(prune_init.__file__).parents[2]


def python(*arguments: str | Path, cwd: Path, **environment: str) -> str:
    """The output of this Python, with no path but the given one and no site-packages that point to the source tree."""
    keep = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PRUNE_INIT_", "WANDB"))
    }
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**keep, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_imports_torch_alone(tmp_path):
    heavy = ["pytorch_lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "torchvision", "rich"]
    code = f"import sys, prune_init; print([name for name in {heavy} if name in sys.modules])"
    assert python("-c", code, cwd=tmp_path).strip() == "[]"


def backend_is_here() -> bool:
    """Whether the build backend of pyproject.toml is installed; pip fetches it otherwise."""
    try:
        return int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the source tree: a build leaves traces."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "local"))
    isolation = ["--no-build-isolation"] if backend_is_here() else []
    python("-m", "pip", "wheel", "--quiet", "--no-deps", *isolation, "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_code_configuration_data_and_licences(wheel):
    source, names = wheel.parent / "source", set(zipfile.ZipFile(wheel).namelist())
    for folder, suffix, inside in (("src/prune_init", "*.py", "prune_init"), ("conf", "*.yaml", "prune_init/conf")):
        found = {f"{inside}/{path.relative_to(source / folder).as_posix()}" for path in (source / folder).rglob(suffix)}
        assert len(found) > 30 and found <= names, found - names
    assert {"prune_init/py.typed", "prune_init/data/fashion_small.npz"} <= names
    assert {Path(name).name for name in names if "/licenses/" in name} >= {"LICENSE", "LICENSE.fashion-mnist"}
    assert {"hydra_plugins/prune_init_sweeper.py", "hydra_plugins/prune_init_launchers/packed_local.py"} <= names
    assert {name.partition("/")[0] for name in names} == {
        "hydra_plugins",
        "prune_init",
        f"prune_init-{prune_init.__version__}.dist-info",
    }


@pytest.mark.slow
def test_the_wheel_runs_in_an_empty_folder(wheel, tmp_path):
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    python("-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, cwd=tmp_path)
    # The wheel comes first; everything it depends on comes from the environment that runs the tests. -S keeps the
    # environment's .pth files, and with them an editable install, out.
    paths = os.pathsep.join([str(site), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])

    def installed(*arguments: str | Path) -> str:
        return python("-S", *arguments, cwd=work, PYTHONPATH=paths)

    assert installed("-c", "import prune_init.conf as c; print(c.__file__)").strip() == str(
        site / "prune_init/conf/__init__.py"
    )
    assert "synflow" in installed("-m", "prune_init", "--help")
    plugins = "from hydra.core.plugins import Plugins; print(list(Plugins.instance().class_name_to_class))"
    assert "prune_init_launchers.packed_local.PackedLocalLauncher" in installed("-c", plugins)
    script = next(site.glob("bin/prune-init"))
    assert "finished already" not in installed(script, "experiment=smoke", "trainer=cpu", "results=out")
    (record,) = work.rglob("result.json")
    row = json.loads(record.read_text())
    assert row["status"] == "complete" and 0 < row["top1"]["last"] <= 1 and row["commit"] is None
    assert {path.name for path in record.parent.iterdir()} == {
        "result.json",
        "status.json",
        "masks.safetensors",
        "metrics.csv",
        ".hydra",
    }
