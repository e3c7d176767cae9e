"""The cases: one line each, grouped by the capability that they belong to; capabilities.py says where it arrives.

A case is a function of tensors that runs on PyTorch and on the engine with the same body. `F` holds torch's functions,
or the engine's under the same names. See case.py for the options, and README.md for how to add a case.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from . import image_cases, infinite_cases, network_cases, sequence_cases
from .case import (
    Case,
    ModuleCase,
    classes,
    distinct,
    fraction,
    normal,
    positive,
    probabilities,
    separate,
    signs,
    ties,
    zero_one,
)

nan, inf = np.nan, np.inf
S = np.s_
LARGE = [[1000.0, -1000.0], [-1000.0, 1000.0]]
INFINITE = [[-inf, 0.0, 1.0], [inf, 0.0, 1.0], [0.0, inf, -inf], [-inf, -inf, -inf], [nan, 0.0, 1.0]]
HOLES = [[[[nan, 1.0, nan, 2.0], [3.0, nan, 2.0, 5.0], [-inf, -inf, 4.0, inf], [-inf, -inf, inf, inf]]]]

ONE = [(3, 4), (4, 4), (2, 3, 4), (1, 1), (1,), (0, 3), ()]
TWO = [  # pairs that broadcast
    [(3, 4), (3, 4)],
    [(4, 4), (4, 4)],
    [(3, 1), (1, 4)],
    [(4, 1), (1, 4)],
    [(2, 3, 4), (4,)],
    [(4,), (2, 3, 4)],
    [(4, 4), (4,)],  # aligned on the wrong side, the values fit as well
    [(4,), (4, 4)],
    [(4, 4), (4, 1)],
    [(2, 1, 4), (3, 1)],
    [(1, 1), (2, 3, 4)],
    [(3, 4), ()],
    [(), (3, 4)],
    [(), ()],
    [(1,), ()],
    [(0, 3), (3,)],
    [(2, 0), (1, 1)],
]
NORMS = [0, 0.5, 1, 1.5, 2, 3, inf, -inf]
EINSUMS = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk->ki", [(3, 3), (3, 3)]),
    ("bij,bjk", [(2, 3, 4), (2, 4, 5)]),
    ("...ij,...jk->...ik", [(2, 3, 4), (4, 5)]),
    ("i,i->", [(3,), (3,)]),
    ("i,j,k->kji", [(2,), (3,), (4,)]),
    ("ij->ji", [(3, 4)]),
    ("ij->j", [(3, 4)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("iij,jk->ik", [(3, 3, 4), (4, 2)]),
    ("ij,k->i", [(2, 3), (4,)]),
    ("bn,anm,bm->ba", [(2, 5), (3, 5, 4), (2, 4)]),
    ("ij,ij->ij", [(1, 4), (3, 1)]),
]
INFINITELY = [[-1.0, 1.0, 2.0, 0.1], [1.0, inf, -inf, inf]]
NOT_ADDED = [[[nan, inf]], [[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]
DIMS = [None, 0, 1, 2, -1, -3, (0, 2), (-1, 0), (1,), (0, 1, 2)]  # of three


def over(shapes, name, body, **options):
    """One case for each shape, or list of shapes."""
    return [
        Case(f"{name} {str(shape).strip('[]')}", body, shapes=shape if isinstance(shape, list) else [shape], **options)
        for shape in shapes
    ]


def over_dims(name, body, dims=DIMS, **options):
    """One case for each dim and keepdim; `body` takes both and gives the case's function."""
    return [
        Case(f"{name} {shape} dim={dim} keepdim={keepdim}", body(dim, keepdim), shapes=[shape], **options)
        for shape in [(2, 3, 4), (3, 3, 3)]
        for dim in dims
        for keepdim in (False, True)
    ]


def edges(name, body, *numbers, **options):
    """One case for each number, so that a small gradient is compared on its own scale."""
    return [Case(f"{name} at {x}", body, values=[np.array(x, np.float64)], smooth=False, **options) for x in numbers]


def reduced(loss, shapes, **options):
    """A loss of input and target, in each of its reductions."""
    return [
        Case(f"{loss.__name__} {shapes} {reduction}", partial(loss, reduction=reduction), shapes, **options)
        for reduction in ("mean", "sum", "none")
    ]


# Functions of torch's that several cases share; options come by name


def mse_loss(F, x, y, reduction="mean"):
    return F.mse_loss(x, y, reduction=reduction)


def hinge_loss(F, x, y, reduction="mean"):
    return F.hinge_loss(x, y, reduction=reduction)


def cross_entropy(F, x, y, reduction="mean"):
    return F.cross_entropy(x, y, reduction=reduction)


def bce_with_logits(F, x, y, reduction="mean"):
    return F.binary_cross_entropy_with_logits(x, y, reduction=reduction)


def conv2d(F, x, w, **options):
    return F.conv2d(x, w, **options)


def max_pool2d(F, x, **options):
    return F.max_pool2d(x, **options)


def avg_pool2d(F, x, **options):
    return F.avg_pool2d(x, **options)


einsum_of = {  # how many operands -> a function of the equation
    1: lambda equation: lambda F, x: F.einsum(equation, x),
    2: lambda equation: lambda F, x, y: F.einsum(equation, x, y),
    3: lambda equation: lambda F, x, y, z: F.einsum(equation, x, y, z),
}

# Functions and networks that take more than a line


def mlp(x, w1, b1, w2, b2):
    """A network of one hidden layer."""
    return (x @ w1 + b1).tanh() @ w2 + b2


def logistic_loss(x, y):
    """Binary cross-entropy of logits x and probabilities y, as one first writes it."""
    return -(y * x.sigmoid().log() + (1 - y) * (1 - x.sigmoid()).log()).mean()


def log_loss(x, y):
    """Cross-entropy of logits x and probabilities y, as one first writes it."""
    return -(y * (x - x.exp().sum(1, keepdim=True).log())).sum(1).mean()


def attention(q, k, v):
    """softmax(q kᵀ/√d) v (Vaswani et al. 2017): batched products, a transpose and a softmax in one."""
    return ((q @ k.transpose(-2, -1)) * 0.5).softmax(-1) @ v


def network(nn):
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def nested_network(nn):
    return nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(6, 4), nn.GELU()), nn.LayerNorm(4))


def small_cnn(nn):
    image = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(image, nn.Flatten(), nn.Linear(12, 2))


# Updates in place: y is changed through one of its names, or h through a part of it


def through_another_name(x, v):
    y = h = x * 2
    y += v
    return h * y


def row_by_row(x, v):
    h = x * 1
    for i in range(1, 3):
        h[i] = h[i - 1].clone() * v + 1
    return h * h


def into_a_constant(F, x, v):
    h = F.zeros(3, 4, dtype=x.dtype)
    for i in range(3):
        h[i] = x[i] * v
    h[1] += v
    row = h[2]
    row += v * 2
    return h


def from_more_dims(x, v):
    h = x * 2
    h[0] = v.reshape(1, 4)
    h[[1, 2], [0, 3]] = v[:2].reshape(1, 1, 2)
    h[2, 1] = v[3:]
    return h * h


def through_views(x, v):
    h = x * 3
    row = h[1]
    part = row[1:]
    part *= v[1:]
    row += 1
    return h * h


def a_view_and_its_base(x, v):
    h = x * 2
    row = h[1]
    row *= v
    return row * row + h.sum(0)


def through_a_transpose(x, v):
    h = x * 2
    columns = h.transpose(0, 1)
    columns *= v.reshape(4, 1)
    columns += 1
    return h * h


def with_what_was_made_of_it(x, v):
    y = x * v
    y += y * 2 + x
    y += 3 * y
    return y


def and_used_before(x, v):
    y = x * 2
    half = y * 0.5
    y += v
    return y + half


def times_itself(x, v):
    y = x * v
    y *= v
    y += y
    return y


def at_indices(x, v):
    h = x * 3
    h[[0, 2]] = v
    h[h > 1] = 0.5
    h[[0, 2], 1] = v[:2]
    return h * h


def functions_of_it(x, v):
    y = x + v
    y.mul_(2).exp_()
    return y * v


IN_PLACE = (through_another_name, row_by_row, with_what_was_made_of_it, and_used_before, times_itself, at_indices)
IN_PLACE += (functions_of_it, from_more_dims)
IN_PLACE_ON_THE_HOST = (into_a_constant, through_views, a_view_and_its_base, through_a_transpose)


GROUPS = {
    "updates in place": [
        Case(f.__name__.replace("_", " "), f, [(3, 4), (4,)], smooth=False, host=f in IN_PLACE_ON_THE_HOST)
        for f in (*IN_PLACE, *IN_PLACE_ON_THE_HOST)
    ],
    "dtypes": [
        Case("a cast to double", lambda x: x.double() * x, shapes=[(3, 4)]),
        Case("a cast to float", lambda x: x.float() + 1, shapes=[(3, 4)], smooth=False),
        Case("a cast to what it is", lambda x: x.to(x.dtype) * x, shapes=[(3, 4)]),
    ],
    "arithmetic": [
        *over(ONE, "neg", lambda x: -x),
        *over([[s, s] for s in ONE], "add", lambda x, y: x + y),
        *over([[s, s] for s in ONE], "sub", lambda x, y: x - y),
        *over([[s, s] for s in ONE], "mul", lambda x, y: x * y),
        *over([[s, s] for s in ONE], "div", lambda x, y: x / y, domain=[separate, positive]),
        *over([[s, s] for s in ONE], "pow", lambda x, y: x**y, domain=[positive, positive]),
        Case("the same tensor twice", lambda x: x * x + x, shapes=[(3, 4)]),
        Case("the same result twice", lambda x, y: (lambda z: z * z + z)(x * y), shapes=[(3, 4), (3, 4)]),
        Case("a tensor over itself and 1", lambda x: x / (x + 1.0), shapes=[(3, 4)], domain=positive),
        Case("a tensor minus itself", lambda x: x - x * 2.0, shapes=[(3, 4)]),
        Case("a tensor to its own power", lambda x: x**x, shapes=[(3, 4)], domain=positive),
        Case("square of negative bases", lambda x: x**2, shapes=[(3, 4)]),
        Case("cube of negative bases", lambda x: x**3, shapes=[(3, 4)]),
        Case("inverse of negative bases", lambda x: x**-1, shapes=[(3, 4)], domain=separate),
        Case("root by power", lambda x: x**0.5, shapes=[(3, 4)], domain=positive),
        *edges("x**0", lambda x: x**0, 0.0, -2.0),
        *edges("x**1", lambda x: x**1, 0.0, -2.0),
        *edges("x**2", lambda x: x**2, 0.0, -2.0),
        *edges("x**3.0", lambda x: x**3.0, 0.0, -2.0),
        *edges("0**x", lambda x: 0.0**x, 2.0),
        Case("x**y at 0**0", lambda x, y: x**y, values=[np.zeros(1), np.zeros(1)], smooth=False),
        Case("x**y at 0**2", lambda x, y: x**y, values=[np.zeros(1), np.full(1, 2.0)], smooth=False),
    ],
    "elementary functions": [
        *over(ONE, "exp", lambda x: x.exp()),
        *over(ONE, "log", lambda x: x.log(), domain=positive),
        *over(ONE, "tanh", lambda x: x.tanh()),
        *over(ONE, "sigmoid", lambda x: x.sigmoid()),
        *over(ONE, "relu", lambda x: x.relu(), domain=separate),
        *edges("relu", lambda x: x.relu(), 0.0, -0.0, -1e30),
        *edges("sigmoid", lambda x: x.sigmoid(), -1000.0, -100.0, -30.0, 0.0, 30.0, 100.0, 1000.0),
        *edges("tanh", lambda x: x.tanh(), -400.0, 0.0, 15.0, 400.0),
        *edges("exp", lambda x: x.exp(), -80.0, 0.0, 80.0),
        *edges("log", lambda x: x.log(), 1e-30, 1.0, 1e30),
        Case("a tower of functions", lambda x: (x.tanh() + x.sigmoid().log()).exp().relu(), shapes=[(4, 4)]),
    ],
    "broadcasting": [
        *over(TWO, "add", lambda x, y: x + y),
        *over(TWO, "sub", lambda x, y: x - y),
        *over(TWO, "mul", lambda x, y: x * y),
        *over(TWO, "div", lambda x, y: x / y, domain=[separate, positive]),
        *over(TWO, "pow", lambda x, y: x**y, domain=[positive, separate]),
        Case("a row and a column, both used twice", lambda x, y: (x + y) * (x - y), shapes=[(1, 4), (4, 1)]),
        Case("three ways at once", lambda x, y, z: x * y + z, shapes=[(2, 1, 4), (3, 1), (1,)]),
    ],
    "matmul": [
        *over(
            [
                [(3, 4), (4, 2)],
                [(4, 4), (4, 4)],
                [(1, 4), (4, 1)],
                [(4,), (4,)],
                [(1,), (1,)],
                [(4,), (4, 2)],
                [(4,), (4, 4)],
                [(3, 4), (4,)],
                [(4, 4), (4,)],
                [(4,), (5, 4, 2)],
                [(5, 3, 4), (4,)],
                [(4, 4, 4), (4,)],
                [(5, 3, 4), (4, 2)],
                [(3, 4), (5, 4, 2)],
                [(5, 3, 4), (5, 4, 2)],
                [(5, 3, 4), (1, 4, 2)],
                [(2, 1, 3, 4), (5, 4, 2)],
                [(2, 3, 3, 3), (2, 3, 3, 3)],
                [(0, 4), (4, 2)],
            ],
            "matmul",
            lambda x, y: x @ y,
        ),
        Case("a matrix times itself", lambda x: x @ x, shapes=[(3, 3)]),
        Case("three matrices", lambda x, y, z: x @ y @ z, shapes=[(2, 3), (3, 4), (4, 5)]),
        Case("array @ tensor", lambda x, y: x @ y, shapes=[(3, 4), (4, 2)], constant=[0]),
        Case("tensor @ array", lambda x, y: x @ y, shapes=[(3, 4), (4, 2)], constant=[1]),
    ],
    "sum and mean": [
        *over(ONE, "sum", lambda x: x.sum()),
        *over([s for s in ONE if 0 not in s], "mean", lambda x: x.mean()),
        *over_dims("sum", lambda dim, keepdim: lambda x: x.sum(dim=dim, keepdim=keepdim)),
        *over_dims("mean", lambda dim, keepdim: lambda x: x.mean(dim=dim, keepdim=keepdim)),
        Case("sum of a square matrix over rows", lambda x: x.sum(0), shapes=[(4, 4)]),
        Case("sum of a square matrix over columns", lambda x: x.sum(-1), shapes=[(4, 4)]),
        Case("sum over a dim of size 1", lambda x: x.sum(1, keepdim=True), shapes=[(4, 1)]),
        Case("sum over an empty dim", lambda x: x.sum(0), shapes=[(0, 3)]),
        Case("centred", lambda x: x - x.mean(dim=0, keepdim=True), shapes=[(4, 4)]),
        Case("scaled by its sum", lambda x: x / x.sum(-1, keepdim=True), shapes=[(4, 4)], domain=positive),
    ],
    "losses from ops": [
        Case("mean squared error", lambda x, y: ((x - y) ** 2).mean(), shapes=[(5, 3), (5, 3)], constant=[1]),
        Case("hinge", lambda x, y: (1 - y * x).relu().mean(), [(5, 1), (5, 1)], domain=[separate, signs], constant=[1]),
        Case("binary cross-entropy", logistic_loss, [(5, 1), (5, 1)], domain=[normal, zero_one], constant=[1]),
        Case("cross-entropy", log_loss, [(5, 3), (5, 3)], domain=[normal, probabilities], constant=[1]),
        Case("max-margin with L2", lambda w, x: (1 - x @ w).relu().mean() + 0.1 * (w * w).sum(), shapes=[(3,), (5, 3)]),
    ],
    "multi-layer perceptron": [
        Case("mlp", mlp, shapes=[(5, 2), (2, 4), (4,), (4, 3), (3,)]),
        Case("mlp of squares", mlp, shapes=[(4, 4)] * 5),
        Case("mlp of one example", mlp, shapes=[(2,), (2, 4), (4,), (4, 3), (3,)]),
        Case("mlp with relu", lambda x, w, v: (x @ w).relu() @ v, shapes=[(5, 2), (2, 4), (4, 1)]),
        Case("a recurrent network", lambda x, w: (((x @ w).tanh() + x) @ w).tanh() @ w, shapes=[(5, 4), (4, 4)]),
    ],
    "numbers in expressions": [
        Case("number + x", lambda x: 2 + x, shapes=[(3, 4)]),
        Case("number - x", lambda x: 2 - x, shapes=[(3, 4)]),
        Case("number * x", lambda x: 2.5 * x, shapes=[(3, 4)]),
        Case("number / x", lambda x: 2.5 / x, shapes=[(3, 4)], domain=positive),
        Case("number ** x", lambda x: 2.5**x, shapes=[(3, 4)]),
        Case("x + number", lambda x: x + 2, shapes=[(3, 4)]),
        Case("x - number", lambda x: x - 2.5, shapes=[(3, 4)]),
        Case("x * number", lambda x: x * 2, shapes=[(3, 4)]),
        Case("x / number", lambda x: x / 2.5, shapes=[(3, 4)]),
        Case("numbers with a 0-d tensor", lambda x: 2 - 3 * x / 4, shapes=[()]),
    ],
    "arrays in expressions": [
        Case("array + x", lambda c, x: c + x, shapes=[(3, 4), (4,)], constant=[0]),
        Case("array - x", lambda c, x: c - x, shapes=[(4,), (3, 4)], constant=[0]),
        Case("array * x", lambda c, x: c * x, shapes=[(3, 1), (1, 4)], constant=[0]),
        Case("array / x", lambda c, x: c / x, shapes=[(3, 4), (4,)], constant=[0], domain=positive),
        Case("array ** x", lambda c, x: c**x, shapes=[(3, 4), (4,)], constant=[0], domain=positive),
        Case("x - array", lambda x, c: x - c, shapes=[(4,), (3, 4)], constant=[1]),
        Case("x / array", lambda x, c: x / c, shapes=[(3, 4), (3, 1)], constant=[1], domain=positive),
        Case("batched array @ x", lambda c, x: c @ x, shapes=[(2, 3, 4), (4,)], constant=[0]),
        Case("0-d array * x", lambda c, x: c * x, shapes=[(), (3,)], constant=[0]),
        Case("integers * x", lambda c, x: c * x, values=[np.arange(3), np.ones((2, 3))], smooth=False),
        Case("mask * x", lambda c, x: c * x, values=[np.array([True, False]), np.ones((3, 2))], smooth=False),
    ],
    "infinities and NaN": [
        *edges("log", lambda x: x.log(), 0.0, -1.0, inf),
        *edges("exp", lambda x: x.exp(), 1000.0, inf, -inf, nan),
        *edges("1/x", lambda x: 1 / x, 0.0, inf),
        *edges("x**-1", lambda x: x**-1, 0.0),
        *edges("x**0.5", lambda x: x**0.5, 0.0, -1.0),
        *edges("sqrt", lambda x: x.sqrt(), 0.0, -1.0),
        *edges("0**x", lambda x: 0.0**x, 0.0, -1.0),
        *edges("relu", lambda x: x.relu(), inf, -inf, nan),
        Case(
            "relu with infinite gradients",
            lambda x, c: x.relu() * c,
            values=[np.linspace(-1, 1, 2500), np.where(np.arange(2500) % 7, 1.0, inf)],
            constant=[1],
            smooth=False,
        ),
        *edges("sigmoid", lambda x: x.sigmoid(), inf, -inf, nan),
        *edges("tanh", lambda x: x.tanh(), inf, -inf, nan),
        Case("softmax with -inf", lambda x: x.softmax(-1), values=[[0.0, -inf, 1.0]], smooth=False),
        Case("logsumexp of -inf", lambda x: x.logsumexp(-1), values=[[-inf, 1.0]], smooth=False),
        Case("max with NaN", lambda F, x: F.amax(x, 1), values=[[[1.0, nan], [2.0, 3.0]]], smooth=False),
        Case("mean of nothing", lambda x: x.mean(), shapes=[(0, 3)], smooth=False),
    ],
    "more elementwise functions": [
        *over(ONE, "sqrt", lambda x: x.sqrt(), domain=positive),
        *over(ONE, "abs", lambda x: x.abs(), domain=separate),
        *over(ONE, "clip", lambda x: x.clip(-0.45, 0.45), domain=separate),
        *edges("abs", lambda x: abs(x), 0.0, -0.0),
        Case("relu of many", lambda x: x.relu(), shapes=[(50, 50)], domain=separate, smooth=False),
        Case("clip below", lambda x: x.clip(min=-0.45), shapes=[(4, 4)], domain=separate),
        Case("clip above", lambda x: x.clip(max=0.45), shapes=[(4, 4)], domain=separate),
        Case("clip at its bounds", lambda x: x.clip(-1, 1), shapes=[(4, 4)], domain=ties, smooth=False),
        *over(TWO, "maximum", lambda x, y: x.maximum(y)),
        *over(TWO, "minimum", lambda x, y: x.minimum(y)),
        Case("maximum of equals", lambda x, y: x.maximum(y), shapes=[(4, 4), (4,)], domain=ties, smooth=False),
        Case("minimum of equals", lambda x, y: x.minimum(y), shapes=[(4, 4), (4,)], domain=ties, smooth=False),
        Case("maximum with itself", lambda x: x.maximum(x), shapes=[(3, 4)], smooth=False),
    ],
    "reductions": [
        *over_dims("max", lambda dim, keepdim: lambda F, x: F.amax(x, dim, keepdim), domain=separate),
        *over_dims("min", lambda dim, keepdim: lambda F, x: F.amin(x, dim, keepdim), domain=separate),
        *over_dims("max of ties", lambda d, k: lambda F, x: F.amax(x, d, k), domain=ties, smooth=False),
        *over_dims("min of ties", lambda d, k: lambda F, x: F.amin(x, d, k), domain=ties, smooth=False),
        *over_dims("var", lambda dim, keepdim: lambda x: x.var(dim=dim, keepdim=keepdim)),
        *over_dims("std", lambda dim, keepdim: lambda x: x.std(dim=dim, keepdim=keepdim)),
        *over_dims(
            "var uncorrected", lambda d, k: lambda x: x.var(dim=d, correction=0, keepdim=k), dims=[None, 0, (-1, 1)]
        ),
        *over_dims(
            "std uncorrected", lambda d, k: lambda x: x.std(dim=d, correction=0, keepdim=k), dims=[None, 0, (-1, 1)]
        ),
        *over([(), (1,), (4, 4)], "max", lambda F, x: F.amax(x), domain=separate),
        *over([(), (1,), (4, 4)], "min", lambda F, x: F.amin(x), domain=separate),
        *over([(4, 4), (5,)], "var", lambda x: x.var()),
        *over([(4, 4), (5,)], "std", lambda x: x.std()),
        Case("sum over two dims of three equal ones", lambda x: x.sum((0, -1)), shapes=[(3, 3, 3)]),
        Case("mean of a 0-d tensor over its last dim", lambda x: x.mean(-1), shapes=[()]),
        Case("logsumexp of nothing", lambda x: x.logsumexp(1), shapes=[(2, 0, 3)], smooth=False),
        Case("median of nothing", lambda x: x.median() + 0 * x.sum(), shapes=[(0, 3)], smooth=False),
        Case("max of an empty batch", lambda F, x: F.amax(x, 1), shapes=[(0, 3)]),
        Case("std of equals", lambda x: x.std(1), values=[np.ones((2, 3))], smooth=False),
        Case("normalized by hand", lambda x: (x - x.mean(0)) / (x.var(0) + 1e-5).sqrt(), shapes=[(4, 4)]),
    ],
    "softmax": [
        *over_dims("logsumexp", lambda d, k: lambda x: x.logsumexp(d, keepdim=k), dims=[0, -1, (0, 2), (1, -1)]),
        *[Case(f"softmax dim={d}", lambda x, d=d: x.softmax(d), shapes=[(2, 3, 4)]) for d in (0, 1, 2, -1, -3)],
        *[Case(f"log_softmax dim={d}", lambda x, d=d: x.log_softmax(d), shapes=[(2, 3, 4)]) for d in (0, 1, 2, -1, -3)],
        *over([(4, 4), (5,), (3, 1), (0, 3)], "softmax", lambda x: x.softmax(-1)),
        *over([(4, 4), (5,), (3, 1), (0, 3)], "log_softmax", lambda x: x.log_softmax(-1)),
        *over([(4, 4), (5,), (3, 1), (0, 3)], "logsumexp", lambda x: x.logsumexp(-1)),
        Case("softmax at ±1000", lambda x: x.softmax(-1), values=[[1000.0, -1000.0, 999.0]], smooth=False),
        Case("log_softmax at ±1000", lambda x: x.log_softmax(-1), values=[[1000.0, -1000.0, 999.0]], smooth=False),
        Case("logsumexp at ±1000", lambda x: x.logsumexp(-1), values=[[1000.0, -1000.0, 999.0]], smooth=False),
        Case("softmax of a tie at 1000", lambda x: x.softmax(-1), values=[[1000.0, 1000.0]], smooth=False),
        Case("logsumexp of all -1000", lambda x: x.logsumexp(-1), values=[[-1000.0, -1000.0]], smooth=False),
        Case("attention", attention, shapes=[(2, 3, 4), (2, 5, 4), (2, 5, 4)]),
        Case("attention with heads", attention, shapes=[(2, 2, 3, 4)] * 3),
    ],
    "shapes": [
        Case("reshape", lambda x: x.reshape(4, 3) * 2, shapes=[(3, 4)]),
        Case("reshape by a tuple", lambda x: x.reshape((2, 6)), shapes=[(3, 4)]),
        Case("reshape with -1", lambda x: x.reshape(2, -1), shapes=[(3, 4)]),
        Case("reshape to 0-d", lambda x: x.reshape(()), shapes=[(1, 1)]),
        Case("reshape of a 0-d tensor", lambda x: x.reshape(1, 1), shapes=[()]),
        Case("reshape of nothing", lambda x: x.reshape(3, 0), shapes=[(0, 3)]),
        Case("reshape used twice", lambda x: x.reshape(-1) * x.reshape(-1) + x.reshape(-1), shapes=[(3, 4)]),
        Case("one reshape used twice", lambda x: (lambda y: y * y + y)(x.reshape(-1)), shapes=[(3, 4)]),
        Case("reshape after transpose", lambda x: x.transpose(0, 2).reshape(4, 6), shapes=[(2, 3, 4)]),
        Case("flatten", lambda x: x.flatten(), shapes=[(2, 3, 4)]),
        Case("flatten of a 0-d tensor", lambda x: x.flatten(), shapes=[()]),
        Case("flatten from 1", lambda x: x.flatten(1), shapes=[(2, 3, 4)]),
        Case("flatten of the middle", lambda x: x.flatten(1, 2), shapes=[(2, 3, 4, 5)]),
        Case("flatten with negative dims", lambda x: x.flatten(start_dim=-3, end_dim=-2), shapes=[(2, 3, 4)]),
        *[
            Case(f"transpose {a} {b}", lambda x, a=a, b=b: x.transpose(a, b), shapes=[(2, 3, 4)])
            for a, b in [(0, 1), (1, 2), (0, 2), (-1, 0), (-1, -2), (1, 1)]
        ],
        Case("transpose of a square matrix", lambda x: x.transpose(0, 1), shapes=[(4, 4)]),
        Case("transpose of four dims", lambda x: x.transpose(1, 3), shapes=[(2, 3, 4, 5)]),
        Case("T", lambda x: x.T, shapes=[(3, 4)]),
        Case("T of a square matrix", lambda x: x.T @ x, shapes=[(4, 4)]),
        *[
            Case(f"permute {dims}", lambda x, dims=dims: x.permute(*dims), shapes=[(2, 3, 4)])
            for dims in [(2, 0, 1), (1, 2, 0), (0, 2, 1), (2, 1, 0), (-1, 0, -2)]
        ],
        Case("permute of equal dims", lambda x: x.permute(1, 2, 0), shapes=[(3, 3, 3)]),
        Case("permute by a tuple", lambda x: x.permute((2, 0, 1)), shapes=[(2, 3, 4)]),
        Case("permute of four dims", lambda x: x.permute(3, 0, 2, 1), shapes=[(2, 3, 4, 5)]),
        Case("squeeze", lambda x: x.squeeze(), shapes=[(1, 3, 1, 4)]),
        Case("squeeze a dim", lambda x: x.squeeze(0), shapes=[(1, 3, 1)]),
        Case("squeeze a negative dim", lambda x: x.squeeze(-1), shapes=[(1, 3, 1)]),
        Case("squeeze two dims", lambda x: x.squeeze((0, -1)), shapes=[(1, 3, 1)]),
        Case("squeeze a dim that isn't 1", lambda x: x.squeeze(1), shapes=[(1, 3, 1)]),
        Case("squeeze to 0-d", lambda x: x.squeeze(), shapes=[(1, 1)]),
        *[Case(f"unsqueeze {d}", lambda x, d=d: x.unsqueeze(d), shapes=[(3, 4)]) for d in (0, 1, 2, -1, -3)],
        Case("unsqueeze of a 0-d tensor", lambda x: x.unsqueeze(0), shapes=[()]),
        Case("expand", lambda x: x.expand(3, 4), shapes=[(3, 1)]),
        Case("expand with -1", lambda x: x.expand(-1, 4), shapes=[(3, 1)]),
        Case("expand to new dims", lambda x: x.expand(2, 3, 4), shapes=[(4,)]),
        Case("expand to a square", lambda x: x.expand(4, 4), shapes=[(4,)]),
        Case("expand of a 0-d tensor", lambda x: x.expand(2, 3), shapes=[()]),
        Case("expand to what it is", lambda x: x.expand(3, 4), shapes=[(3, 4)]),
        Case("expand to nothing", lambda x: x.expand(0, 4), shapes=[(1, 4)]),
        Case("expand, then use", lambda x, y: x.expand(3, 4) * y, shapes=[(1, 4), (3, 4)]),
    ],
    "indexing": [
        *[
            Case(f"x[{text}]", lambda x, index=index: x[index], shapes=[(4, 3, 5)])
            for text, index in [
                ("1", S[1]),
                ("-1", S[-1]),
                ("1, 2, 3", S[1, 2, 3]),
                ("1:3", S[1:3]),
                ("::2, :, 1:", S[::2, :, 1:]),
                (":, -2", S[:, -2]),
                ("..., 0", S[..., 0]),
                ("None", S[None]),
                (":, None, ..., 2", S[:, None, ..., 2]),
                ("2:2", S[2:2]),
                ("[0, 0, 1]", [0, 0, 1]),
                ("[-1, 3]", [-1, 3]),
                (":, [2, 2, 2]", S[:, [2, 2, 2]]),
                ("[0, 0, 1], [1, 1, 2]", S[[0, 0, 1], [1, 1, 2]]),
                ("[[0], [1]], [1, 2]", S[[[0], [1]], [1, 2]]),
                ("[0, 0], :, [1, 1]", S[[0, 0], :, [1, 1]]),
                ("[0, 0], 1:, 2", S[[0, 0], 1:, 2]),
                ("0, :, [0, 1]", S[0, :, [0, 1]]),
                ("[0, 1], :, 1", S[[0, 1], :, 1]),
                (":, 1, [0, 1]", S[:, 1, [0, 1]]),
                ("True", S[True]),
                ("0, ..., None, [1, 1]", S[0, ..., None, [1, 1]]),
                ("array of integers", np.array([[3, 3], [0, 3]])),
                ("array, None, array", S[np.array([0, 0]), None, np.array([1, 1])]),
                ("mask of rows", np.array([True, False, False, True])),
                ("mask of columns", S[:, np.array([True, False, True])]),
                ("mask of nothing", np.zeros(4, bool)),
                ("no rows", np.zeros(0, int)),
            ]
        ],
        Case("mask of elements", lambda x: x[x > 0], shapes=[(4, 4)], domain=separate),
        Case("0-d tensor [...]", lambda x: x[...], shapes=[()]),
        Case("0-d tensor [None]", lambda x: x[None], shapes=[()]),
        Case("the same row twice", lambda x: x[0] * x[0] + x[1], shapes=[(3, 4)]),
        Case("overlapping slices", lambda x: x[1:] * x[:-1], shapes=[(4, 3)]),
        Case("one entry a row", lambda x: x[np.arange(4), np.array([0, 2, 2, 1])], shapes=[(4, 3)]),
        Case("indexing a slice", lambda x: x[1:][[0, 0]], shapes=[(4, 3)]),
    ],
    "joining and padding": [
        Case("cat", lambda F, x, y: F.cat([x, y]), shapes=[(2, 3), (4, 3)]),
        Case("cat of squares along dim 1", lambda F, x, y: F.cat([x, y], dim=1), shapes=[(3, 3), (3, 3)]),
        Case("cat along dim -1", lambda F, x, y, z: F.cat([x, y, z], dim=-1), shapes=[(2, 3), (2, 1), (2, 4)]),
        Case("cat along dim -2", lambda F, x, y: F.cat((x, y), -2), shapes=[(5, 2, 3), (5, 1, 3)]),
        Case("cat with nothing", lambda F, x, y: F.cat([x, y]), shapes=[(0, 3), (2, 3)]),
        Case("cat of empty rows along a dim they haven't", lambda F, x, y: F.cat([x, y], 1), shapes=[(0,), (0,)]),
        Case("cat of one", lambda F, x: F.cat([x]), shapes=[(2, 3)]),
        Case("cat of a tensor with itself", lambda F, x: F.cat([x, x * x, x], 1), shapes=[(3, 3)]),
        Case("stack", lambda F, x, y: F.stack([x, y]), shapes=[(2, 3), (2, 3)]),
        Case("stack along dim 1", lambda F, x, y: F.stack([x, y], dim=1), shapes=[(3, 3), (3, 3)]),
        Case("stack along dim -1", lambda F, x, y, z: F.stack([x, y, z], dim=-1), shapes=[(2, 3)] * 3),
        Case("stack of 0-d tensors", lambda F, x, y: F.stack([x, y, x]), shapes=[(), ()]),
        Case("pad the last dim", lambda F, x: F.pad(x, (1, 2)), shapes=[(2, 3)]),
        Case("pad two dims with a value", lambda F, x: F.pad(x, (1, 0, 2, 3), value=1.5), shapes=[(2, 3, 4)]),
        Case("pad every dim", lambda F, x: F.pad(x, (1, 2, 3, 4, 5, 6)), shapes=[(2, 3, 4)]),
        Case("pad a square", lambda F, x: F.pad(x, (0, 1, 2, 0)), shapes=[(4, 4)]),
        Case("pad by nothing", lambda F, x: F.pad(x, (0, 0)), shapes=[(2, 3)]),
    ],
    "comparisons and where": [
        *over(TWO, "where x > y", lambda F, x, y: F.where(x > y, x, y * y)),
        Case("where a third says so", lambda F, c, x, y: F.where(c > 0, x, y), shapes=[(3, 1), (4,), (2, 1, 1)]),
        Case("where with a number", lambda F, x: F.where(x > 0, x, 2.0), shapes=[(3, 4)]),
        Case("where with a number first", lambda F, x: F.where(x <= 0.5, 1.0, x * x), shapes=[(3, 4)]),
        Case("where both are the same", lambda F, x: F.where(x < 0, x * 2, x * 3), shapes=[(4, 4)]),
        Case("where equal", lambda F, x, y: F.where(x == y, x, y), shapes=[(4, 4)] * 2, domain=ties, smooth=False),
        Case("where unequal", lambda F, x, y: F.where(x != y, x, y * 2), [(4, 4), (4, 4)], domain=ties, smooth=False),
        Case("where at least", lambda F, x, y: F.where(x >= y, x, y * 2), [(4, 4), (4, 4)], domain=ties, smooth=False),
        Case("where less", lambda F, x: F.where(x.tanh() < x, x, -x), shapes=[(4, 4)], domain=ties, smooth=False),
    ],
    "trigonometry and powers": [
        *[
            Case(f"{name} {shape}", lambda F, x, name=name: getattr(F, name)(x), [shape], domain=domain)
            for names, domain in [
                ("sin cos tan atan sinh cosh asinh exp2 expm1 square erf erfc", normal),
                ("asin acos atanh", fraction),
                ("log2 log10 log1p rsqrt reciprocal", positive),
            ]
            for name in names.split()
            for shape in [(3, 4), (), (0, 3)]
        ],
        Case("acosh", lambda F, x: F.acosh(x + 1), shapes=[(3, 4)], domain=positive),
        *edges("erf", lambda F, x: F.erf(x), -inf, -5.0, -1e-300, 0.0, 0.4, 0.5, 3.0, 6.5, inf, nan),
        *edges("erfc", lambda F, x: F.erfc(x), -inf, -5.0, -0.5, 0.0, 0.4, 0.5, 3.0, 4.5, 20.0, inf, nan),
        *over(TWO, "atan2", lambda F, x, y: F.atan2(x, y)),
        *over(TWO, "hypot", lambda F, x, y: F.hypot(x, y)),
        *over(TWO, "logaddexp", lambda F, x, y: F.logaddexp(x, y)),
        *over(TWO, "xlogy", lambda F, x, y: F.xlogy(x, y), domain=[separate, positive]),
        *edges("logaddexp with a large number", lambda F, x: F.logaddexp(x, x * 0), -1000.0, 1000.0),
        Case("logaddexp of -inf", lambda F, x, y: F.logaddexp(x, y), values=[[-inf], [1.0]], smooth=False),
        Case(
            "xlogy at 0",
            lambda F, x, y: F.xlogy(x, y),
            [],
            [[0.0] * 4, [0.0, 1.0, -1.0, nan]],
            smooth=False,
        ),
        Case("addcmul", lambda F, x, y, z: F.addcmul(x, y, z, value=0.5), shapes=[(3, 4), (4,), (3, 1)]),
        Case("addcdiv", lambda F, x, y, z: F.addcdiv(x, y, z, value=-2), [(3, 4), (4,), (3, 1)], domain=positive),
        Case("lerp by a number", lambda F, x, y: F.lerp(x, y, 0.25), shapes=[(3, 4), (4,)]),
        Case("lerp by a tensor", lambda F, x, y, w: F.lerp(x, y, w), shapes=[(3, 4), (4,), (3, 1)]),
    ],
    "rounding": [
        *[
            Case(
                f"{name} {shape}",
                lambda F, x, name=name: getattr(F, name)(x * 3) + x,
                [shape],
                domain=separate,
                smooth=False,
            )
            for name in ("sign", "floor", "ceil", "trunc", "round", "frac")
            for shape in [(3, 4), ()]
        ],
        Case("round halves to even", lambda F, x: F.round(x), values=[np.arange(-3.5, 4)], smooth=False),
        Case("round to decimals", lambda F, x: F.round(x * 10, decimals=1) + x, shapes=[(3, 4)], smooth=False),
        Case("round to hundreds", lambda F, x: F.round(x * 1000, decimals=-2) + x, shapes=[(3, 4)], smooth=False),
        *over([[(3, 4), (4,)], [(), (3,)]], "fmod", lambda F, x, y: F.fmod(x * 5, y), domain=[normal, positive]),
        *over(
            [[(3, 4), (4,)], [(), (3,)]], "remainder", lambda F, x, y: F.remainder(x * 5, y), domain=[normal, positive]
        ),
        Case("% and //", lambda x, y: x % y + (x // y).detach() * x, shapes=[(3, 4), (4,)], domain=[normal, positive]),
        Case("number % and //", lambda x: (7 % x + 7.0 // x).detach() * x, [(3, 4)], domain=positive, smooth=False),
        Case("% and // by a negative number", lambda x: x % -2 + x * (x // -2.0).detach(), shapes=[(3, 4)]),
        Case(
            "div by trunc",
            lambda F, x, y: x + F.div(x * 9, y, rounding_mode="trunc"),
            [(3, 4), (4,)],
            domain=separate,
            smooth=False,
        ),
        Case(
            "div by floor",
            lambda F, x, y: x + F.div(x * 9, y, rounding_mode="floor"),
            [(3, 4), (4,)],
            domain=separate,
            smooth=False,
        ),
        Case("clamp by tensors", lambda F, x, a, b: F.clamp(x, a, b), shapes=[(3, 4), (4,), (3, 1)], domain=separate),
        Case("clamp from a tensor on", lambda x, a: x.clamp(min=a), shapes=[(3, 4), (4,)]),
        Case("clamp up to a tensor", lambda x, b: x.clamp(max=b), shapes=[(3, 4), (4,)]),
        Case("clamp of ties", lambda x, a, b: x.clamp(a, b), [(8, 8), (8,), (8, 1)], domain=ties, smooth=False),
        Case(
            "clamp with NaN",
            lambda x, a: x.clamp(a, x * 0 + 1),
            [],
            [[nan, 0.0, 2.0], [0.0, nan, 0.0]],
            smooth=False,
        ),
        Case(
            "heaviside",
            lambda F, x, y: x * F.heaviside(x.detach(), y),
            [(3, 4), (4,)],
            domain=[ties, normal],
            constant=[1],
            smooth=False,
        ),
        Case(
            "isclose",
            lambda F, x, y: x * F.isclose(x, y, rtol=0.5, atol=0.1),
            [(9, 9)] * 2,
            domain=positive,
            smooth=False,
        ),
        Case(
            "isclose of infinities and NaN",
            lambda F, x, y: F.isclose(x, y) * F.masked_fill(x, x != 1, 1.0),
            values=[[inf, -inf, inf, nan, 1.0], [inf, inf, 1.0, nan, inf]],
            smooth=False,
        ),
        Case("nan_to_num", lambda F, x: F.nan_to_num(x), values=[[nan, inf, -inf, 1.0]], smooth=False),
        Case(
            "nan_to_num by name", lambda F, x: F.nan_to_num(x, 1.0, 2.0, 3.0), values=[[nan, inf, -inf]], smooth=False
        ),
        Case("masked_fill", lambda x: x.masked_fill(x > 0, -1.5), shapes=[(3, 4)]),
        Case("masked_fill by a tensor", lambda x, v: x.masked_fill(x > 0, v), shapes=[(3, 4), ()]),
        Case(
            "masked_fill and an infinite gradient",
            lambda x, c: x.masked_fill(x > 0, 1.0) * c,
            [],
            INFINITELY,
            constant=[1],
            smooth=False,
        ),
        Case(
            "clamp and an infinite gradient",
            lambda F, x, c: F.clamp(x, -0.5, 0.5) * c,
            [],
            INFINITELY,
            constant=[1],
            smooth=False,
        ),
    ],
    "order and places": [
        *over_dims("max with indices", lambda d, k: lambda x: x.max(d, k).values, dims=[0, 1, -1], domain=separate),
        *over_dims("min with indices", lambda d, k: lambda x: x.min(d, k).values, dims=[0, 1, -1], domain=separate),
        *over_dims("max of some ties", lambda d, k: lambda x: x.max(d, k)[0], dims=[0, -1], domain=ties, smooth=False),
        *over_dims("median", lambda d, k: lambda x: x.median(d, k).values, dims=[0, 1, -1], domain=separate),
        *over_dims("kthvalue", lambda d, k: lambda x: x.kthvalue(2, d, k).values, dims=[0, 1, -1], domain=separate),
        *over_dims(
            "argmax", lambda d, k: lambda F, x: F.argmax(x, d, k) * x.sum(), dims=[None, 0, -2], domain=separate
        ),
        *over_dims(
            "argmin", lambda d, k: lambda F, x: F.argmin(x, d, k) * x.sum(), dims=[None, 0, -2], domain=separate
        ),
        Case("median of all", lambda x: x.median(), shapes=[(3, 4)], domain=separate),
        Case("median of ties", lambda x: x.median(), shapes=[(5, 4)], domain=ties, smooth=False),
        Case("median with NaN", lambda x: x.median(1)[0], values=[[[nan, 1.0, 2.0], [3.0, 1.0, 2.0]]], smooth=False),
        Case("sort", lambda F, x: F.sort(x).values, shapes=[(3, 4)], domain=separate),
        Case("sort along dim 0", lambda F, x: F.sort(x, dim=0)[0], shapes=[(4, 4)], domain=separate),
        Case("sort down", lambda x: x.sort(descending=True)[0], shapes=[(3, 4)], domain=separate),
        Case("sort of ties", lambda F, x: F.sort(x, stable=True)[0], shapes=[(3, 9)], domain=ties, smooth=False),
        Case(
            "sort of ties down",
            lambda F, x: F.sort(x, dim=-1, descending=True, stable=True)[0],
            [(3, 9)],
            domain=ties,
            smooth=False,
        ),
        Case("argsort", lambda F, x: x.gather(1, F.argsort(x, 1, True)) * x, shapes=[(3, 4)], domain=separate),
        Case("topk", lambda x: x.topk(2).values, shapes=[(3, 4)], domain=separate),
        Case("topk of the smallest", lambda x: x.topk(3, 0, largest=False)[0], shapes=[(4, 4)], domain=separate),
        Case("topk with its places", lambda x: x * x.topk(1, 1).indices, shapes=[(4, 4)], domain=separate),
        Case("max of a 0-d tensor", lambda x: x.max(0)[0] + x.sort(-1)[0] + x.cumsum(0) + x.median(0)[0], shapes=[()]),
        Case("gather", lambda x, i: x.gather(1, i), [(3, 4), (2, 5)], domain=[normal, classes(4)]),
        Case("gather along dim 0", lambda x, i: x.gather(0, i), [(4, 4), (6, 3)], domain=[normal, classes(4)]),
        Case("gather along dim -2", lambda x, i: x.gather(-2, i), [(3, 4, 2)] * 2, domain=[normal, classes(4)]),
        Case(
            "scatter",
            lambda x, i, y: x.scatter(1, i, y),
            [(3, 5), (3, 4), (3, 4)],
            domain=[normal, distinct(5), normal],
        ),
        Case("scatter of a number", lambda x, i: x.scatter(1, i, 1.5), [(4, 4), (3, 2)], domain=[normal, distinct(4)]),
        Case(
            "scatter_add",
            lambda x, i, y: x.scatter_add(0, i, y),
            [(4, 5), (6, 3), (6, 3)],
            domain=[normal, classes(4), normal],
        ),
        Case("take_along_dim", lambda x, i: x.take_along_dim(i, 1), [(3, 4), (1, 5)], domain=[normal, classes(4)]),
        Case("index_select", lambda x, i: x.index_select(1, i), [(3, 4, 2), (5,)], domain=[normal, classes(4)]),
        Case(
            "index_add",
            lambda x, i, y: x.index_add(0, i, y, alpha=3),
            [(3, 4), (5,), (5, 4)],
            domain=[normal, classes(3), normal],
        ),
        Case(
            "index_copy",
            lambda x, i, y: x.index_copy(1, i, y),
            [(3, 4), (2,), (3, 2)],
            domain=[normal, distinct(4), normal],
        ),
        Case(
            "index_fill", lambda x, i, v: x.index_fill(1, i, v), [(3, 4), (6,), ()], domain=[normal, classes(4), normal]
        ),
        Case("take", lambda F, x, i: F.take(x, i - 6), [(3, 4), (2, 5)], domain=[normal, classes(12)]),
        Case("masked_select", lambda x: x.masked_select(x > 0) * 2, shapes=[(3, 4)], domain=separate),
        Case("masked_select that broadcasts", lambda x, y: x.masked_select(y > 0), shapes=[(3, 1), (2, 3, 4)]),
        Case(
            "nonzero",
            lambda F, x: x[(x > 0).nonzero(as_tuple=True)] * F.nonzero(x > 0)[:, 1],
            shapes=[(3, 4)],
            domain=separate,
        ),
        Case("all", lambda F, x: x * F.all(x > 0, dim=0), shapes=[(2, 4)], smooth=False),
        Case("any", lambda F, x: x * F.any(x > 0, 1, keepdim=True), shapes=[(4, 2)], smooth=False),
        Case("count_nonzero", lambda F, x: x * F.count_nonzero(x, 0), shapes=[(3, 4)], domain=ties, smooth=False),
        Case("unique", lambda F, x: F.unique(x, return_inverse=True)[1] * x, [(3, 4)], domain=ties, smooth=False),
    ],
    "rearranging": [
        Case("flip", lambda x: x.flip(0), shapes=[(3, 4)]),
        Case("flip two dims", lambda x: x.flip(0, -1), shapes=[(2, 3, 4)]),
        Case("flip by name", lambda F, x: F.flip(x, dims=[1]), shapes=[(4, 4)]),
        Case("fliplr and flipud", lambda F, x: F.fliplr(x) * F.flipud(x) * x, shapes=[(4, 4)]),
        Case("roll", lambda x: x.roll(1, 0), shapes=[(3, 4)]),
        Case("roll without dims", lambda x: x.roll(5), shapes=[(3, 4)]),
        Case("roll two dims", lambda F, x: F.roll(x, (1, -2), (0, 1)), shapes=[(4, 4)]),
        *[Case(f"rot90 {k}", lambda F, x, k=k: F.rot90(x, k, (1, 0)) * 2, shapes=[(3, 4)]) for k in (-1, 1, 2, 5)],
        *[Case(f"tril {k}", lambda x, k=k: x.tril(k), shapes=[(4, 4)]) for k in (-1, 0, 1)],
        *[Case(f"triu {k}", lambda x, k=k: x.triu(k), shapes=[(2, 3, 4)]) for k in (-1, 0, 1)],
        *[Case(f"diag of a row {k}", lambda F, x, k=k: F.diag(x, k), shapes=[(3,)]) for k in (-2, 0, 1)],
        *[Case(f"diag of a matrix {k}", lambda F, x, k=k: F.diag(x, k), shapes=[(3, 4)]) for k in (-1, 0, 2)],
        Case("diagonal", lambda x: x.diagonal(1, 0, 2), shapes=[(3, 2, 4)]),
        Case("diagonal of negative dims", lambda x: x.diagonal(-1, -1, -2), shapes=[(2, 3, 4)]),
        Case("diag_embed", lambda F, x: F.diag_embed(x, 1, 0, 2), shapes=[(2, 3)]),
        Case("trace", lambda x: x.trace(), shapes=[(3, 4)]),
        Case("repeat", lambda x: x.repeat(2, 3), shapes=[(3, 4)]),
        Case("repeat along new dims", lambda x: x.repeat(2, 1, 3), shapes=[(3, 4)]),
        Case("tile", lambda F, x: F.tile(x, (2,)), shapes=[(3, 4)]),
        Case("repeat_interleave", lambda x: x.repeat_interleave(3, dim=1), shapes=[(3, 4)]),
        Case("repeat_interleave of all", lambda x: x.repeat_interleave(2), shapes=[(3, 4)]),
        Case(
            "repeat_interleave by counts",
            lambda x, n: x.repeat_interleave(n, 0),
            [(3, 4), (3,)],
            domain=[normal, classes(4)],
        ),
        Case("unfold", lambda x: x.unfold(0, 3, 2), shapes=[(7, 2)]),
        Case("unfold that overlaps", lambda x: x.unfold(-1, 3, 1), shapes=[(2, 5)]),
        Case("movedim", lambda F, x: F.movedim(x, 0, -1), shapes=[(2, 3, 4)]),
        Case("movedim of two", lambda F, x: F.movedim(x, (0, 2), (1, 0)), shapes=[(3, 3, 3)]),
        Case("split", lambda F, x: F.stack(F.split(x, 2, 1)), shapes=[(3, 4)]),
        Case("split of which the last is smaller", lambda x: x.split(3)[1] * 2, shapes=[(4, 3)]),
        Case("split by sizes", lambda x: x.split([1, 3], dim=1)[1], shapes=[(3, 4)]),
        Case("chunk", lambda x: x.chunk(3, -1)[0] * x.chunk(3, -1)[1], shapes=[(2, 6)]),
        Case("tensor_split", lambda F, x: F.tensor_split(x, 3)[0], shapes=[(7, 2)]),
        Case("unbind", lambda F, x: F.stack(F.unbind(x, 1)[::-1]), shapes=[(3, 4)]),
        Case("narrow", lambda x: x.narrow(1, 1, 2), shapes=[(3, 4)]),
        Case("select", lambda x: x.select(-1, 2), shapes=[(3, 4)]),
        Case("meshgrid", lambda F, x, y: F.meshgrid(x, y, indexing="ij")[0] * y, shapes=[(3,), (4,)]),
        Case("meshgrid xy", lambda F, x, y: F.meshgrid(x, y, indexing="xy")[1] * x, shapes=[(3,), (4,)]),
        Case("hstack and vstack", lambda F, x, y: F.hstack([x, y]) * F.vstack([x, y]).sum(), shapes=[(3,), (3,)]),
    ],
    "sums and products along a dim": [
        *[Case(f"cumsum {d}", lambda x, d=d: x.cumsum(d), shapes=[(2, 3, 4)]) for d in (0, 1, -1)],
        *[Case(f"cumprod {d}", lambda x, d=d: x.cumprod(d), shapes=[(2, 3, 4)]) for d in (0, 1, -1)],
        Case("cumprod with zeros", lambda x: x.cumprod(1), shapes=[(4, 5)], domain=ties, smooth=False),
        *over_dims("prod", lambda d, k: lambda x: x.prod(d, keepdim=k), dims=[0, 1, -1]),
        *over([(3, 4), (), (0, 3)], "prod", lambda x: x.prod()),
        Case("prod with zeros", lambda x: x.prod(1), shapes=[(9, 3)], domain=ties, smooth=False),
        *over_dims("norm", lambda d, k: lambda x: x.norm(2, d, k)),
        *[Case(f"norm {p}", lambda F, x, p=p: F.norm(x, p, 1), shapes=[(3, 4)], domain=separate) for p in NORMS],
        *[
            Case(f"norm {p} of ties", lambda F, x, p=p: F.norm(x, p, 1), [(9, 2)], domain=ties, smooth=False)
            for p in NORMS
        ],
        Case("dist", lambda F, x, y: F.dist(x, y, 3), shapes=[(3, 4), (4,)]),
        Case("cdist", lambda F, x, y: F.cdist(x, y), shapes=[(2, 3, 4), (2, 5, 4)]),
        Case("var_mean", lambda F, x: F.var_mean(x, 1)[0] * F.var_mean(x, 1)[1], shapes=[(3, 4)]),
        Case("std_mean", lambda F, x: F.std_mean(x, unbiased=False)[0], shapes=[(3, 4)]),
    ],
    "einsum and related": [
        *[
            Case(f"einsum {equation} {i}", einsum_of[len(shapes)](equation), shapes=shapes)
            for i, (equation, shapes) in enumerate(EINSUMS)
        ],
        Case("einsum of a list", lambda F, x, y: F.einsum("ij,jk", [x, y]), shapes=[(2, 3), (3, 4)]),
        Case("einsum by numbers", lambda F, x, y: F.einsum(x, [0, 1], y, [1, 2], [2, 0]), shapes=[(2, 3), (3, 4)]),
        Case("outer", lambda F, x, y: F.outer(x, y), shapes=[(3,), (4,)]),
        Case("dot", lambda x, y: x.dot(y), shapes=[(3,), (3,)]),
        Case("mv", lambda x, y: x.mv(y), shapes=[(3, 4), (4,)]),
        Case("mm", lambda F, x, y: F.mm(x, y), shapes=[(3, 4), (4, 2)]),
        Case("bmm", lambda F, x, y: F.bmm(x, y), shapes=[(2, 3, 4), (2, 4, 5)]),
        Case("addmm", lambda F, x, y, z: F.addmm(x, y, z, beta=0.5, alpha=2), shapes=[(5,), (3, 4), (4, 5)]),
        Case("addmm without its input", lambda F, x, y, z: F.addmm(x, y, z, beta=0), [], NOT_ADDED, smooth=False),
        Case("addmv", lambda F, x, y, z: F.addmv(x, y, z), shapes=[(3,), (3, 4), (4,)]),
        Case("addbmm", lambda F, x, y, z: F.addbmm(x, y, z, alpha=3), shapes=[(3, 5), (2, 3, 4), (2, 4, 5)]),
        Case("baddbmm", lambda F, x, y, z: F.baddbmm(x, y, z, beta=2), shapes=[(3, 1), (2, 3, 4), (2, 4, 5)]),
    ],
    "modules": [
        ModuleCase("Linear", lambda nn: nn.Linear(3, 4), shapes=[(5, 3)]),
        ModuleCase("Linear from 4 to 4", lambda nn: nn.Linear(4, 4), shapes=[(4, 4)]),
        ModuleCase("Linear without bias", lambda nn: nn.Linear(3, 4, bias=False), shapes=[(5, 3)]),
        ModuleCase("Linear of one example", lambda nn: nn.Linear(3, 4), shapes=[(3,)]),
        ModuleCase("Linear of a batch of sequences", lambda nn: nn.Linear(3, 4), shapes=[(2, 5, 3)]),
        ModuleCase("Linear of an empty batch", lambda nn: nn.Linear(3, 4), shapes=[(0, 3)]),
        ModuleCase("ReLU", lambda nn: nn.ReLU(), shapes=[(3, 4)]),
        ModuleCase("Tanh", lambda nn: nn.Tanh(), shapes=[(3, 4)]),
        ModuleCase("Sigmoid", lambda nn: nn.Sigmoid(), shapes=[(3, 4)]),
        ModuleCase("GELU", lambda nn: nn.GELU(), shapes=[(3, 4)]),
        ModuleCase("GELU of a 0-d tensor", lambda nn: nn.GELU(), shapes=[()]),
        ModuleCase("Flatten", lambda nn: nn.Flatten(), shapes=[(2, 3, 4)]),
        ModuleCase("Flatten from 0 to 1", lambda nn: nn.Flatten(0, 1), shapes=[(2, 3, 4)]),
        ModuleCase("Dropout out of training", lambda nn: nn.Dropout(0.5), shapes=[(3, 4)], modes=["eval"]),
        ModuleCase("Dropout of nothing", lambda nn: nn.Dropout(0.0), shapes=[(3, 4)]),
        ModuleCase("Dropout of everything", lambda nn: nn.Dropout(1.0), shapes=[(3, 4)]),
        ModuleCase("Embedding", lambda nn: nn.Embedding(4, 3), shapes=[(6,)], domain=classes(4)),
        ModuleCase("Embedding of a table", lambda nn: nn.Embedding(4, 4), shapes=[(2, 5)], domain=classes(4)),
        ModuleCase("LayerNorm", lambda nn: nn.LayerNorm(4), shapes=[(3, 4)]),
        ModuleCase("LayerNorm of a square", lambda nn: nn.LayerNorm(4), shapes=[(4, 4)]),
        ModuleCase("LayerNorm of two dims", lambda nn: nn.LayerNorm((3, 4)), shapes=[(2, 3, 4)]),
        ModuleCase("LayerNorm of an empty batch", lambda nn: nn.LayerNorm(4), shapes=[(0, 4)]),
        ModuleCase("LayerNorm of one example", lambda nn: nn.LayerNorm((4,), eps=0.1), shapes=[(4,)]),
        ModuleCase("BatchNorm1d", lambda nn: nn.BatchNorm1d(3), shapes=[(5, 3)]),
        ModuleCase("BatchNorm1d of a square", lambda nn: nn.BatchNorm1d(4), shapes=[(4, 4)]),
        ModuleCase("BatchNorm1d of sequences", lambda nn: nn.BatchNorm1d(3), shapes=[(2, 3, 4)]),
        ModuleCase("BatchNorm1d of one channel", lambda nn: nn.BatchNorm1d(1), shapes=[(5, 1)]),
        ModuleCase("BatchNorm1d eps and momentum", lambda nn: nn.BatchNorm1d(3, eps=0.1, momentum=0.3), [(5, 3)]),
        ModuleCase("BatchNorm1d of one example", lambda nn: nn.BatchNorm1d(3), shapes=[(1, 3)], modes=["eval"]),
        ModuleCase("a network", network, shapes=[(5, 3)]),
        ModuleCase("a network in a network", nested_network, shapes=[(5, 2, 3)]),
    ],
    "losses": [
        *reduced(mse_loss, [(5, 3), (5, 3)]),
        *reduced(hinge_loss, [(5, 3), (5, 3)], domain=[separate, signs], constant=[1]),
        *reduced(cross_entropy, [(5, 3), (5,)], domain=[normal, classes(3)]),
        *reduced(cross_entropy, [(2, 3, 4, 5), (2, 4, 5)], domain=[normal, classes(3)]),
        *reduced(cross_entropy, [(3, 3, 3), (3, 3)], domain=[normal, classes(3)]),
        *reduced(cross_entropy, [(0, 3), (0,)], domain=[normal, classes(3)], smooth=False),
        *reduced(cross_entropy, [(0, 3, 4), (0, 4)], domain=[normal, classes(3)], smooth=False),
        *reduced(cross_entropy, [(5, 3), (5, 3)], domain=[normal, probabilities]),
        *reduced(bce_with_logits, [(5, 3), (5, 3)], domain=[normal, zero_one]),
        Case("mse_loss of squares", mse_loss, shapes=[(4, 4), (4, 4)]),
        Case("mse_loss against an array", mse_loss, shapes=[(5, 3), (5, 3)], constant=[1]),
        Case("mse_loss of 0-d tensors", mse_loss, shapes=[(), ()]),
        Case("cross_entropy of a square", cross_entropy, shapes=[(4, 4), (4,)], domain=[normal, classes(4)]),
        Case("cross_entropy of one example", cross_entropy, shapes=[(3,), ()], domain=[normal, classes(3)]),
        Case("cross_entropy of one, probabilities", cross_entropy, shapes=[(3,), (3,)], domain=[normal, probabilities]),
        Case("cross_entropy of signals, probabilities", cross_entropy, shapes=[(2, 3, 4)] * 2, domain=probabilities),
        Case("cross_entropy at ±1000, right", cross_entropy, values=[LARGE, [0, 1]], smooth=False),
        Case("cross_entropy at ±1000, wrong", cross_entropy, values=[LARGE, [1, 0]], smooth=False),
        *[
            Case(
                f"cross_entropy of infinities, class {i}",
                partial(cross_entropy, reduction="none"),
                values=[INFINITE, [i] * 5],
                smooth=False,
            )
            for i in range(3)
        ],
        Case("bce at ±1000, right", bce_with_logits, values=[LARGE, np.eye(2)], constant=[1], smooth=False),
        Case("bce at ±1000, wrong", bce_with_logits, values=[LARGE, 1 - np.eye(2)], constant=[1], smooth=False),
        Case(
            "bce at ±100", bce_with_logits, values=[[-100.0, 0.0, 100.0], [1.0, 1.0, 0.0]], constant=[1], smooth=False
        ),
        Case("linear", lambda F, x, w, b: F.linear(x, w, b), shapes=[(5, 3), (4, 3), (4,)]),
        Case("gelu", lambda F, x: F.gelu(x), shapes=[(3, 4)]),
        Case("logsigmoid", lambda F, x: F.logsigmoid(x), shapes=[(3, 4)]),
        *edges("gelu", lambda F, x: F.gelu(x), -40.0, 0.0, 40.0),
        *edges("logsigmoid", lambda F, x: F.logsigmoid(x), -1000.0, 0.0, 30.0, 1000.0),
    ],
    "convolution": [
        Case("conv2d", lambda F, x, w, b: F.conv2d(x, w, b), shapes=[(2, 3, 5, 6), (4, 3, 3, 3), (4,)]),
        Case("conv2d of squares", lambda F, x, w, b: F.conv2d(x, w, b), shapes=[(2, 2, 4, 4), (2, 2, 2, 2), (2,)]),
        *[
            Case(f"conv2d {image} * {kernel} {options}", partial(conv2d, **options), shapes=[image, kernel])
            for image, kernel, options in [
                ((2, 3, 5, 6), (4, 3, 1, 1), {}),
                ((2, 3, 5, 6), (4, 3, 5, 6), {}),
                ((1, 1, 4, 7), (1, 1, 3, 2), {}),
                ((2, 3, 5, 7), (4, 3, 2, 3), {"stride": 2}),
                ((2, 3, 6, 5), (4, 3, 3, 3), {"stride": 2}),  # (6 − 3) % 2 = 1: the last row is never read
                ((2, 3, 8, 7), (4, 3, 3, 2), {"stride": (3, 2)}),
                ((2, 3, 7, 8), (4, 3, 3, 3), {"stride": 3, "padding": 1}),
                ((2, 3, 5, 6), (4, 3, 3, 3), {"padding": 1}),
                ((2, 3, 5, 6), (4, 3, 3, 3), {"padding": (2, 0)}),
                ((2, 3, 5, 6), (4, 3, 3, 2), {"stride": (1, 2), "padding": (0, 1)}),
                ((2, 3, 7, 8), (4, 3, 3, 3), {"dilation": 2}),
                ((2, 3, 8, 9), (4, 3, 2, 3), {"dilation": (3, 2), "padding": 1, "stride": 2}),
                ((2, 4, 5, 6), (6, 2, 3, 3), {"groups": 2}),
                ((2, 4, 5, 6), (4, 1, 3, 3), {"groups": 4, "padding": 1}),
                ((2, 4, 7, 6), (8, 1, 3, 2), {"groups": 4, "stride": 2, "dilation": 2, "padding": (1, 2)}),
                ((2, 3, 1, 1), (4, 3, 3, 3), {"padding": 1}),
                ((2, 3, 3, 9), (4, 3, 1, 2), {"stride": 4}),
            ]
        ],
        ModuleCase("Conv2d", lambda nn: nn.Conv2d(3, 4, 3), shapes=[(2, 3, 5, 6)]),
        ModuleCase("Conv2d in full", lambda nn: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (2, 1), 2), [(2, 4, 7, 6)]),
        ModuleCase("Conv2d without bias", lambda nn: nn.Conv2d(3, 4, 3, padding=1, bias=False), shapes=[(2, 3, 4, 4)]),
        ModuleCase("a small CNN", small_cnn, shapes=[(3, 1, 4, 5)]),
    ],
    "pooling": [
        *[
            Case(f"{pool.__name__} {image} {options}", partial(pool, **options), shapes=[image], domain=separate)
            for pool in (max_pool2d, avg_pool2d)
            for image, options in [
                ((2, 3, 4, 6), {"kernel_size": 2}),
                ((2, 3, 4, 4), {"kernel_size": 2}),
                ((2, 3, 5, 7), {"kernel_size": 2}),  # odd sizes: the last row and column fall away
                ((2, 3, 5, 6), {"kernel_size": (2, 3)}),
                ((2, 3, 5, 6), {"kernel_size": 3, "stride": 1}),  # windows overlap
                ((2, 3, 6, 7), {"kernel_size": 3, "stride": (2, 1)}),
                ((2, 3, 5, 6), {"kernel_size": 3, "stride": 2, "padding": 1}),
                ((2, 3, 5, 6), {"kernel_size": (2, 3), "stride": 2, "padding": (0, 1)}),
                ((1, 1, 5, 5), {"kernel_size": 5}),
                ((2, 3, 7, 8), {"kernel_size": 2, "stride": 3}),  # gaps between the windows
            ]
        ],
        Case("max_pool2d of ties", lambda F, x: F.max_pool2d(x, 2), [(2, 3, 4, 6)], domain=ties, smooth=False),
        Case("max_pool2d overlapping", lambda F, x: F.max_pool2d(x, 3, 1), [(2, 3, 5, 6)], domain=ties, smooth=False),
        Case("max_pool2d of holes", lambda F, x: F.max_pool2d(x, 2), values=[HOLES], smooth=False),
        Case(
            "max_pool2d of holes, overlapping",
            lambda F, x: F.max_pool2d(x, 2, 1, 1),
            values=[HOLES],
            smooth=False,
        ),
        Case(
            "max_pool2d of holes, padded",
            lambda F, x: F.max_pool2d(x, 3, 2, 1),
            values=[HOLES],
            smooth=False,
        ),
        Case("max_pool2d with dilation", lambda F, x: F.max_pool2d(x, 2, 1, 1, 2), [(2, 3, 5, 6)], domain=separate),
        *[
            Case(f"adaptive_avg_pool2d {image} to {size}", lambda F, x, s=size: F.adaptive_avg_pool2d(x, s), [image])
            for image, size in [
                ((2, 3, 4, 6), 1),
                ((2, 3, 4, 6), 2),
                ((2, 3, 4, 6), (2, 3)),
                ((2, 3, 5, 7), (2, 3)),  # windows of unlike sizes that overlap
                ((2, 3, 5, 7), (5, 7)),
                ((2, 3, 3, 4), (5, 6)),
            ]
        ],
        ModuleCase("MaxPool2d", lambda nn: nn.MaxPool2d(2), shapes=[(2, 3, 5, 6)]),
        ModuleCase("MaxPool2d of every option", lambda nn: nn.MaxPool2d(3, 2, 1), shapes=[(2, 3, 5, 6)]),
        ModuleCase("AvgPool2d", lambda nn: nn.AvgPool2d(2), shapes=[(2, 3, 5, 6)]),
        ModuleCase("AvgPool2d of every option", lambda nn: nn.AvgPool2d(3, 2, 1), shapes=[(2, 3, 5, 6)]),
        ModuleCase("AdaptiveAvgPool2d", lambda nn: nn.AdaptiveAvgPool2d((2, 3)), shapes=[(2, 3, 5, 6)]),
    ],
    "batch norm of images": [
        ModuleCase("BatchNorm2d", lambda nn: nn.BatchNorm2d(3), shapes=[(2, 3, 4, 5)]),
        ModuleCase("BatchNorm2d of equal sizes", lambda nn: nn.BatchNorm2d(4), shapes=[(4, 4, 4, 4)]),
        ModuleCase("BatchNorm2d eps and momentum", lambda nn: nn.BatchNorm2d(3, 0.1, 0.3), shapes=[(2, 3, 4, 5)]),
        ModuleCase("BatchNorm2d of one image", lambda nn: nn.BatchNorm2d(3), shapes=[(1, 3, 2, 2)]),
    ],
}

CASES = [
    replace(case, capability=capability)
    for groups in (
        GROUPS,
        network_cases.GROUPS,
        image_cases.GROUPS,
        infinite_cases.GROUPS,
        sequence_cases.GROUPS,
    )
    for capability, cases in groups.items()
    for case in cases
]
