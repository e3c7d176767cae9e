"""Data augmentation: random changes to batches of images."""

from .creation import arange
from .functions import where
from .padding import pad
from .random import rand, randint


def random_crop(images, padding, generator=None):
    """Images (N, C, H, W), each shifted by up to `padding` pixels in both directions, with zeros at the border."""
    n, _, height, width = images.shape
    device = images.device
    down, right = randint(2 * padding + 1, size=(2, n, 1, 1), generator=generator, device=device)
    rows, columns = down + arange(height, device=device)[:, None], right + arange(width, device=device)
    each = arange(n, device=device)[:, None, None]
    return pad(images, (padding,) * 4)[each, :, rows, columns].permute(0, 3, 1, 2)


def random_horizontal_flip(images, generator=None):
    """Images (N, C, H, W), each mirrored from left to right with probability 1/2."""
    flipped = rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return where(flipped, images.flip(3), images)
