"""Networks: the published ones with their exact weight counts, a small default, and any torchvision or timm model.

Each builder takes `num_classes` and `input_shape`, (C, H, W), and returns an `nn.Module` from (N, C, H, W) to
(N, num_classes) that torch.fx can trace, with the plain attribute `input_shape`. The weights of every Conv and Linear
layer are prunable, shortcuts and classifier included.
"""
