"""Random crops and flips for a whole batch at once."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class CropFlip:
    """Pads with zeros, cuts a random window of the old size, and mirrors half of the images.

    The same distribution as torchvision's `RandomCrop(size, padding)` and `RandomHorizontalFlip()`, drawn for
    each image by itself. Padding comes before normalisation, as published: the border is pixel value 0, not
    the mean. Drawing is kept apart from applying: the draws come from the CPU, so that a run sees the same
    images on any device.

    Attributes:
        padding: pixels on every side; 0 leaves the image in place.
        flip: mirror left and right with probability 1/2.
    """

    padding: int = 4
    flip: bool = True

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Draws for `count` images.

        Returns:
            int64 [count, 3]: top and left of the window in the padded image, and 1 to mirror it or 0.
        """
        offsets = torch.randint(2 * self.padding + 1, (count, 2), generator=random)
        flips = torch.randint(1 + self.flip, (count, 1), generator=random)
        return torch.cat([offsets, flips], dim=1)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Applies one row of `draws` [B, 3] to each of `images` [B, C, H, W]; same shape and dtype."""
        count, channels, height, width = images.shape
        top, left, mirrored = draws.unbind(1)
        across = torch.arange(width, device=images.device).expand(count, width)
        across = torch.where(mirrored.bool()[:, None], width - 1 - across, across) + left[:, None]
        down = torch.arange(height, device=images.device) + top[:, None]
        padded = pad(images, [self.padding] * 4)
        # One flat gather does the crop and the flip of all images.
        window = (down[:, :, None] * padded.shape[-1] + across[:, None, :]).view(count, 1, -1)
        flat = padded.flatten(2).gather(2, window.expand(-1, channels, -1))
        return flat.view_as(images)
