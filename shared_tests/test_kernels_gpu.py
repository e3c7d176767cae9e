"""The CUDA kernels of rung 5 beside the NumPy functions that they stand for, on a GPU or in Numba's simulator of one.

In the simulator every thread of a kernel is one of Python's, so shapes are tiny. It must be on before Numba is first
imported, so it has a process of its own: `nox -s simulator`. Elsewhere nothing here runs without a GPU.
"""

import inspect
import os
from types import SimpleNamespace

import numpy as np
import pytest

from .test_kernels import CHANGED, ELEMENTWISE, KERNELS, PARTS, agree, begins_within, counterparts, misfits

pytestmark = [
    pytest.mark.capability("compiled kernels"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # in the simulator NumPy divides by zero, and says so
]
dtypes = pytest.mark.parametrize("dtype", [np.dtype("float32"), np.dtype("float64")], ids=str)

LAYOUTS = ["in order", "transposed", "with gaps", "backwards"]
POISON = 77.0  # what stands in memory that nothing was written to


@pytest.fixture(scope="module")
def gpu(stage, request):
    """The module of kernels, what its arrays are made with, and what brings them to the host again."""
    numba = pytest.importorskip("numba")
    if request.config.getoption("device") == "stand-in":
        pytest.skip("not run: no device")
    if numba.config.ENABLE_CUDASIM:
        return SimpleNamespace(kernels=stage.part("kernels_gpu"), asarray=np.asarray, host=np.asarray, simulated=True)
    try:
        cupy = stage.part("device").gpu()
    except (ImportError, RuntimeError):
        pytest.skip("not run: no device")
    return SimpleNamespace(kernels=stage.part("kernels_gpu"), asarray=cupy.asarray, host=cupy.asnumpy, simulated=False)


def modules(gpu):
    """The modules of the package of kernels, one a topic."""
    return [module for module in vars(gpu.kernels).values() if inspect.ismodule(module)]


def replace(gpu, monkeypatch, name, value):
    """Put the value in place of what has that name, in all modules that import it."""
    for module in modules(gpu):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)


@pytest.fixture(autouse=True)
def strict(gpu, monkeypatch):
    """Results begin as POISON, and the simulator refuses indices below 0, which Python would count from the end."""
    empty = gpu.kernels.launch.empty

    def poisoned(x, *shape, dtype=None):
        out = empty(x, *shape, dtype=dtype)
        out[...] = POISON
        return out

    replace(gpu, monkeypatch, "empty", poisoned)
    if gpu.simulated:
        from numba.cuda.simulator.cudadrv.devicearray import FakeWithinKernelCUDAArray as Array

        for name in ("__getitem__", "__setitem__"):
            monkeypatch.setattr(Array, name, _refusing(getattr(Array, name)))


def _refusing(method):
    def access(array, index, *value):
        if index < 0:
            raise IndexError(f"index {index} is below 0")
        return method(array, index, *value)

    return access


@pytest.fixture
def launched(gpu, monkeypatch):
    """The names of the kernels that ran, filled while the test goes on; only the simulator has errors within one."""
    names, specialized = set(), gpu.kernels.launch.specialized

    def noted(kernel, *dtype, **constants):
        names.add(kernel.__name__)
        launch = specialized(kernel, *dtype, **constants)

        def run(*arguments):
            try:
                launch(*arguments)
            except (IndexError, ValueError) as error:
                pytest.fail(f"{kernel.__name__} began, and a GPU would have read what lies there: {error}")

        return run

    replace(gpu, monkeypatch, "specialized", noted)
    gpu.kernels.matrix_product._gemm_kernel.cache_clear()
    return names


# Arguments. Most numbers are small integers, whose sums are exact even in float32


class Drawn:
    """Arrays of one dtype."""

    def __init__(self, dtype, seed):
        self.dtype, self.rng = dtype, np.random.default_rng(seed)

    def __call__(self, *shape, low=-2, high=3, holes=False):
        x = self.rng.integers(low, high, shape).astype(self.dtype)
        if holes and x.size > 3:
            x.flat[self.rng.integers(0, x.size, 3)] = np.nan, np.inf, -np.inf
        return x


def laid(x, layout):
    """The same numbers, otherwise in memory."""
    if layout == "transposed":
        return x.T.copy().T
    if layout == "with gaps" and x.ndim:
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if layout == "backwards" and x.ndim:
        return x[::-1].copy()[::-1]
    return x


SHAPES = [(), (0,), (1,), (3, 5), (2, 3, 4, 7), (2100,)]
LAYERS = [((), 3, 5), ((0,), 3, 2), ((1,), 1, 1), ((2, 3), 17, 9), ((33,), 5, 40), ((2,), 260, 3), ((70,), 10, 1)]
PRODUCTS = [((), (), 3, 4, 5), ((2,), (2,), 3, 17, 33), ((2, 3), (2, 3), 5, 4, 1), ((2, 1), (3,), 2, 3, 4)]
PRODUCTS += [((4,), (), 5, 6, 7), ((), (3,), 2, 9, 3), ((0,), (0,), 2, 3, 4), ((3,), (3,), 1, 1, 1)]
LOGITS = [(0, 3), (1, 1), (2, 3), (5, 17), (33, 10), (3, 300), (2, 2200)]
NORMS = [  # shape, dim, and the shape of weight and bias
    ((7, 5), (0,), (1, 5)),
    ((3, 33), (0,), (1, 33)),
    ((5, 3, 4), (0, 2), (1, 3, 1)),
    ((2, 3, 3, 2), (0, 2, 3), (1, 3, 1, 1)),
    ((1, 1, 1, 1), (0, 2, 3), (1, 1, 1, 1)),
    ((3, 1, 60, 50), (0, 2, 3), (1, 1, 1, 1)),  # enough numbers for more than one part
    ((300, 33), (0,), (1, 33)),
    ((4, 6), (-1,), (6,)),  # layer norm
    ((2, 3, 4), (-1,), (4,)),
    ((3, 2, 5), (1, 2), (2, 5)),
    ((2, 2, 300), (-1,), (300,)),
    ((0, 3, 4), (-1,), (4,)),
]
WINDOWS = [  # kernel, stride, padding, dilation, image
    ((1, 1), (1, 1), (0, 0), (1, 1), (1, 1)),
    ((2, 2), (2, 2), (0, 0), (1, 1), (6, 7)),
    ((3, 3), (1, 1), (1, 1), (1, 1), (5, 4)),
    ((3, 2), (2, 1), (1, 0), (1, 2), (7, 6)),
    ((2, 3), (3, 2), (1, 1), (2, 1), (8, 9)),
    ((5, 1), (1, 3), (2, 0), (1, 1), (3, 7)),
]
CHANNELS = [(2, 1, 3, 5), (1, 1, 1, 1), (2, 1, 5, 17), (3, 2, 3, 2), (2, 3, 1, 1), (0, 1, 3, 2), (1, 1, 2, 40)]
SMALL = [(2, 3), (0, 2), (1, 1), (1, 5), (2, 17), (3, 1)]  # images and channels
STEPS = [(17,), (3, 4), (), (0,), (1,), (2100,)]


def elementwise(new, shape):
    return {"x": new(*shape, holes=True), "g": new(*shape, holes=True)}


def layers(new, rows, inside, outside):
    bias = new(outside) if rows else None
    x, g = new(*rows, inside, holes=inside == 17), new(*rows, outside, holes=inside == 17)
    return {"x": x, "weight": new(outside, inside), "bias": bias, "g": g}


def logits(new, n, classes):
    target = new.rng.integers(0, classes, n).astype([np.int64, np.int32, np.uint8][n % 3])
    return {"x": new(n, classes, low=-900 if classes > 17 else -9, high=10, holes=n > 4), "target": target, "g": new(n)}


def products(new, batch, second, n, k, m):
    return {"x": new(*batch, n, k), "y": new(*second, k, m)}


def tables(new, shape, dim):
    out = new(*shape, low=1, high=5) / new.dtype.type(4)
    return {"x": new(*shape, low=-9, high=10, holes=len(shape) > 2), "g": new(*shape), "out": out, "dim": dim}


def norms(new, shape, dim, shared):
    kept = [1 if i in dim or i - len(shape) in dim else size for i, size in enumerate(shape)]
    some = {"weight": new(*shared), "bias": new(*shared), "mean": new(*kept), "var": new(*kept, low=1, high=4)}
    return {"x": new(*shape), **some, "g": new(*shape), "eps": 0.1, "dim": dim}


def convolutions(new, window, n, groups, c, f):
    kernel, stride, padding, dilation, size = window
    sizes = {"stride": stride, "padding": padding, "dilation": dilation}
    x = new(n, groups * c, *size, holes=f == 17)
    bias = new(groups * f) if f > 1 else None
    g = new(n, groups * f, *places(window), holes=f == 17)
    return {"x": x, "weight": new(groups * f, c, *kernel), "bias": bias, "g": g, **sizes, "groups": groups}


def poolings(new, window, n, c, ceil_mode=False):
    kernel, stride, padding, dilation, size = window
    seen = [begins_within(*one) for one in zip(size, *window[:4])] if ceil_mode else places(window)
    x, g = new(n, c, *size, low=-3, high=2, holes=c > 2), new(n, c, *seen)
    moves = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return {"x": x, "g": g, **moves, "ceil_mode": ceil_mode}


def means(new, window, n, c, ceil_mode=False, count_include_pad=True, divisor_override=None):
    kernel, stride, padding, _, size = window
    drawn = poolings(new, (kernel, stride, padding, (1, 1), size), n, c, ceil_mode)
    del drawn["dilation"]
    return {**drawn, "count_include_pad": count_include_pad, "divisor_override": divisor_override}


def places(window):
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for k, s, p, d, n in zip(*window))


def steps(new, shape, momentum, flag):
    arrays = {name: new(*shape) for name in ("p", "buffer", "m")}
    arrays |= {name: new(*shape, low=1, high=4) for name in ("v", "u", "top")}
    arrays["v"] += arrays["m"] ** 2  # as is the mean of squares: no less than the square of the mean
    numbers = {"t": 3, "lr": 0.1, "momentum": momentum, "dampening": 0.3, "betas": (0.9, 0.99), "eps": 1e-3}
    return {**arrays, "g": new(*shape), **numbers, "weight_decay": 0.2, "flag": flag, "other": flag}


CONVOLUTIONS = [*[(window, *CHANNELS[0]) for window in WINDOWS], *[(WINDOWS[3], *some) for some in CHANNELS[1:]]]
CONVOLUTIONS += [(((3, 3), (1, 1), (1, 1), (1, 1), (12, 13)), 2, 1, 3, 4)]  # enough places for more than one part,
CONVOLUTIONS += [(((3, 3), (1, 1), (1, 1), (1, 1), (2, 3)), 1, 1, 29, 2)]  # and enough numbers under the kernel
POOLINGS = [*[(window, *SMALL[0]) for window in WINDOWS], *[(WINDOWS[3], *some) for some in SMALL[1:]]]
POOLINGS += [(window, *SMALL[0], True) for window in WINDOWS]
MEANS = [*POOLINGS, *[(WINDOWS[4], *SMALL[0], False, *how) for how in [(False, None), (True, 5), (False, 5)]]]
TABLES = [((5,), 0), ((3, 5), 1), ((3, 5), 0), ((2, 3, 20), -2), ((2, 300), -1), ((0, 3), 1), ((40, 1), -1)]
TABLES += [((2, 11, 20), 1), ((1, 2100), 1)]  # more numbers than have a place in registers
CASES = {  # how the arguments are drawn, and from what
    **dict.fromkeys(("rectify", "rectify_gradient"), (elementwise, [(shape,) for shape in SHAPES])),
    **dict.fromkeys(("affine", "affine_relu", "affine_to_x", "affine_to_weight", "affine_to_bias"), (layers, LAYERS)),
    "product": (products, PRODUCTS),
    **dict.fromkeys(("nll", "nll_gradient"), (logits, LOGITS)),
    **dict.fromkeys(("softmax_values", "softmax_gradient"), (tables, TABLES)),
    **dict.fromkeys(("log_softmax_values", "log_softmax_gradient"), (tables, TABLES)),
    **dict.fromkeys(("moments", "normalized", "normalized_gradient"), (norms, NORMS)),
    **dict.fromkeys(("convolve", "convolve_to_x", "convolve_to_weight"), (convolutions, CONVOLUTIONS)),
    "convolve_to_bias": (convolutions, [(WINDOWS[3], *some) for some in [(2, 1, 1, 3), (0, 1, 1, 2), (1, 1, 1, 1)]]),
    **dict.fromkeys(("max_pool", "max_pool_gradient"), (poolings, POOLINGS)),
    **dict.fromkeys(("avg_pool", "avg_pool_gradient"), (means, MEANS)),
    "sgd": (steps, [(shape, m, flag) for shape in STEPS for m, flag in [(0.0, False), (0.9, False), (0.9, True)]]),
    "rmsprop": (steps, [(shape, m, flag) for shape in STEPS for m, flag in [(0.0, True), (0.9, False), (0.9, True)]]),
    **dict.fromkeys(
        ("adam", "adagrad", "adadelta"), (steps, [(shape, 0.0, flag) for shape in STEPS for flag in (False, True)])
    ),
}
OF_ANY_SHAPE = {"rectify", "affine_to_bias", "convolve_to_bias", "moments", "max_pool", "avg_pool"}
OF_ANY_SHAPE |= {"softmax_values", "log_softmax_values"}
USUAL = {name: min(3, len(rows) - 1) for name, (_, rows) in CASES.items()}  # an ordinary one among them


def dtypes_of(i):
    """Both dtypes on a GPU. To the simulator they are the same Python, and each case has one, every kernel both."""
    both = np.dtype("float32"), np.dtype("float64")
    return both[(i + i // 2) % 2 :][:1] if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" else both


EACH = [(name, i, dtype) for name, (_, given) in CASES.items() for i in range(len(given)) for dtype in dtypes_of(i)]
every_case = pytest.mark.parametrize("name, i, dtype", EACH, ids=[f"{name}-{i}-{dtype}" for name, i, dtype in EACH])
every_entry_point = pytest.mark.parametrize("name", CASES)


def drawn(name, i, dtype):
    draw, given = CASES[name]
    return draw(Drawn(dtype, seed=i), *given[i])


# Running a kernel, or the function for which it stands


def functions(stage):
    """The NumPy functions, by name."""
    parts = [vars(stage.part(part)) for part in PARTS]
    found = {name: part[name] for part in parts for name in CASES if name in part}
    return {name: getattr(function, "numpy", function) for name, function in found.items()}


def entry_points(gpu, stage):
    """The kernels, each with the NumPy function for what it doesn't take, as device.py has it."""

    def entry_point(name, body):
        def run(*arguments):
            out = getattr(gpu.kernels, name)(*arguments)
            return body(*arguments) if out is NotImplemented else out

        return run

    return {name: entry_point(name, body) for name, body in functions(stage).items()}


def results(name, of, arguments):
    """What the functions make of the arguments, as a list of arrays."""
    with np.errstate(all="ignore"):
        out = KERNELS[name].results(SimpleNamespace(**of), **arguments)
    return list(out) if isinstance(out, tuple) else [out]


def wanted(name, stage, arguments):
    """The results of the NumPy functions, of copies of the arguments."""
    copies = {key: x.copy() if isinstance(x, np.ndarray) else x for key, x in arguments.items()}
    return results(name, functions(stage), copies)


def given(name, gpu, stage, arguments, i=0):
    """The results of the kernels, of copies of the arguments on the device, which lie there in many ways."""
    copies = {}
    for n, (key, x) in enumerate(arguments.items()):
        there = gpu.asarray(x.copy()) if isinstance(x, np.ndarray) else x
        copies[key] = laid(there, LAYOUTS[(i + n) % 4]) if isinstance(x, np.ndarray) and key not in CHANGED else there
    return [gpu.host(x) for x in results(name, entry_points(gpu, stage), copies)]


# Beside NumPy


@every_case
def test_a_kernel_gives_what_its_numpy_function_gives(gpu, stage, name, i, dtype):
    arguments = drawn(name, i, dtype)
    agree(given(name, gpu, stage, arguments, i), wanted(name, stage, arguments), KERNELS[name].exact)


@every_entry_point
def test_a_kernel_has_the_parameters_of_its_numpy_function(gpu, stage, name):
    entry_point, function = (inspect.signature(f) for f in (getattr(gpu.kernels, name), functions(stage)[name]))
    assert entry_point == function


def test_every_kernel_takes_part(gpu, stage, launched, monkeypatch):
    """None is left over that no entry_point launches, and no entry_point leaves what it is there for to NumPy."""
    monkeypatch.setattr(gpu.kernels.matrix_product, "TILED", True)
    kernels = {
        name for module in modules(gpu) for name, f in vars(module).items() if "Grid:" in (inspect.getdoc(f) or "")
    }
    ran = set()
    two = {"moments": (5, 8), "normalized": (3, 8), "normalized_gradient": (3, 8)}  # kernels, of batch and layer norm,
    two["max_pool_gradient"] = 1, 3  # and of windows that don't overlap and that do
    for name in CASES:
        for i in two.get(name, [USUAL[name]]):
            launched.clear()
            given(name, gpu, stage, drawn(name, i, np.dtype("float32")))
            assert launched, f"{name} launched no kernel"
            ran |= launched
    assert ran == kernels - {"_add_bias"}  # which follows cuBLAS


@pytest.mark.parametrize(
    "transposed, dtype",
    [(some, dtype) for i, some in enumerate([(False, False), (True, False), (False, True)]) for dtype in dtypes_of(i)],
    ids=str,
)
@pytest.mark.parametrize(
    "side, m, k, n, parts", [(32, 33, 19, 3, 3), (32, 33, 9, 34, 1), (64, 65, 9, 5, 1), (128, 5, 9, 129, 1)]
)
def test_every_tile_gives_the_matrix_product(gpu, monkeypatch, side, m, k, n, parts, transposed, dtype):
    """Of matrices that it doesn't divide, in one part and in several."""
    tiles = -(-m // side) * -(-n // side)
    monkeypatch.setattr(gpu.kernels.matrix_product, "_tiling", lambda *sizes: ((side, side), tiles, parts))
    new = Drawn(dtype, side)
    a, b, bias = new(m, k), new(k, n), new(n)
    there = [gpu.asarray(x.T.copy()).T if t else gpu.asarray(x) for x, t in zip((a, b), transposed)]
    np.testing.assert_array_equal(gpu.host(gpu.kernels.matmul(*there, gpu.asarray(bias))), a @ b + bias)


NOT_ON_GPU = {"error_function", "gelu_values"}  # of which one is CuPy's own, and the other has two results


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name[0] != "_" and name not in NOT_ON_GPU])
@dtypes
def test_an_elementwise_function_gives_what_its_text_gives(gpu, stage, launched, name, dtype):
    """On a GPU its text is compiled, and the simulator runs it."""
    function, numbers = dict(counterparts(stage))[name], ELEMENTWISE[name]
    compiled = gpu.kernels.elementwise.elementwise(function.numpy)
    for shape in [(3,), (2, 3, 5), (1100,)]:
        count = {"gelu_gradient": 3}.get(name, 2 if name.endswith("gradient") else 1)
        new = Drawn(dtype, len(shape))
        arrays = [new(*shape, low=-9, high=10, holes=True) / dtype.type(3) for _ in range(count)]
        there = [gpu.asarray(laid(x, layout)) for x, layout in zip(arrays, LAYOUTS)]
        with np.errstate(all="ignore"):
            agree([gpu.host(compiled(*there, *numbers))], [function.numpy(*arrays, *numbers)])
    assert launched == {"_map"}
    assert compiled(gpu.asarray(new(0)), *numbers) is NotImplemented
    if count > 1:
        others = [*there[:-1], there[-1][:1]], [*there[:-1], there[-1].astype("f2")]
        assert all(compiled(*arrays, *numbers) is NotImplemented for arrays in others)


@pytest.mark.parametrize("name", ["affine", "affine_relu"])
@pytest.mark.parametrize("biased", [True, False])
def test_a_bias_is_added_to_the_product_of_cublas(gpu, stage, monkeypatch, name, biased):
    monkeypatch.setattr(gpu.kernels.matrix_product, "TILED", False)
    arguments = drawn(name, 3, np.dtype("float32"))
    arguments["bias"] = arguments["bias"] if biased else None
    agree(given(name, gpu, stage, arguments), wanted(name, stage, arguments))


@pytest.mark.parametrize("name", ["affine", "affine_relu"])
@pytest.mark.parametrize("shape", [(1,), ()])
def test_a_bias_may_be_one_number(gpu, stage, name, shape):
    arguments = {**drawn(name, 3, np.dtype("float32")), "bias": np.full(shape, 2, np.float32)}
    agree(given(name, gpu, stage, arguments), wanted(name, stage, arguments))


@dtypes
def test_the_variance_of_numbers_far_from_zero_loses_no_digits(gpu, dtype):
    x = (1e4 + np.arange(600).reshape(3, 2, 100) % 7).astype(dtype)
    mean, var = (gpu.host(x) for x in gpu.kernels.moments(gpu.asarray(x), (0, 2)))
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2), keepdims=True), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2), keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("target", [3, -4, 2**31, 2**62])
def test_a_class_that_is_none_has_no_loss(gpu, target):
    """What lies in memory beyond the logits is not looked at."""
    x, g, target = (gpu.asarray(x) for x in (np.ones((2, 3)), np.ones(2), np.array([0, target])))
    losses, probabilities = gpu.kernels.nll(x, target)
    np.testing.assert_array_equal(np.isnan(gpu.host(losses)), [False, True])
    assert np.isfinite(gpu.host(gpu.kernels.nll_gradient(g, probabilities, target))).all()


@pytest.mark.parametrize("stride, padding, places", [(1, 1, 3), (2, 0, 1), (2, 1, 2)])
@pytest.mark.parametrize("x", [[np.nan, 2, np.nan, 1], [3, 3, 3, 3], [-np.inf] * 4, [np.inf, np.nan, np.inf, 0]])
def test_of_equal_numbers_the_first_gets_the_gradient_and_of_nans_the_last(gpu, stage, x, stride, padding, places):
    sizes = {"kernel_size": (2, 2), "stride": (stride,) * 2, "padding": (padding,) * 2, "dilation": (1, 1)}
    sizes["ceil_mode"] = False
    x, g = np.array(x, float).reshape(1, 1, 2, 2), np.arange(1.0, 1 + places**2).reshape(1, 1, places, places)
    for name in ("max_pool", "max_pool_gradient"):
        arguments = {"x": x, "g": g, **sizes}
        agree(given(name, gpu, stage, arguments), wanted(name, stage, arguments), exact=True)


@dtypes
@pytest.mark.parametrize("decoupled", [False, True])
def test_a_step_takes_its_count_and_rate_from_the_device(gpu, stage, decoupled, dtype):
    """So that a step that was recorded with them can be played with others."""
    new, numbers = Drawn(dtype, 1), ((0.9, 0.99), 1e-8, 0.2, decoupled)
    for t, lr in [(1, 0.1), (7, 0.3)]:
        arrays = [new(9) for _ in range(3)] + [new(9, low=1, high=4) for _ in range(2)]
        there = [gpu.asarray(x.copy()) for x in arrays]
        count, rate = gpu.asarray(np.array(t, np.float32)), gpu.asarray(np.array(lr))
        steps = functions(stage)
        for name, state, ours, theirs in [
            ("adam", 3, (t, lr, *numbers), (count, rate, *numbers)),
            ("sgd", 1, (lr, 0.9, 0.3, 0.1, True), (rate, 0.9, 0.3, 0.1, True)),
            ("rmsprop", 3, (lr, 0.9, 0.1, 0.2, 0.9), (rate, 0.9, 0.1, 0.2, 0.9)),
            ("adagrad", 1, (t, lr, 0.1, 0.1, 0.2), (count, rate, 0.1, 0.1, 0.2)),
            ("adadelta", 2, (lr, 0.9, 0.1, 0.2), (rate, 0.9, 0.1, 0.2)),
        ]:
            for kept in (arrays, there):
                kept[2:] = [abs(x) + 1 for x in kept[2:]]
            with np.errstate(all="ignore"):
                steps[name](*arrays[: 2 + state], *ours)
            getattr(gpu.kernels, name)(*there[: 2 + state], *theirs)
            agree([gpu.host(x) for x in there], arrays)


@every_entry_point
def test_two_runs_give_the_same_bits(gpu, stage, name):
    dtype = np.dtype("float32")
    arguments = drawn(name, USUAL[name], dtype)
    for key, x in arguments.items():
        if isinstance(x, np.ndarray) and x.dtype == dtype:
            arguments[key] = abs(x) + np.random.default_rng(1).random(x.shape).astype(dtype)
    one, other = (given(name, gpu, stage, arguments) for _ in range(2))
    assert [x.tobytes() for x in one] == [x.tobytes() for x in other]


# At the entry_point


@every_entry_point
def test_shapes_that_do_not_fit_are_refused(gpu, stage, name, launched):
    """One array has a dim less, a dim more or another size: where NumPy refuses that, so does the entry_point."""
    arguments, refused = drawn(name, USUAL[name], np.dtype("float64")), 0
    for key, x in arguments.items():
        for shape in misfits(x.shape) if isinstance(x, np.ndarray) else ():
            changed = {**arguments, key: np.resize(x, shape)}
            try:
                wanted(name, stage, changed)
            except (IndexError, ValueError):
                with pytest.raises((IndexError, ValueError)):
                    given(name, gpu, stage, changed)
                refused += 1
    assert refused or name in OF_ANY_SHAPE


@pytest.mark.parametrize("name", ["affine", "convolve", "rectify_gradient", "nll_gradient", "sgd", "adam"])
def test_arrays_of_several_dtypes_are_left_to_numpy(gpu, stage, name):
    """A kernel would take the bits of the one for the other."""
    arguments = drawn(name, 3 if name == "affine" else 1, np.dtype("float32"))
    arguments["g"], arguments["bias"] = arguments["g"].astype(np.float64), np.ones(5 if name == "convolve" else 9)
    arguments = {key: arguments[key] for key in drawn(name, 1, np.dtype("float32"))}
    agree(given(name, gpu, stage, arguments), wanted(name, stage, arguments))
