"""Masks during training: pruned weights stay 0 in any net with these masks, and the trajectory is exact."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import prune_init
from prune_init import InputError

X = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 4


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))


def found():
    return prune_init.prune(mlp(), "synflow", 0.9, input_shape=(8,))


def step(net, optimizer, output, clip=None):
    F.cross_entropy(output, Y).backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(net.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()


def leak(net, masks):
    return sum(int((p != 0)[~masks[n]].sum()) for n, p in net.named_parameters() if n in masks)


def reloaded(net):
    fresh = mlp(1)
    fresh.load_state_dict(net.state_dict(), assign=True)
    return fresh


@pytest.mark.parametrize("another", [copy.deepcopy, reloaded, lambda net: mlp(2)], ids=["copy", "reloaded", "fresh"])
def test_another_net_is_refused_by_the_result_and_kept_by_its_masks(another):
    net = mlp()
    result = prune_init.prune(net, "synflow", 0.9, input_shape=(8,))
    other = another(net)
    optimizer = torch.optim.SGD(other.parameters(), 0.1, momentum=0.9)
    with pytest.raises(
        InputError, match=r"optimizer=SGD: has none of the pruned net's weights; .*prune_init\.keep\("
    ) as e:
        result.keep(optimizer)
    assert "\n" not in str(e.value)
    prune_init.keep(other, result.masks, optimizer)
    assert leak(other, result.masks) == 0  # before any step
    step(other, optimizer, other(X))
    assert leak(other, result.masks) == 0
    assert all((p != 0)[result.masks[n]].all() for n, p in other.named_parameters() if n in result.masks)


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "Adam": lambda p: torch.optim.Adam(p, 0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01),
}


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_trajectory_is_that_of_masking_in_the_forward_pass(name, clip):
    """Also when gradients are clipped by their norm, in which those of pruned weights must not count."""
    masks = found().masks
    net, dense = mlp().double(), mlp().double()
    optimizer = OPTIMIZERS[name](net.parameters())
    prune_init.keep(net, masks, optimizer)
    reference = OPTIMIZERS[name](dense.parameters())
    for _ in range(6):
        masked = {n: p * masks[n] if n in masks else p for n, p in dense.named_parameters()}
        step(dense, reference, functional_call(dense, masked, (X.double(),)), clip)
        step(net, optimizer, net(X.double()), clip)
    for n, p in dense.named_parameters():
        expected = p * masks[n] if n in masks else p
        assert torch.allclose(dict(net.named_parameters())[n], expected, rtol=1e-12, atol=1e-14), n


def test_gradients_of_pruned_weights_are_0_after_backward():
    net, masks = mlp(), found().masks
    handles = prune_init.keep(net, masks, torch.optim.SGD(net.parameters(), 0.1))
    F.cross_entropy(net(X), Y).backward()
    assert all(not p.grad[~masks[n]].any() for n, p in net.named_parameters() if n in masks)
    for handle in handles:
        handle.remove()
    net.zero_grad()
    F.cross_entropy(net(X), Y).backward()
    assert any(p.grad[~masks[n]].any() for n, p in net.named_parameters() if n in masks)


def test_masks_that_are_changed_and_nets_that_are_moved_are_followed():
    net, masks = mlp(), found().masks
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    prune_init.keep(net, masks, optimizer)
    step(net, optimizer, net(X))
    masks["0.weight"][:16] = False
    net[2].double().float()
    step(net.double(), optimizer, net(X.double()))
    net.float()
    step(net, optimizer, net(X))
    assert leak(net, masks) == 0 and net[0].weight[:16].count_nonzero() == 0 < net[0].weight[16:].count_nonzero()


def test_a_pruned_weight_stays_0_whatever_its_gradient_was():
    net, masks = mlp(), found().masks
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    prune_init.keep(net, masks, optimizer)
    (torch.where(masks["0.weight"], 1.0, torch.inf) * net[0].weight).sum().backward()
    optimizer.step()
    assert leak(net, masks) == 0 and net[0].weight.isfinite().all()


def test_masks_of_inference_mode_and_layers_that_are_converted_alone():
    net, masks = mlp(), found().masks
    with torch.inference_mode():
        masks = {name: mask.clone() for name, mask in masks.items()}
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    prune_init.keep(net, masks, optimizer)
    step(net, optimizer, net(X))
    net[2].to(torch.bfloat16)
    step(net, optimizer, net[2](net[1](net[0](X)).bfloat16()).float())
    assert leak(net, masks) == 0


def test_layers_that_are_thawed_later_are_kept_too():
    net, masks = mlp(), found().masks
    net[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    prune_init.keep(net, masks, optimizer)
    net[0].weight.requires_grad_(True)
    step(net, optimizer, net(X))
    assert leak(net, masks) == 0


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda net: nn.DataParallel(torch.compile(net))])
def test_names_are_those_of_the_net_inside_in_both_directions(wrap, tmp_path):
    bare, wrapped = mlp(), wrap(mlp())
    result = prune_init.prune(wrapped, "synflow", 0.9, input_shape=(8,))
    assert list(result.masks) == ["0.weight", "2.weight"]
    assert all(torch.equal(result.masks[n], m) for n, m in found().masks.items())
    result.save(tmp_path / "masks")
    prune_init.apply_masks(bare, prune_init.load_masks(tmp_path / "masks"))
    assert leak(bare, result.masks) == 0 and int((bare[0].weight == 0).sum()) == int((~result.masks["0.weight"]).sum())
    net = mlp(3)
    again = wrap(net)
    wrapped_names = [name for name, _ in again.named_parameters() if name.endswith("weight")]
    prune_init.apply_masks(again, dict(zip(wrapped_names, result.masks.values(), strict=True)))
    assert leak(net, result.masks) == 0


def test_a_part_that_is_compiled_answers_to_its_plain_name():
    net, masks = mlp(), found().masks
    parts = nn.Sequential(torch.compile(net[0]), net[1], torch.compile(net[2]))
    assert next(iter(dict(parts.named_parameters()))) == "0._orig_mod.weight"
    prune_init.apply_masks(parts, masks)
    assert leak(net, masks) == 0


def test_masks_that_do_not_fit_are_refused_and_change_nothing():
    net, masks = mlp(), found().masks
    before = copy.deepcopy(net.state_dict())
    for wrong, said in (
        ({"0.wieght": masks["0.weight"]}, r"masks=0\.wieght: is no parameter of the net; did you mean 0\.weight\?"),
        ({"0.weight": masks["2.weight"]}, r"masks=0\.weight: is \(4, 32\), torch\.bool; allowed: .* shape \(32, 8\)"),
        ({"0.weight": masks["0.weight"].float()}, r"masks=0\.weight: is \(32, 8\), torch\.float32; allowed: a boolean"),
        ([masks["0.weight"]], "masks=list: allowed: boolean tensors by weight name"),
    ):
        for act in (prune_init.apply_masks, lambda *a: prune_init.keep(*a, torch.optim.SGD(net.parameters(), 0.1))):
            with pytest.raises(InputError, match=said):
                act(net, wrong)
    with pytest.raises(InputError, match=r"optimizer=list: allowed: a torch\.optim\.Optimizer"):
        prune_init.keep(net, masks, [])
    with pytest.raises(InputError, match=r"optimizer=Adam\(eps=0\): makes pruned weights NaN"):
        prune_init.keep(net, masks, torch.optim.Adam(net.parameters(), eps=0))
    with pytest.raises(InputError, match=r"model=dict: allowed: a torch\.nn\.Module"):
        prune_init.apply_masks({}, masks)
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


def test_given_masks_at_sparsity_0_are_taken_as_they_are():
    masks, net = found().masks, mlp()
    result = prune_init.prune(net, "magnitude", 0.0, masks=masks)
    assert all(torch.equal(result.masks[n], m) for n, m in masks.items())
    assert leak(net, masks) == 0 and result.sparsity == found().sparsity


def tied(shape, stride, offset=0):
    """A net of which the second weight is a view of the memory of the first one."""
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    net[2].weight.data = net[0].weight.data.as_strided(shape, stride, offset)
    return net


OVERLAPS = {
    "the same": lambda: tied((8, 8), (8, 1)),
    "transposed": lambda: tied((8, 8), (1, 8)),
    "slices": lambda: tied((4, 8), (8, 1), 32),
    "one element": lambda: tied((1, 1), (1, 1), 63),
}


@pytest.mark.parametrize("name", OVERLAPS)
@pytest.mark.parametrize("act", ["prune", "apply_masks", "keep"])
def test_weights_that_share_memory_are_refused(name, act):
    net = OVERLAPS[name]()
    masks = {"2.weight": torch.ones_like(net[2].weight, dtype=torch.bool)}
    acts = {
        "prune": lambda: prune_init.prune(net, "magnitude", 0.5, include="2.weight"),
        "apply_masks": lambda: prune_init.apply_masks(net, masks),
        "keep": lambda: prune_init.keep(net, masks, torch.optim.SGD(net.parameters(), 0.1)),
    }
    with pytest.raises(InputError, match=r"model=0\.weight: shares memory with 2\.weight; .*\.clone\(\)$"):
        acts[act]()
    net[2].weight.data = net[2].weight.data.contiguous().clone()
    acts[act]()


def test_weights_that_share_memory_with_a_buffer_or_repeat_an_element_are_refused():
    net = mlp()
    net.register_buffer("part", net[2].weight.detach()[2:])
    with pytest.raises(InputError, match=r"model=2\.weight: shares memory with part; "):
        prune_init.prune(net, "magnitude", 0.5)
    prune_init.prune(net, "magnitude", 0.5, exclude="2.weight")
    net = nn.Sequential(nn.Linear(4, 4))
    net[0].weight = nn.Parameter(torch.rand(4, 1).expand(4, 4))
    with pytest.raises(InputError, match=r"model=0\.weight: repeats elements in memory, as after expand; "):
        prune_init.prune(net, "magnitude", 0.5)


def test_views_of_one_memory_that_do_not_overlap_are_pruned():
    """As FSDP and the RNN layers on a GPU lay out their weights, one after the other or side by side."""
    flat, net = torch.rand(16, 8), nn.Sequential(nn.Linear(4, 16, bias=False), nn.Linear(2, 16), nn.Linear(16, 2))
    net[0].weight.data, net[1].weight.data = flat[:, :4], flat[:, 4:6]
    net[2].weight.data, net[2].bias.data = flat[:, 6:].t(), torch.zeros(4)[2:]
    result = prune_init.prune(net, "magnitude", 0.5)
    assert all(int((net.get_parameter(n) != 0).sum()) == int(m.sum()) for n, m in result.masks.items())


def test_the_result_refuses_weights_that_were_replaced():
    net = mlp()
    result = prune_init.prune(net, "magnitude", 0.5)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    result.keep(optimizer)
    step(net, optimizer, net(X))
    assert leak(net, result.masks) == 0
    net.load_state_dict(mlp(1).state_dict(), assign=True)
    with pytest.raises(InputError, match=r"model=Linear\.weight: is another tensor now \(load_state_dict"):
        step(net, optimizer, net(X))


def test_sparse_gradients_stay_sparse_and_give_the_dense_trajectory():
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Embedding(9, 4, sparse=sparse), nn.Flatten(), nn.Linear(8, 4)) for sparse in (True, False)]
    nets[1].load_state_dict(nets[0].state_dict())
    tokens = torch.randint(0, 9, (40, 2))
    for net in nets:
        masks = prune_init.prune(net, "magnitude", 0.5, include=["0.weight", "2.weight"]).masks
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        prune_init.keep(net, masks, optimizer)
        for _ in range(3):
            F.cross_entropy(net(tokens), Y).backward()
            gradient = net[0].weight.grad
            assert gradient.is_sparse == net[0].sparse and not gradient.to_dense()[~masks["0.weight"]].any()
            optimizer.step()
            optimizer.zero_grad()
        assert leak(net, masks) == 0
    torch.testing.assert_close(nets[0].state_dict(), nets[1].state_dict())


@pytest.mark.parametrize("scorer", ["magnitude", "snip", "synflow"])
def test_pruning_in_inference_mode_gives_the_same_masks(scorer):
    with torch.inference_mode():
        data = [(X.clone(), Y)]
    net, options = mlp(), {"data": data, "input_shape": (8,)}
    with torch.inference_mode():
        result = prune_init.prune(net, scorer, 0.9, **options)
    assert result == prune_init.prune(mlp(), scorer, 0.9, **options)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    result.keep(optimizer)
    step(net, optimizer, net(X))
    assert leak(net, result.masks) == 0
