"""Single ops of networks, forward and backward, on arrays of 10⁴ to 10⁶ numbers, and AdamW's step."""

from types import SimpleNamespace

from .steps import weighted_sum

SIZES = 2**13, 2**17, 2**20
ROW = 128  # numbers
WORDS = 1000  # rows of an Embedding's table

# For so many numbers: the shapes of the arrays that get a gradient, and the arrays that don't


def rows(n, rng):
    return [(n // ROW, ROW)], []


def columns(n, rng):
    return [(n // (64 * ROW), 64, ROW)], []


def affine_rows(n, rng):
    return [(n // ROW, ROW), (ROW,), (ROW,)], []


def small_matrices(n, rng):
    return [(n // 2048, 64, 32), (n // 2048, 32, 64)], []


def leading_dims(n, rng):
    return [(ROW,)], [rng.standard_normal((n // (64 * ROW), 64, ROW), "f4")]


def table(n, rng):
    return [(WORDS, ROW)], [rng.integers(0, WORDS, n // ROW)]


def places(n, rng):
    return [(n,)], [rng.integers(0, n, n)]


OPERATIONS = {
    "gelu": (rows, lambda f, x: f.gelu(x)),
    "gelu-tanh": (rows, lambda f, x: f.gelu(x, approximate="tanh")),
    "erf": (rows, lambda f, x: f.erf(x)),
    "exp": (rows, lambda f, x: f.exp(x)),
    "tanh": (rows, lambda f, x: f.tanh(x)),
    "softmax": (rows, lambda f, x: f.softmax(x, -1)),
    "softmax-dim-1": (columns, lambda f, x: f.softmax(x, 1)),
    "log-softmax": (rows, lambda f, x: f.log_softmax(x, -1)),
    "log-softmax-dim-1": (columns, lambda f, x: f.log_softmax(x, 1)),
    "layer-norm": (affine_rows, lambda f, x, weight, bias: f.layer_norm(x, (ROW,), weight, bias)),
    "matmul-64-32-64": (small_matrices, lambda f, x, y: x @ y),
    "add-bias": (leading_dims, lambda f, bias, x: x + bias),
    "embedding": (table, lambda f, weight, index: f.embedding(index, weight)),
    "index": (places, lambda f, x, index: x[index]),
    "dropout": (rows, lambda f, x: f.dropout(x)),
}


def operation(lib, name, n):
    """A step of the op on n numbers, forward and backward, from a given gradient of its output."""
    arrays, constants, gradient = inputs(name, n)
    f, compute = functions(lib), OPERATIONS[name][1]
    leaves, constants = [lib.variable(x) for x in arrays], [lib.constant(x) for x in constants]
    start, out = lib.constant(gradient), None

    def step():
        nonlocal out
        out = None  # so that its memory is there for the next
        for leaf in leaves:
            leaf.grad = None
        out = compute(f, *leaves, *constants)
        out.backward(start)
        return lambda: checksum(name, out.detach(), [leaf.grad for leaf in leaves], gradient)

    return step


def functions(lib):
    """What the ops are made of, of PyTorch or a rung."""
    names = "gelu", "softmax", "log_softmax", "layer_norm", "embedding", "dropout"
    methods = {"erf": lambda x: x.erf(), "exp": lambda x: x.exp(), "tanh": lambda x: x.tanh()}
    return SimpleNamespace(**methods, **{name: getattr(lib.losses, name) for name in names})


def inputs(name, n):
    """Of an op on n numbers: the arrays that get a gradient, those that don't, and the gradient of the output."""
    import numpy as np

    rng = np.random.default_rng(2)
    shapes, constants = OPERATIONS[name][0](n, rng)
    arrays = [rng.standard_normal(shape, "f4") for shape in shapes]
    shape = {
        "matmul-64-32-64": (n // 2048, 64, 64),
        "add-bias": (n // (64 * ROW), 64, ROW),
        "embedding": (n // ROW, ROW),
    }.get(name, shapes[0])
    return arrays, constants, rng.standard_normal(shape, "f4")


def checksum(name, out, gradients, gradient):
    """A number that all libraries must agree on. Dropout's numbers are random: of them, whether they are right."""
    import numpy as np

    out, gradients = np.asarray(out), [np.asarray(g) for g in gradients]
    if name == "dropout":
        kept = out != 0
        right = gradients[0] == 2 * gradient * kept
        return round(right.mean(), 3) + round(kept.mean(), 1)  # an input may be 0 itself
    return weighted_sum(out) + sum(map(weighted_sum, gradients))


def adamw(lib, n):
    """AdamW's step on n numbers in eight parameters, half of them in a group without decay."""
    parameters = [lib.variable(array) for array in parts(n)]
    for p, gradient in zip(parameters, parts(n, seed=3)):
        p.grad = lib.constant(gradient)
    groups = [{"params": parameters[::2]}, {"params": parameters[1::2], "weight_decay": 0.0}]
    optimizer = lib.optim.AdamW(groups, lr=1e-3)

    def step():
        optimizer.step()
        return lambda: sum(weighted_sum(p.detach()) for p in parameters)

    return step


def parts(n, seed=2):
    """n numbers in eight arrays."""
    import numpy as np

    return list(np.random.default_rng(seed).standard_normal((8, n // 8), "f4"))
