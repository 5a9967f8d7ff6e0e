"""Networks: the published ones with their exact weight counts, a small default, and any torchvision or timm model.

Each builder takes `num_classes` and `input_shape`, (C, H, W), and returns an `nn.Module` from (N, C, H, W) to
(N, num_classes) that torch.fx can trace, with the plain attribute `input_shape`. Prunable are the weights of every Conv
and Linear, shortcuts and classifier included.
"""
