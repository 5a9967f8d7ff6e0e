"""The release: sdist and wheel are complete, the wheel runs on its own, and all files name the same version."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import prune_init

ROOT = Path(prune_init.__file__).parents[2]
VERSION = prune_init.__version__


def done(*command: str | Path, cwd: Path) -> str:
    """The output of a command that cannot import from the source tree."""
    hidden = ("PYTHON", "PRUNE_INIT_", "WANDB_")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    ran = subprocess.run([*map(str, command)], cwd=cwd, env=keep, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("release")
    source = folder / "source"
    source.mkdir()
    for path in ROOT.iterdir():  # build in a copy, because building leaves files behind
        if path.is_file():
            shutil.copy(path, source)
    for name, left_out in {"src": "conf", "conf": "local", "tests": ""}.items():  # src/prune_init/conf may be a link
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", left_out)
        )
    done(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source, cwd=folder)
    return folder


def one(built: Path, pattern: str) -> Path:
    (path,) = (built / "dist").glob(pattern)
    return path


@pytest.mark.slow
def test_the_wheel_holds_code_configuration_data_and_licences_and_nothing_else(built):
    source, names = built / "source", set(zipfile.ZipFile(one(built, "*.whl")).namelist())
    papers = {name for name in names if name.startswith(f"prune_init-{VERSION}.dist-info/")}
    code = {path.relative_to(source / "src").as_posix() for path in (source / "src").rglob("*") if path.is_file()}
    conf = {f"prune_init/{path.relative_to(source).as_posix()}" for path in (source / "conf").rglob("*.yaml")}
    assert len(code) > 90 and len(conf) > 40
    assert names - papers == code | conf | {"prune_init/conf/__init__.py"}
    assert {"prune_init/py.typed", "prune_init/data/fashion_small.npz"} <= names
    assert {Path(name).name for name in papers if "/licenses/" in name} >= {"LICENSE", "LICENSE.fashion-mnist"}


@pytest.mark.slow
def test_the_sdist_holds_what_the_wheel_needs_and_the_papers(built):
    with tarfile.open(one(built, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "CITATION.cff", "conf/config.yaml", "src/prune_init/py.typed"} <= names
    assert not {name for name in names if name.startswith(("tests", "runs", ".venv"))}


@pytest.mark.slow
def test_the_package_index_would_take_them(built):
    done(sys.executable, "-m", "twine", "check", "--strict", one(built, "*.whl"), one(built, "*.tar.gz"), cwd=built)


@pytest.mark.slow
def test_the_wheel_runs_anywhere(built, tmp_path):
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    python, script = home / "bin/python", home / "bin/prune-init"
    wheel = one(built, "*.whl")
    done(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    # Dependencies come from the environment of the tests, but without its .pth files, such as of an editable install.
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    top = Path("/")
    where = done(python, "-c", "import prune_init.conf as c; print(c.__file__)", cwd=top)
    assert where.strip() == str(site / "prune_init/conf/__init__.py")
    assert "synflow" in done(script, "--help", cwd=top)
    plugins = "from hydra.core.plugins import Plugins; print(list(Plugins.instance().class_name_to_class))"
    assert "prune_init_launchers.packed_local.PackedLocalLauncher" in done(python, "-c", plugins, cwd=top)
    settings = ("experiment=smoke", "trainer=cpu", f"results={tmp_path / 'out'}")
    assert "finished already" not in done(python, "-m", "prune_init", *settings, cwd=top)
    assert "finished already" in done(script, *settings, cwd=top)
    (record,) = (tmp_path / "out").rglob("result.json")
    row = json.loads(record.read_text())
    assert row["status"] == "complete" and 0 < row["top1"]["last"] <= 1 and row["commit"] is None
    assert row["versions"]["prune_init"] == VERSION


def test_all_papers_name_the_same_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest, date = re.findall(r"^## \[(\d\S*)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M)[0]
    assert citation["version"] == newest == VERSION
    assert str(citation["date-released"]) == date


def test_the_citation_has_what_its_format_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= citation.keys() and citation["authors"]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
