"""Small nets of transformers and segmentation-models-pytorch, as their users would bring them."""

import copy
import pickle
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import transformers
from torch import nn
from torch.nn import functional as F

import prune_init
from prune_init.pruning.weights import prunable

SIZES = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
T5 = {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "use_cache": False}
IMAGES = {"image_size": 32, "patch_size": 8, "num_labels": 5}


TOKENS, PIXELS = torch.arange(5, 25).view(2, 10), torch.linspace(-1, 1, 6144).view(2, 3, 32, 32)


def ids(**more: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS), **more}


NETS: dict[str, tuple[str, dict[str, Any], dict[str, torch.Tensor]]] = {
    "BertForSequenceClassification": ("BertConfig", SIZES, ids()),
    "LlamaForCausalLM": ("LlamaConfig", {**SIZES, "num_key_value_heads": 1, "use_cache": False}, ids()),
    "MambaForCausalLM": ("MambaConfig", {**SIZES, "state_size": 4, "use_cache": False}, {"input_ids": TOKENS}),
    "T5ForConditionalGeneration": ("T5Config", T5, ids(decoder_input_ids=torch.arange(12).view(2, 6))),
    "ViTForImageClassification": ("ViTConfig", SIZES | IMAGES, {"pixel_values": PIXELS}),
}


def made(name: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    config, sizes, inputs = NETS[name]
    torch.manual_seed(0)
    return getattr(transformers, name)(getattr(transformers, config)(**sizes)).eval(), inputs


def loss(output: Any, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(output.logits.flatten(0, -2), target)


@pytest.mark.parametrize("name", NETS)
def test_transformers_are_pruned_on_their_own_inputs(name: str) -> None:
    net, inputs = made(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    rows = net(**inputs).logits.flatten(0, -2).shape[0]
    data = [(inputs, torch.zeros(rows, dtype=torch.long))]
    weights = prunable(net)
    for scorer in ("synflow", "snip", "grasp"):
        pruned = copy.deepcopy(net)
        result = prune_init.prune(pruned, scorer, 0.5, data=data, loss=loss, example_input=inputs)
        assert sum(layer.kept for layer in result.layers) == round(0.5 * sum(w.numel() for w in weights.values()))
        assert result.connected and 0.5 <= (result.effective_sparsity or 0) < 0.75
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", NETS)
def test_all_weights_of_a_dense_transformer_lie_on_a_path_in_every_dtype(name: str) -> None:
    net, inputs = made(name)
    draw = torch.Generator().manual_seed(0)
    dense = {key: torch.ones(w.shape, dtype=torch.bool) for key, w in prunable(net).items()}
    sparse = {key: torch.rand(w.shape, generator=draw) < 0.2 for key, w in prunable(net).items()}
    assert prune_init.connectivity(net, inputs, masks=dense).effective_sparsity == 0
    counts = []
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        given = {key: x.to(dtype) if x.is_floating_point() else x for key, x in inputs.items()}
        found = prune_init.connectivity(net.to(dtype), given, masks=sparse)
        counts.append([layer.effective for layer in found.layers])
    assert counts[0] == counts[1] == counts[2]
    assert 0 < sum(n or 0 for n in counts[0]) < sum(int(mask.sum()) for mask in sparse.values())


def test_a_compact_transformer_returns_what_the_net_returns() -> None:
    torch.manual_seed(0)
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": 5}
    net = transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes)).eval()
    net.resnet.embedder.embedder.convolution.weight.data[:3] = 0
    small = prune_init.compact(net, PIXELS)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())
    for one in (small, copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert type(one(PIXELS)) is type(net(PIXELS))
        torch.testing.assert_close(one(PIXELS).logits, net(PIXELS).logits)


def test_a_net_for_segmentation_which_checks_the_size_of_its_images_is_made_compact() -> None:
    torch.manual_seed(0)
    net = smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=3).eval()
    prune_init.prune(net, "synflow", 0.98, input_shape=(3, 64, 64), iterations=10)
    small = prune_init.compact(net, torch.empty(1, 3, 64, 64))
    assert sum(p.numel() for p in small.parameters()) < 0.5 * sum(p.numel() for p in net.parameters())
    for size in (64, 96):
        x = torch.randn(2, 3, size, size)
        torch.testing.assert_close(small(x), net(x), rtol=1e-4, atol=1e-4 * float(net(x).abs().max()))
    with pytest.raises(prune_init.InputError, match="True: False for the example: the net decides by it"):
        small(torch.randn(2, 3, 72, 72))
