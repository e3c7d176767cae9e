"""What is timed: each function here takes a library and gives a step, a function that does the work once.

A step gives a number that must be the same in every library: the loss, of a step that trains, or a function that finds
the number afterwards, so that this isn't timed. Weights and data are the same for all; they are drawn here.
"""

import math
import os
import random
from functools import partial
from importlib import import_module
from itertools import cycle
from types import SimpleNamespace

# The libraries, behind the same names


def library(contender):
    """What the steps use of the library that a contender's name begins with; all have it under the same names."""
    module = contender.split()[0]
    if module == "torch":
        return torch_library(tuned=contender == "torch tuned")
    if module == "numpy":
        import numpy as np

        return SimpleNamespace(constant=np.asarray, matmul=np.matmul)
    if module == "micrograd":
        return SimpleNamespace(MLP=import_module("micrograd.nn").MLP, constant=import_module("micrograd.engine").Value)
    rung = import_module(module)
    if module == "jax":
        return rung
    if module == "stage1_scalar":
        constant = partial(rung.Tensor, requires_grad=False)
        MLP, entropy = import_module("stage1_scalar.moons").MLP, import_module("stage1_scalar.gpt").cross_entropy
        return SimpleNamespace(Tensor=rung.Tensor, dot=rung.dot, MLP=MLP, cross_entropy=entropy, constant=constant)
    nn, optim = (getattr(rung, name, None) for name in ("nn", "optim"))
    losses = getattr(nn, "functional", None)
    lib = SimpleNamespace(
        Tensor=rung.Tensor, nn=nn, conv=nn, losses=losses, optim=optim, constant=rung.from_numpy, variable=rung.Tensor
    )
    if contender.endswith(" captured"):
        lib.capture = rung.capture
    return lib


def torch_library(tuned):
    """PyTorch as a beginner uses it or, tuned, with channels last in memory and its fused optimizers."""
    import torch
    import torch.nn.functional

    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    lib = SimpleNamespace(
        nn=torch.nn,
        conv=torch.nn,
        losses=torch.nn.functional,
        optim=torch.optim,
        constant=torch.from_numpy,
        variable=lambda array: torch.from_numpy(array).requires_grad_(),
        matmul=torch.matmul,
    )
    if tuned:

        def channels_last(x):
            return x.to(memory_format=torch.channels_last) if x.ndim == 4 else x

        lib.constant = lambda array: channels_last(torch.from_numpy(array))
        lib.conv = SimpleNamespace(
            Conv2d=lambda *args, **options: torch.nn.Conv2d(*args, **options).to(memory_format=torch.channels_last),
            MaxPool2d=torch.nn.MaxPool2d,
        )
        lib.optim = SimpleNamespace(
            SGD=partial(torch.optim.SGD, fused=True),
            Adam=partial(torch.optim.Adam, fused=True),
            AdamW=partial(torch.optim.AdamW, fused=True),
        )
    return lib


# Training steps


def scalar_moons(lib):
    """micrograd's training loop, on all 100 points: 2-16-16-1, max-margin loss and L2."""
    points, labels = two_moons()
    model = lib.MLP(2, [16, 16, 1])
    weights = list(moons_weights().values())
    for layer, weight, bias in zip(model.layers, weights[::2], weights[1::2]):
        for neuron, row, b in zip(layer.neurons, weight, bias):
            for p, value in zip(neuron.parameters(), [*row, b]):
                p.data = value

    def step():
        inputs = [list(map(lib.constant, point)) for point in points]
        scores = list(map(model, inputs))
        losses = [(1 + -label * score).relu() for (label,), score in zip(labels, scores)]
        loss = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad
        return loss.data

    return step


def moons(lib):
    """The same network and loss on tensors, with SGD."""
    nn = lib.nn
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    set_weights(lib, model, float32(moons_weights()))
    parameters = list(model.parameters())
    optimizer = lib.optim.SGD(parameters, lr=0.1)
    return training_step(lib, model, optimizer, partial(max_margin, parameters), [moons_batch()])


def moons_without_modules(lib):
    """The same on a rung that has tensors but neither modules nor optimizers; weights lie as (in, out)."""
    w1, b1, w2, b2, w3, b3 = parameters = [lib.Tensor(array.T) for array in float32(moons_weights()).values()]
    points, labels = moons_batch()

    def step():
        for p in parameters:
            p.grad = None
        x = (lib.constant(points) @ w1 + b1).relu()
        x = (x @ w2 + b2).relu()
        loss = max_margin(parameters, x @ w3 + b3, lib.constant(labels))
        loss.backward()
        for p in parameters:
            p.data -= 0.1 * p.grad
        return loss.item()

    return step


def mlp(lib, size=64):
    """784-128-64-10 with SGD."""
    model = three_layers(lib)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    return training_step(lib, model, optimizer, lib.losses.cross_entropy, image_batches((784,), size))


def mlp_with_adam(lib):
    """The same with Adam, fast enough to kill half of the ReLUs: their moments decay and become denormal numbers."""
    model = three_layers(lib)
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-2)
    return training_step(lib, model, optimizer, lib.losses.cross_entropy, image_batches((784,)))


def three_layers(lib):
    nn = lib.nn
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    set_weights(lib, model)
    return model


def cnn(lib, size=64):
    """The network for MNIST: convolutions of 16 and 32 kernels, 3×3, each pooled 2×2, then 1568-128-10, with Adam."""
    nn, conv = lib.nn, lib.conv
    model = nn.Sequential(
        *(conv.Conv2d(1, 16, 3, padding=1), nn.ReLU(), conv.MaxPool2d(2)),
        *(conv.Conv2d(16, 32, 3, padding=1), nn.ReLU(), conv.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10)),
    )
    set_weights(lib, model)
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-3)
    return training_step(lib, model, optimizer, lib.losses.cross_entropy, image_batches((1, 28, 28), size))


def small_cnn(lib):
    """The network of the ladder picture: convolutions of 8 and 16 kernels, 3×3, on 8×8 images, 256-10, SGD."""
    nn, conv = lib.nn, lib.conv
    model = nn.Sequential(
        *(conv.Conv2d(1, 8, 3), nn.ReLU(), conv.Conv2d(8, 16, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 10)),
    )
    set_weights(lib, model)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    return training_step(lib, model, optimizer, lib.losses.cross_entropy, image_batches((1, 8, 8)))


def small_cnn_of_patches(lib):
    """The same on a rung that has tensors but no convolution: an index takes the patches of which it is the product."""
    import numpy as np

    weights = [lib.Tensor(array) for array in random_arrays(SMALL_CNN).values()]
    k1, b1, k2, b2, w, b = weights
    batches = cycle(image_batches((1, 8, 8)))

    def convolution(x, kernels, bias):
        n, c, size = x.shape[0], x.shape[1], x.shape[2] - 2
        y, x0, dy, dx = np.ogrid[:size, :size, :3, :3]
        patches = x[:, :, y + dy, x0 + dx]  # (n, c, size, size, 3, 3)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(n * size * size, c * 9)
        out = rows @ kernels.reshape(-1, c * 9).T + bias
        return out.reshape(n, size, size, -1).permute(0, 3, 1, 2).relu()

    def step():
        images, labels = next(batches)
        for p in weights:
            p.grad = None
        x = convolution(convolution(lib.constant(images), k1, b1), k2, b2)
        logits = x.reshape(len(labels), -1) @ w.T + b
        loss = -logits.log_softmax(-1)[np.arange(len(labels)), labels].mean()
        loss.backward()
        for p in weights:
            p.data -= 0.1 * p.grad
        return loss.item()

    return step


def small_cnn_of_numbers(lib):
    """The same number by number."""
    k1, b1, k2, b2, w, b = ([list(map(lib.Tensor, row)) for row in rows] for rows in flat_weights(SMALL_CNN))
    weights = [p for rows in (k1, b1, k2, b2, w, b) for row in rows for p in row]
    batches = cycle(image_batches((1, 8, 8)))

    def convolution(x, kernels, bias):
        """[[[number]]] of channels, rows and columns -> the same of as many channels as there are kernels."""
        size = len(x[0]) - 2
        patches = [
            [[p for plane in x for row in plane[i : i + 3] for p in row[j : j + 3]] for j in range(size)]
            for i in range(size)
        ]
        return [
            [[(lib.dot(kernel, patch) + shift).relu() for patch in row] for row in patches]
            for kernel, (shift,) in zip(kernels, bias)
        ]

    def step():
        images, labels = next(batches)
        loss = 0
        for image, label in zip(images.tolist(), labels):
            x = [[list(map(lib.constant, row)) for row in plane] for plane in image]
            x = convolution(convolution(x, k1, b1), k2, b2)
            x = [p for plane in x for row in plane for p in row]
            loss += lib.cross_entropy([lib.dot(row, x) + shift for row, (shift,) in zip(w, b)], label)
        loss = loss / len(labels)
        for p in weights:
            p.grad = 0.0
        loss.backward()
        for p in weights:
            p.data -= 0.1 * p.grad
        return loss.data

    return step


# The shapes of its weights, in the order of the modules
SMALL_CNN = {"0": (8, 1, 3, 3), "1": (8,), "2": (16, 8, 3, 3), "3": (16,), "4": (10, 256), "5": (10,)}


def training_step(lib, model, optimizer, loss_function, batches, clip=False):
    """One step of training on the next of the batches, which come round again and again."""
    batches = cycle(batches)

    def train(images, labels):
        optimizer.zero_grad()
        loss = loss_function(model(images), labels)
        loss.backward()
        if clip:
            lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    train = getattr(lib, "capture", lambda step: step)(train)
    return lambda: train(*map(lib.constant, next(batches))).item()


def max_margin(parameters, scores, labels):
    """The max-margin loss plus L2."""
    return (1 - labels * scores).relu().mean() + 1e-4 * sum((p * p).sum() for p in parameters)


# One layer, and what the machine can do


def convolution(lib, channels, kernels, kernel_size, image_size, images=False, **options):
    """Forward and backward through one Conv2d at batch 32, from a given gradient of its output.

    The gradients are those of the weight, the bias and the input. Where the input is images, as in a network's first
    layer, it needs none, and none is asked for. All arrays lie as (N, C, H, W), for every contender.
    """
    import numpy as np

    rng = np.random.default_rng(2)
    layer = lib.conv.Conv2d(channels, kernels, kernel_size, **options)
    set_weights(lib, layer)
    array = rng.standard_normal((32, channels, image_size, image_size), np.float32)
    x = lib.constant(array) if images else lib.variable(array)
    leaves = [layer.weight, layer.bias] if images else [layer.weight, layer.bias, x]
    gradient = lib.constant(rng.standard_normal(tuple(layer(x).shape), np.float32))

    def step():
        for leaf in leaves:
            leaf.grad = None
        layer(x).backward(gradient)
        return checksum

    def checksum():
        return sum(weighted_sum(leaf.grad) for leaf in leaves)

    return step


def weighted_sum(gradient):
    """A sum that notices it if two of the numbers change places."""
    import numpy as np

    array = np.asarray(gradient, np.float64).ravel()
    return float(array @ np.linspace(1, 2, array.size))


SGEMM_SIZE = 2048
COPY_SIZE = 32 * 2**20  # numbers, 128 MiB: more than the caches hold


def sgemm(lib):
    """The product of two large square matrices in float32, into one that is there."""
    import numpy as np

    rng = np.random.default_rng(3)
    x, y, out = (lib.constant(rng.standard_normal((SGEMM_SIZE,) * 2, np.float32)) for _ in range(3))

    def step():
        lib.matmul(x, y, out=out)
        return lambda: weighted_sum(out[0])

    return step


def copy(lib):
    """Copy a large array in float32 to another."""
    import numpy as np

    x, out = (lib.constant(np.full(COPY_SIZE, value, np.float32)) for value in (1, 0))

    def step():
        out[...] = x
        return lambda: float(out[:: 2**20].sum())

    return step


def flops(build):
    """The floating-point operations of a step's matrix products and convolutions, as counted by PyTorch."""
    from torch.utils.flop_counter import FlopCounterMode

    step = build(library("torch"))
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


# Weights and data


def two_moons(n=100):
    """Two half circles with some noise: n points [x, y] and as many labels [±1]."""
    rng = random.Random(0)
    points, labels = [], []
    for i in range(n):
        angle, label = math.pi * rng.random(), 1 - 2 * (i % 2)
        x, y = (1 - label) / 2 + label * math.cos(angle), (1 - label) / 4 + label * math.sin(angle)
        points.append([x + rng.gauss(0, 0.1), y + rng.gauss(0, 0.1)])
        labels.append([label])
    return points, labels


def moons_batch():
    import numpy as np

    return tuple(np.array(part, np.float32) for part in two_moons())


def moons_weights():
    """The weights of 2-16-16-1, by PyTorch's names; lists, since rung 1 has no NumPy; uniform within ±1/√fan_in."""
    rng = random.Random(1)
    weights = {}
    for name, rows, columns in (("0", 16, 2), ("2", 16, 16), ("4", 1, 16)):
        bound = 1 / math.sqrt(columns)
        weights[f"{name}.weight"] = [[rng.uniform(-bound, bound) for _ in range(columns)] for _ in range(rows)]
        weights[f"{name}.bias"] = [rng.uniform(-bound, bound) for _ in range(rows)]
    return weights


def float32(lists):
    import numpy as np

    return {name: np.array(numbers, np.float32) for name, numbers in lists.items()}


def image_batches(shape, size=64, count=16):
    """Random images, each brighter at places that depend on its label."""
    import numpy as np

    rng = np.random.default_rng(0)
    bright = rng.random((10, *shape)) < 0.2
    labels = rng.integers(0, 10, (count, size))
    return [((0.5 * rng.random((size, *shape)) + 0.5 * bright[y]).astype(np.float32), y) for y in labels]


def random_arrays(shapes):
    """An array for each name, uniform within ±1/√fan_in."""
    import numpy as np

    rng = np.random.default_rng(1)
    bounds = {name: 1 / math.sqrt(math.prod(shape[1:])) for name, shape in shapes.items()}
    return {name: rng.uniform(-bounds[name], bounds[name], shape).astype(np.float32) for name, shape in shapes.items()}


def flat_weights(shapes):
    """The same as lists, each with a list of numbers for every index of the first dim."""
    return [array.reshape(len(array), -1).tolist() for array in random_arrays(shapes).values()]


def set_weights(lib, model, arrays=None):
    """Load the arrays into the model, or random ones of its shapes."""
    arrays = arrays or random_arrays({name: tuple(array.shape) for name, array in model.state_dict().items()})
    model.load_state_dict({name: lib.constant(array) for name, array in arrays.items()})


def set_parameters(lib, model):
    """Load random arrays into the model's parameters; its buffers stay."""
    arrays = random_arrays({name: tuple(p.shape) for name, p in model.named_parameters()})
    model.load_state_dict({**model.state_dict(), **{name: lib.constant(array) for name, array in arrays.items()}})
