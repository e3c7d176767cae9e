"""Infinities and NaN: functions among whose numbers they are, or under whose gradients, next to those of cases.py.

What a rule selects it may not multiply by 0: 0 times infinity is NaN. Where PyTorch does so itself, a function is asked
about its numbers alone (`NUMBERS`) or its gradients alone (`GRADIENTS`); where what it makes of NaN depends on the
processor, about infinities (`INFINITIES`).
"""

from functools import partial
from zlib import crc32

import numpy as np

from .case import Case

inf, nan = np.inf, np.nan
ROWS, IMAGES = (4, 6), (2, 3, 6, 6)
NUMBERS, INFINITIES, GRADIENTS = "of infinities and NaN", "of infinities", "under infinite gradients"
KINDS = INFINITIES, GRADIENTS
LABELS = np.array([0, -1, 5, 2])


def drawn(name, shape, *numbers):
    return np.random.default_rng(crc32(name.encode())).choice(np.array(numbers), shape)


def infinite(name, body, *shapes, out=None, kinds=(NUMBERS, GRADIENTS), float32=True):
    """A case of each kind: numbers are infinite or NaN, or else those that the output, of shape `out`, is times."""
    shapes = shapes or (ROWS,)
    times = {1: lambda F, x, c: body(F, x) * c, 2: lambda F, x, y, c: body(F, x, y) * c}
    times[3] = lambda F, x, y, z, c: body(F, x, y, z) * c
    numbers = {
        NUMBERS: (inf, -inf, nan, -1.0, 0.0, 2.0),
        INFINITIES: (inf, -inf, -1.0, 0.0, 2.0),
        GRADIENTS: (-2.0, -1.0, 0.0, 1.0, 2.0),
    }
    cases = []
    for kind in np.atleast_1d(kinds):
        values = [drawn(f"{name} {kind} {i}", shape, *numbers[kind]) for i, shape in enumerate(shapes)]
        if kind == GRADIENTS:
            values.append(drawn(name, shapes[0] if out is None else out, inf, -inf, nan, -1.0, 2.0))
        what, constant = (times[len(shapes)], [len(shapes)]) if kind == GRADIENTS else (body, [])
        case = Case(f"{name} {kind}", what, values=values, constant=constant, smooth=False, float32=float32)
        cases.append(case)
    return cases


def named(names, *shapes, out=None, kinds=(NUMBERS, GRADIENTS), **options):
    """Those cases of functions by their names in torch, with options."""
    bodies = {
        1: lambda F, x, name: getattr(F, name)(x, **options),
        2: lambda F, x, y, name: getattr(F, name)(x, y, **options),
    }
    text = "".join([f" {shape}" for shape in shapes[1:]] + [f" {key}={value}" for key, value in options.items()])
    each = [(name, partial(bodies[len(shapes or (ROWS,))], name=name)) for name in names.split()]
    return [case for name, body in each for case in infinite(name + text, body, *shapes, out=out, kinds=kinds)]


def put(F, x, y):
    out = x.clone()
    out[1:, 2] = y
    return out


def losses(reduction, out):
    """Losses of two inputs in one of their reductions."""
    names = "mse_loss l1_loss smooth_l1_loss huber_loss hinge_embedding_loss poisson_nll_loss kl_div"
    options = {"out": out, "reduction": reduction}
    return [
        *named(names, ROWS, ROWS, **options),
        *infinite(
            f"margin_ranking_loss {reduction}",
            lambda F, x, y, z: F.margin_ranking_loss(x, y, z, reduction=reduction),
            *(ROWS, ROWS, ROWS),
            out=out,
        ),
        *infinite(
            f"binary_cross_entropy_with_logits {reduction}",
            lambda F, x, y: F.binary_cross_entropy_with_logits(x, y.clip(0, 1), reduction=reduction),
            *(ROWS, ROWS),
            out=out,
            kinds=KINDS,
        ),
    ]


def ignoring(name, options):
    """Logits of which the rows to be ignored are infinite."""
    x = drawn(name, ROWS, -1.0, 0.0, 2.0, -inf)
    x[LABELS == -1] = inf
    body = lambda F, x, labels: getattr(F, name)(x, labels, ignore_index=-1, **options)  # noqa: E731
    return Case(f"{name} that ignores infinities {sorted(options)}", body, values=[x, LABELS], smooth=False)


GROUPS = {
    "infinities and NaN": [
        *named("relu abs sqrt exp log tanh sigmoid sign square reciprocal rsqrt sin cos atan asinh sinh cosh expm1"),
        *named("log1p exp2 log2 log10 erf erfc floor trunc frac"),
        *named("maximum minimum atan2 hypot logaddexp xlogy fmod remainder", ROWS, ROWS),
        *named("maximum atan2 xlogy", ROWS, (6,)),
        *named("nan_to_num", kinds=NUMBERS),
        *infinite("x**0", lambda F, x: x**0),
        *infinite("x**2", lambda F, x: x**2),
        *infinite("x**-1", lambda F, x: x**-1),
        *infinite("2**x", lambda F, x: 2**x),
        *infinite("x**y", lambda F, x, y: x**y, ROWS, ROWS),
        *infinite("x/y", lambda F, x, y: x / y, ROWS, (6,)),
        *infinite("clip below", lambda F, x: x.clip(min=0)),
        *infinite("clip", lambda F, x: x.clip(-1, 1)),
        *infinite("clamp by tensors", lambda F, x, y, z: F.clamp(x, y, z), ROWS, ROWS, ROWS),
        *infinite("a root of what was clipped", lambda F, x: x.clip(min=0).sqrt()),
        *infinite("where", lambda F, x, y: F.where(x < 2, x, y), ROWS, ROWS),
        *infinite("masked_fill", lambda F, x: x.masked_fill(x > 0, 2.0)),
        *infinite("lerp", lambda F, x, y, z: F.lerp(x, y, z), ROWS, ROWS, ROWS),
        *named("sum mean var std logsumexp", dim=1, out=(4,)),
        *named("amax amin", dim=1, out=(4,), kinds=NUMBERS),
        *named("prod max min median", out=()),
        *named("softmax log_softmax cumsum", dim=1),
        *named("cumprod", dim=1, kinds=GRADIENTS),
        *infinite("max along a dim", lambda F, x: F.max(x, 1)[0], out=(4,)),
        *infinite("min along a dim", lambda F, x: F.min(x, 1)[0], out=(4,)),
        *infinite("median along a dim", lambda F, x: F.median(x, 1)[0], out=(4,), kinds=NUMBERS),
        *infinite("sort", lambda F, x: F.sort(x, stable=True)[0]),
        *infinite("topk", lambda F, x: F.topk((x * 0 + 1).cumsum(1) * x.exp(), 2)[0], out=(4, 2), kinds=GRADIENTS),
        *infinite("norm", lambda F, x: F.norm(x, 2, 1), out=(4,)),
        *infinite("norm of p=1", lambda F, x: F.norm(x, 1, 1), out=(4,)),
        *infinite("an index", lambda F, x: x[[0, 2, 2]], out=(3, 6)),
        *infinite("an update", put, ROWS, (3,)),
        Case("max of two NaN", lambda F, x: F.max(x), values=[[1.0, nan, nan]], smooth=False),
    ],
    "activations": [
        *named(
            "elu celu selu silu mish softplus softsign hardtanh hardswish relu6 softshrink hardshrink",
            kinds=KINDS,
        ),
        *named("tanhshrink logsigmoid", kinds=KINDS),
        *named("gelu", kinds=GRADIENTS),
        *infinite("gelu", lambda F, x: F.gelu(x), kinds=INFINITIES, float32=False),  # with AVX-512 PyTorch's is NaN
        *named("leaky_relu", negative_slope=0.0, kinds=KINDS),
        *named("elu", alpha=0.0, kinds=KINDS),
        *named("threshold", threshold=0.25, value=7.0, kinds=KINDS),
        *named("prelu", ROWS, (6,), kinds=KINDS),
    ],
    "losses": [
        *losses("none", ROWS),
        *losses("sum", ()),
        Case(
            "binary_cross_entropy with certain probabilities",
            lambda F, x, y: F.binary_cross_entropy(x.detach(), y, reduction="none"),
            values=[[0.0, 1.0, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0, 0.5]],
            smooth=False,
        ),
        *[ignoring(name, options) for name in ("cross_entropy", "nll_loss") for options in ({}, {"reduction": "sum"})],
    ],
    "padding": infinite("pad", lambda F, x: F.pad(x, (1, 2), value=inf), out=(4, 9)),
    "pooling": [
        *infinite("max_pool2d", lambda F, x: F.max_pool2d(x, 3, 2, 1), IMAGES, out=(2, 3, 3, 3)),
        *infinite("avg_pool2d", lambda F, x: F.avg_pool2d(x, 3, 2, 1) + 4, IMAGES, out=(2, 3, 3, 3)),
        *infinite("adaptive_avg_pool2d", lambda F, x: F.adaptive_avg_pool2d(x, 4) + 4, IMAGES, out=(2, 3, 4, 4)),
        *infinite("adaptive_avg_pool2d to 1", lambda F, x: F.adaptive_avg_pool2d(x, 1) + 4, IMAGES, out=(2, 3, 1, 1)),
        *infinite("adaptive_max_pool2d", lambda F, x: F.adaptive_max_pool2d(x, 4), IMAGES, out=(2, 3, 4, 4)),
    ],
    "scaling of images": [
        *infinite("interpolate", lambda F, x: F.interpolate(x, (9, 4)), IMAGES, out=(2, 3, 9, 4)),
    ],
}
