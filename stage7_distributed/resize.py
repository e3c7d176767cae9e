"""Resizing of images: padding, interpolation and pixel shuffle."""

import math

import numpy as np

from .conv import named
from .device import moved
from .engine import apply
from .nn.module import Module
from .padding import pad, repeated
from .pooling import adaptive_averaging

# Scaling: each number is a weighted sum of some neighbours. For each scaling these are as many (indices, weights) of
# the numbers in a row as the sum has terms; a weight of None stands for 1


def _nearest(places, scale, align_corners):
    return [(np.floor(places * scale), None)]


def _nearest_exact(places, scale, align_corners):
    return [(np.floor((places + places.dtype.type(0.5)) * scale), None)]


def _linear(places, scale, align_corners):
    at = np.maximum(_between(places, scale, align_corners), 0)
    first = np.floor(at)
    return [(first, 1 - (at - first)), (first + 1, at - first)]


def _cubic(places, scale, align_corners):
    """Keys' kernel with a = −0.75 (Keys 1981), as in PyTorch."""
    at = _between(places, scale, align_corners)
    first = np.floor(at)
    t, a = at - first, -0.75

    def near(d):
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d):
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    weights = far(t + 1), near(t), near(1 - t), far(2 - t)
    return [(first + k, weight) for k, weight in zip((-1, 0, 1, 2), weights)]


def _between(places, scale, align_corners):
    """The positions of the output's pixel centres in the input."""
    return places * scale if align_corners else (places + places.dtype.type(0.5)) * scale - places.dtype.type(0.5)


SCALINGS = {  # mode -> its terms, and how many dims an input has
    "nearest": (_nearest, (3, 4, 5)),
    "nearest-exact": (_nearest_exact, (3, 4, 5)),
    "linear": (_linear, (3,)),
    "bilinear": (_linear, (4,)),
    "bicubic": (_cubic, (4,)),
    "trilinear": (_linear, (5,)),
    "area": (None, (3, 4, 5)),
}


def interpolate(
    input,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    """(N, C, …) -> (N, C, *size), or to ⌊scale_factor·…⌋: see `torch.nn.functional.interpolate`."""
    if mode not in SCALINGS:
        raise NotImplementedError(f"interpolate: mode: wanted one of {', '.join(SCALINGS)}, got {mode!r}")
    terms, ndims = SCALINGS[mode]
    if input.ndim not in ndims:
        raise NotImplementedError(
            f"interpolate: mode {mode!r} wants {' or '.join(map(str, ndims))} dims, got {tuple(input.shape)}"
        )
    if input.dtype.kind != "f":
        raise TypeError(f"interpolate: wanted floating-point numbers, got {input.dtype}")
    if antialias:
        raise NotImplementedError("interpolate: antialias: wanted False, got True")
    if align_corners is not None and terms not in (_linear, _cubic):
        raise ValueError(f"interpolate: align_corners: mode {mode!r} takes none, got {align_corners}")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: wanted either size or scale_factor, got {size} and {scale_factor}")
    if size is not None and recompute_scale_factor:
        raise ValueError("interpolate: recompute_scale_factor: wanted None beside a size, got True")
    before = input.shape[2:]
    after, factors = _for_each("size", size, len(before)), _for_each("scale_factor", scale_factor, len(before))
    if size is None:
        after = [math.floor(n * factor) for n, factor in zip(before, factors)]
    if recompute_scale_factor or size is not None:
        factors = [None] * len(before)
    if min(*before, *after) < 1:
        raise ValueError(f"interpolate: sizes: wanted more than 0, got {tuple(before)} to {tuple(after)}")
    if mode == "area":
        return apply(adaptive_averaging, (input,), after)
    kind = np.float32 if terms in (_nearest, _nearest_exact) else input.dtype.type
    for dim, (n, m, factor) in enumerate(zip(before, after, factors), start=2):
        scale = 1 / factor if factor else n / m
        if align_corners:
            scale = (n - 1) / (m - 1) if m > 1 else 0
        input = _scaled(input, dim, terms(np.arange(m, dtype=kind), kind(scale), align_corners))
    return input


def _scaled(input, dim, terms):
    """Σ weights · the input at the indices along dim."""
    n, total = input.shape[dim], None
    for index, weight in terms:
        term = apply(repeated, (input,), dim, np.clip(index, 0, n - 1).astype(int).tolist())
        if weight is not None:
            term = term * moved(weight.reshape(-1, *(1,) * (input.ndim - 1 - dim)), input.device)
        total = term if total is None else total + term
    return total


def _for_each(name, value, dims):
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * dims
    if len(values) != dims:
        raise ValueError(f"interpolate: {name}: wanted one number or {dims}, got {value}")
    return values


def pixel_shuffle(input, upscale_factor):
    """(…, C·r², H, W) -> (…, C, H·r, W·r): r² channels become squares of pixels."""
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ValueError(f"pixel_shuffle: wanted (…, C·{r}², H, W), got {tuple(input.shape)}")
    *batch, c, h, w = input.shape
    k = len(batch)
    x = input.reshape(*batch, c // (r * r), r, r, h, w).permute(*range(k), k, k + 3, k + 1, k + 4, k + 2)
    return x.reshape(*batch, c // (r * r), h * r, w * r)


def pixel_unshuffle(input, downscale_factor):
    """(…, C, H·r, W·r) -> (…, C·r², H, W): squares of pixels become r² channels."""
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-2] % r or input.shape[-1] % r:
        raise ValueError(f"pixel_unshuffle: wanted (…, C, H·{r}, W·{r}), got {tuple(input.shape)}")
    *batch, c, h, w = input.shape
    k = len(batch)
    x = input.reshape(*batch, c, h // r, r, w // r, r).permute(*range(k), k, k + 2, k + 4, k + 1, k + 3)
    return x.reshape(*batch, c * r * r, h // r, w // r)


# Modules


class Upsample(Module):
    """(N, C, …) -> (N, C, *size), or to ⌊scale_factor·…⌋: see interpolate."""

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
        super().__init__()
        whole = isinstance(scale_factor, int)
        self.size, self.scale_factor, self.mode = size, float(scale_factor) if whole else scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, input):
        how = self.mode, self.align_corners, self.recompute_scale_factor
        return interpolate(input, self.size, self.scale_factor, *how)

    def extra_repr(self):
        return named(self, "size" if self.scale_factor is None else "scale_factor", "mode")


class UpsamplingNearest2d(Upsample):
    """Upsample, of images."""

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """Upsample, of images, along straight lines between pixels, with the corners in their places."""

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, "bilinear", align_corners=True)


class PixelShuffle(Module):
    """(…, C·r², H, W) -> (…, C, H·r, W·r): r² channels become squares of pixels."""

    def __init__(self, upscale_factor):
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input):
        return pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self):
        return named(self, "upscale_factor")


class PixelUnshuffle(Module):
    """(…, C, H·r, W·r) -> (…, C·r², H, W): squares of pixels become r² channels."""

    def __init__(self, downscale_factor):
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input):
        return pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self):
        return named(self, "downscale_factor")


class _Pad(Module):
    """A border around the last `dims` dims, of one width or (before, after) for the last, the one before it, …"""

    mode, value = "constant", 0

    def __init__(self, padding):
        super().__init__()
        self.padding = tuple(padding) if isinstance(padding, tuple | list) else (padding,) * (2 * self.dims)
        if len(self.padding) != 2 * self.dims:
            raise ValueError(f"{type(self).__name__}: padding: wanted a number or {2 * self.dims}, got {padding}")

    def forward(self, input):
        return pad(input, self.padding, self.mode, self.value)

    def extra_repr(self):
        return str(self.padding)


class _ConstantPad(_Pad):
    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value

    def extra_repr(self):
        return named(self, "padding", "value")


class ZeroPad1d(_Pad):
    """Zeros before and after (N, C, L)."""

    dims = 1


class ZeroPad2d(_Pad):
    """Zeros around (N, C, H, W)."""

    dims = 2


class ConstantPad1d(_ConstantPad):
    """A number before and after (N, C, L)."""

    dims = 1


class ConstantPad2d(_ConstantPad):
    """A number around (N, C, H, W)."""

    dims = 2


class ReflectionPad1d(_Pad):
    """(N, C, L), reflected before and after."""

    dims, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """(N, C, H, W), reflected on all sides."""

    dims, mode = 2, "reflect"


class ReplicationPad1d(_Pad):
    """(N, C, L) with its first and last number repeated."""

    dims, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """(N, C, H, W) with its outermost pixels repeated."""

    dims, mode = 2, "replicate"


class CircularPad1d(_Pad):
    """(N, C, L), padded circularly."""

    dims, mode = 1, "circular"


class CircularPad2d(_Pad):
    """(N, C, H, W), padded circularly."""

    dims, mode = 2, "circular"
