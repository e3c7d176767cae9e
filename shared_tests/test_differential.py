"""Random calls on rungs 4 and 5: the same values, gradients and errors, and PyTorch's where it takes the call.

`GRADUAL_CALLS=20000 pytest shared_tests/test_differential.py` draws so many calls instead of 400, and others each
time; what a failure prints as `GRADUAL_CALLS_SEED` draws the same ones again.
"""

import importlib
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

N = int(os.environ.get("GRADUAL_CALLS", 400))
SEED = int(os.environ.get("GRADUAL_CALLS_SEED", 0 if N == 400 else np.random.SeedSequence().entropy % 2**32))
KINDS = {}


class Unasked(RuntimeError):
    """Why PyTorch is not asked."""


def kind(function):
    """A kind of call: a function that draws one from a generator, as its arrays and a function of P and its tensors."""
    KINDS[function.__name__] = function
    return function


def number(rng, *choices):
    """One of the numbers, plain or as NumPy has it."""
    return [int, np.int8, np.int64][rng.integers(3)](rng.choice(choices))


def some(rng, *shape):
    """Numbers of a shape, of any layout; sometimes there are a few among them that are none, or infinite."""
    order = rng.permutation(len(shape))
    x = rng.standard_normal([shape[i] for i in order]).astype(rng.choice(["f4", "f4", "f8"]))
    if x.size and rng.random() < 0.2:
        for _ in range(3):
            x.flat[rng.integers(x.size)] = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan])
    return x.transpose(np.argsort(order))


def alike(rng, like, *shape):
    """The same, mostly of the other's dtype."""
    x = some(rng, *shape)
    return x if rng.random() < 0.05 else x.astype(like.dtype)


@kind
def convolution(rng):
    groups, c, f, h, w = rng.choice([1, 1, 2]), *rng.integers(1, 5, 2), *rng.integers(1, 14, 2)
    k = rng.integers(1, 4, 2)
    x = some(rng, rng.integers(1, 4), c * groups, h, w)
    options = {"stride": number(rng, 1, 1, 2, 3), "padding": number(rng, 0, 1, 2), "dilation": number(rng, 1, 1, 2)}
    arrays = [x, alike(rng, x, f * groups, c, *k)]
    if rng.random() < 0.7:
        arrays.append(alike(rng, x, rng.choice([f * groups] * 9 + [1])))
    if rng.random() < 0.25:
        arrays[1:] = [alike(rng, x, c * groups, f, *k), *[x.astype(arrays[0].dtype) for x in arrays[2:]]]
        options["output_padding"] = number(rng, 0, 0, 1)
        return arrays, lambda P, *xs: P.nn.functional.conv_transpose2d(*xs, **options, groups=int(groups))
    return arrays, lambda P, *xs: P.nn.functional.conv2d(*xs, **options, groups=int(groups))


@kind
def pooling(rng):
    x = some(rng, *rng.integers(1, 5, 2), *rng.integers(1, 14, 2))
    options = {"stride": number(rng, 1, 2, 3), "padding": number(rng, 0, 0, 1), "ceil_mode": bool(rng.integers(2))}
    k = number(rng, 1, 2, 3)
    if rng.random() < 0.3:
        return [x], lambda P, x: P.nn.AvgPool2d(k, **options)(x)
    options["dilation"] = number(rng, 1, 1, 2)
    order = rng.integers(3)

    def run(P, x):
        if P is torch and options["padding"] and options["dilation"] > 1:
            raise Unasked("where a place is all padding, its backward() writes beyond its memory")
        pool, relu = P.nn.MaxPool2d(k, **options), P.nn.ReLU()
        return P.nn.Sequential(*[[pool], [pool, relu], [relu, pool]][order])(x)

    return [x], run


@kind
def linear(rng):
    rows, n, m = rng.integers(0, 70), *rng.integers(1, 70, 2)
    x = some(rng, *([rows] if rng.integers(4) else [2, rows]), n)
    arrays = [x, alike(rng, x, m, n)]
    if rng.integers(3):
        arrays.append(alike(rng, x, *[[m], [m], [m], [1], [], [m + 1]][rng.integers(6)]))
    relu = rng.integers(2)

    def run(P, *xs):
        layer = P.nn.Linear(2, 2, bias=len(xs) > 2)
        layer.weight = P.nn.Parameter(xs[1].detach())
        if len(xs) > 2:
            layer.bias = P.nn.Parameter(xs[2].detach())
        out = P.nn.Sequential(layer, P.nn.ReLU())(xs[0]) if relu else layer(xs[0])
        return out, *layer.parameters()

    return arrays, run


@kind
def norm(rng):
    c, rest = rng.integers(1, 9), rng.integers(1, 9, rng.choice([0, 2]))
    x = some(rng, rng.integers(1, 40), c, *rest).astype("f4")
    training, relu = bool(rng.integers(4)), rng.integers(2)

    def run(P, x):
        layer = (P.nn.BatchNorm2d if x.ndim == 4 else P.nn.BatchNorm1d)(int(c)).train(training)
        out = layer(x)
        return out.relu() if relu else out, layer.running_mean, layer.running_var

    return [x], run


@kind
def elementwise(rng):
    shape = rng.integers(1, 40, 3)
    x, y = some(rng, *shape), some(rng, *np.where(rng.integers(4, size=3) == 0, 1, shape))
    op = rng.choice(["add", "mul", "div", "maximum", "minimum"])
    then = rng.choice(["relu", "tanh", "sigmoid", "exp", "abs", "square"])
    return [x, y], lambda P, x, y: getattr(getattr(P, op)(x, y), then)()


@kind
def reduction(rng):
    x = some(rng, *rng.integers(1, 40, rng.integers(1, 4)))
    dim, keepdim = int(rng.integers(-x.ndim - 1, x.ndim + 1)), bool(rng.integers(2))
    op = rng.choice(["sum", "mean", "amax", "amin", "logsumexp"])
    return [x], lambda P, x: getattr(x, op)(dim=dim, keepdim=keepdim)


@kind
def softmax(rng):
    x = some(rng, *rng.integers(1, 40, rng.integers(2, 4)))
    dim, op = int(rng.integers(-x.ndim, x.ndim)), rng.choice(["softmax", "log_softmax"])
    return [x], lambda P, x: getattr(x, op)(dim=dim)


@kind
def cross_entropy(rng):
    n, c = rng.integers(1, 40, 2)
    labels = rng.integers(-1 if rng.random() < 0.1 else 0, c, n)
    smoothing = rng.choice([0.0, 0.1])
    return [some(rng, n, c)], lambda P, x: P.nn.functional.cross_entropy(
        x, P.tensor(labels), label_smoothing=float(smoothing)
    )


@kind
def step(rng):
    """Two steps of an optimizer, the second by another gradient."""
    name = rng.choice(["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta"])
    p = some(rng, *rng.integers(1, 200, 2))
    g = np.where(np.isfinite(p), p, 1) * 0.5 + 1
    options = {"lr": 0.1, "weight_decay": float(rng.choice([0, 0, 0.1])), "maximize": bool(rng.integers(2))}
    if name in ("SGD", "RMSprop"):
        options["momentum"] = float(rng.choice([0, 0.9]))
    if name in ("Adam", "AdamW"):
        options["amsgrad"] = bool(rng.integers(2))

    def run(P, p):
        p = p.detach().clone().requires_grad_(True)
        optimizer = getattr(P.optim, name)([p], **options)
        for scale in (1, -0.5):
            p.grad = P.tensor((g * scale).astype(str(p.dtype).removeprefix("torch.")))
            optimizer.step()
        return p.detach()

    return [p], run


def outcome(P, arrays, run, cotangents):
    """What a call gives: its outputs and the gradients of its inputs, as arrays; or the error that it raises."""
    inputs = [P.tensor(np.ascontiguousarray(x)) for x in arrays]  # PyTorch keeps no order, so it is made by a view
    for i, (x, array) in enumerate(zip(inputs, arrays)):
        order = np.argsort([-n for n in array.strides], kind="stable")
        kept = P.tensor(np.ascontiguousarray(array.transpose(order)))
        inputs[i] = kept.permute(*map(int, np.argsort(order))).detach().requires_grad_(True) if array.ndim > 1 else x
        inputs[i].requires_grad_(True)
    try:
        outs = run(P, *inputs)
        outs = outs if isinstance(outs, tuple) else (outs,)
        if outs[0].requires_grad:
            g = np.resize(cotangents, tuple(outs[0].shape))
            outs[0].backward(P.tensor(g.astype(str(outs[0].dtype).removeprefix("torch."))))
        else:
            inputs = []
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        return error
    tensors = [*outs, *[x.grad for x in (*inputs, *outs[1:]) if x.requires_grad and x.grad is not None]]
    return [x.detach().numpy() for x in tensors]


def _without_op(error):
    """What an error says, but for the name of the op, as two in one have another, and for what kernels count apart."""
    return str(error).partition(" ")[2].partition(" does not fit ")[0]


def agree(ours, wanted):
    assert isinstance(ours, list) and isinstance(wanted, list), (ours, wanted)
    assert [(x.dtype, x.shape) for x in ours] == [(x.dtype, x.shape) for x in wanted]
    for x, y in zip(ours, wanted):
        close = 1e-9 if x.dtype == np.float64 else 1e-3
        finite = np.abs(y[np.isfinite(y)])
        np.testing.assert_allclose(x, y, rtol=close, atol=close * max(1, finite.max(initial=0)))


@pytest.mark.capability("compiled kernels")
@pytest.mark.host
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_random_calls_give_the_same_on_rungs_4_and_5_and_in_pytorch(name, stage):
    below, calls = importlib.import_module("stage4_cnn"), N // len(KINDS)
    taken = 0
    for i in range(calls):
        seed = [SEED, i, *name.encode()]
        arrays, run = KINDS[name](np.random.default_rng(seed))
        cotangents = np.random.default_rng(0).standard_normal(1000)
        four, five, wanted = (outcome(P, arrays, run, cotangents) for P in (below, stage.package, torch))
        try:
            if isinstance(four, Exception):
                assert type(four) is type(five) and _without_op(four) == _without_op(five)
            else:
                agree(five, four)
            if isinstance(wanted, Unasked):
                continue
            if isinstance(wanted, Exception):
                assert isinstance(five, Exception), wanted
            elif all(np.isfinite(x).all() for x in arrays) or name == "step":
                agree(five, wanted)
                taken += 1
        except AssertionError as error:
            shapes = [(x.shape, str(x.dtype)) for x in arrays]
            raise AssertionError(f"call {i} of {name}, GRADUAL_CALLS_SEED={SEED}, on {shapes}: {error}") from None
    assert taken > calls / 3, "many calls are such as PyTorch takes"


@pytest.mark.capability("compiled kernels")
def test_the_largest_of_nothing_but_padding_is_minus_infinity_after_relu_too(stage):
    def run(P):
        model = P.nn.Sequential(P.nn.ReLU(), P.nn.MaxPool2d(2, stride=1, padding=1, dilation=2))
        return model(P.tensor(np.ones((1, 1, 1, 1), np.float32))).item()

    assert run(stage.package) == run(torch) == -np.inf
