#!/usr/bin/env bash
# Wheels in .gpu/, which git ignores, for a machine that has torch, torchvision, Lightning, NumPy, rich, tqdm and
# safetensors but reaches no package index: prune_init as it is here, Hydra, and pydantic, which is compiled for one
# version of Python. `PYTHON` says which Python's pip makes them, GPU_PYTHON the version there.
set -euo pipefail
cd "$(dirname "$0")/../.."
PIP="${PYTHON:-python3} -m pip"
rm -rf .gpu build  # an earlier build would bring modules that are gone into the wheel
mkdir .gpu
$PIP wheel --quiet --no-deps --wheel-dir .gpu .
rm -rf build
$PIP download --quiet --no-deps --only-binary=:all: --dest .gpu hydra-core==1.3.8 omegaconf==2.3.1
$PIP wheel --quiet --no-deps --wheel-dir .gpu antlr4-python3-runtime==4.9.3  # has no wheel on PyPI
$PIP download --quiet --only-binary=:all: --python-version "${GPU_PYTHON:-3.12}" --dest .gpu pydantic
git describe --always --dirty > .gpu/commit.txt  # which the wheel does not know
ls .gpu
