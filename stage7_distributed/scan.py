"""A picture of a handwritten digit, scaled and centred as MNIST's images are."""

import numpy as np

from .engine import constant


def scan(path):
    """A picture of a digit, of any size, black on white or white on black, as an image (1, 1, 28, 28) from 0 to 1.

    The digit fills 20×20 pixels, with its centre of mass in the middle. OSError or ValueError if the file is no picture
    or nothing is drawn on it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            seen = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    except UnidentifiedImageError:
        raise ValueError("it is no picture that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise ValueError(error) from None
    grey = np.asarray(seen.convert("L"), np.float32)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ink = abs(grey - np.median(border))  # where it differs from the paper
    rows, columns = (np.flatnonzero(ink.max(axis=axis) > ink.max() / 4) for axis in (1, 0))
    if ink.max() < 32:
        raise ValueError("nothing is drawn on it")
    ink = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / ink.max())
    scale = 20 / max(ink.size)
    ink = np.asarray(ink.resize([max(1, round(n * scale)) for n in ink.size], Image.Resampling.BILINEAR))
    image = np.zeros((28, 28), np.float32)
    tops = [
        min(max(0, round(13.5 - (np.arange(n) * ink.sum(axis=axis)).sum() / ink.sum())), 28 - n)
        for n, axis in zip(ink.shape, (1, 0))
    ]
    image[tuple(slice(top, top + n) for top, n in zip(tops, ink.shape))] = ink / ink.max()
    return constant(image[None, None])
