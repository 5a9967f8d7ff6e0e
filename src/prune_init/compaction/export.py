"""Export nets as torch.export and ONNX files; each file is loaded back and compared with the net."""

import copy
import os
from importlib import import_module

import torch
from torch import Tensor, nn

from prune_init.compaction import batches
from prune_init.errors import InputError
from prune_init.pruning.structures import difference


def save_program(net: nn.Module, example_input: Tensor, path: str | os.PathLike[str]) -> float:
    """Write `net`, in eval mode and for any batch size, as a `torch.export` file (.pt2).

    Args:
        net: a compact net, or any other that torch.export can export.
        example_input: a batch of its input; of floating-point numbers only its shape, dtype and device matter.
        path: the file.

    Returns:
        The largest difference between the outputs of `net` and of the saved program, relative to the largest output.
    """
    net = copy.deepcopy(net).eval()
    program = torch.export.export(net, (batches.like(example_input, 2),), dynamic_shapes=_any_batch())
    torch.export.save(program, path)
    again = torch.export.load(path).module()
    x = batches.like(example_input, 3)
    return difference(net(x.clone()), again(x.clone()))  # a net may change its input in place


def save_onnx(net: nn.Module, example_input: Tensor, path: str | os.PathLike[str]) -> float:
    """Write `net`, in eval mode and for any batch size, as an ONNX file; see `save_program`.

    Raises:
        InputError: onnx, onnxscript or onnxruntime is not installed.
    """
    try:
        onnxruntime, _ = import_module("onnxruntime"), import_module("onnxscript")  # torch.onnx needs the latter
    except ModuleNotFoundError as error:
        raise InputError("format", "onnx", f"needs {error.name}: pip install 'prune_init[onnx]'") from error
    net = copy.deepcopy(net).eval()
    torch.onnx.export(
        net,
        (batches.like(example_input, 2),),
        os.fspath(path),
        dynamo=True,
        dynamic_shapes=_any_batch(),
        external_data=False,  # weights go into the same file
        verbose=False,
    )
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    x = batches.like(example_input, 3)
    (output,) = session.run(None, {session.get_inputs()[0].name: x.cpu().numpy()})
    return difference(net(x.clone()), torch.from_numpy(output))


def _any_batch() -> tuple[dict[int, object]]:
    return ({0: torch.export.Dim.DYNAMIC},)
