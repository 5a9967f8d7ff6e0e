"""Random crops and flips for a whole batch at once."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class CropFlip:
    """Pad with zeros, crop a random window of the original size, and mirror each image with probability 1/2.

    The distribution is that of torchvision's `RandomCrop(size, padding)` and `RandomHorizontalFlip()`, drawn
    for each image independently. Images are padded before normalisation, as published: the border has pixel
    value 0, not the mean. Drawing is separate from applying: random numbers are drawn on the CPU, so that a
    run sees the same images on any device.

    Attributes:
        padding: pixels on every side; 0 leaves the image in place.
        flip: mirror images horizontally with probability 1/2.
    """

    padding: int = 4
    flip: bool = True

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Draw the augmentation of `count` images.

        Returns:
            int64 [count, 3]: top and left of the window in the padded image, and 1 to mirror it, else 0.
        """
        offsets = torch.randint(2 * self.padding + 1, (count, 2), generator=random)
        flips = torch.randint(1 + self.flip, (count, 1), generator=random)
        return torch.cat([offsets, flips], dim=1)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Apply one row of `draws` [B, 3] to each of `images` [B, C, H, W]; shape and dtype stay the same."""
        count, channels, height, width = images.shape
        top, left, mirrored = draws.unbind(1)
        across = torch.arange(width, device=images.device).expand(count, width)
        across = torch.where(mirrored.bool()[:, None], width - 1 - across, across) + left[:, None]
        down = torch.arange(height, device=images.device) + top[:, None]
        padded = pad(images, [self.padding] * 4)
        # A single gather crops and flips all images.
        window = (down[:, :, None] * padded.shape[-1] + across[:, None, :]).view(count, 1, -1)
        flat = padded.flatten(2).gather(2, window.expand(-1, channels, -1))
        return flat.view_as(images)
