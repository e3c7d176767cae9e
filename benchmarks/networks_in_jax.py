"""The steps of larger networks in JAX; weights come in the order in which PyTorch's modules have them.

Batch norm's running statistics, which training has no use for, are left out.
"""

from functools import partial

import numpy

from .networks import HEADS, LAYERS, LENGTH, NAME, SYMBOLS, WIDTH, text_batches
from .steps import image_batches
from .steps_in_jax import adam, cross_entropy, drawn, nesterov, training_step


def resnet(jax):
    lax = jax.lax

    def convolution(x, kernels, stride=1):
        border = kernels.shape[2] // 2
        sizes = {"window_strides": (stride, stride), "padding": ((border, border), (border, border))}
        return lax.conv_general_dilated(x, kernels, **sizes, dimension_numbers=("NHWC", "OIHW", "NHWC"))

    def batch_norm(x, weight, bias):
        return weight * jax.nn.standardize(x, axis=(0, 1, 2), epsilon=1e-5) + bias

    def loss(weights, x, labels):
        take = iter(weights).__next__
        x = jax.nn.relu(batch_norm(convolution(x, take()), take(), take()))
        for _ in range(9):
            conv1, bn1, conv2, bn2 = take(), (take(), take()), take(), (take(), take())
            stride = 1 if conv1.shape[0] == conv1.shape[1] else 2
            out = jax.nn.relu(batch_norm(convolution(x, conv1, stride), *bn1))
            out = batch_norm(convolution(out, conv2), *bn2)
            if stride == 2:
                x = batch_norm(convolution(x, take(), stride), take(), take())
            x = jax.nn.relu(out + x)
        return cross_entropy(jax, x.mean((1, 2)) @ take().T + take(), labels)

    def layer(kernels, channels, size=3):
        return (kernels, channels, size, size), (kernels,), (kernels,)

    def blocks(kernels, channels):
        """Three blocks, with a shortcut of the first if the number of channels changes."""
        shortcut = layer(kernels, channels, 1) if kernels != channels else ()
        return *layer(kernels, channels), *layer(kernels, kernels), *shortcut, *layer(kernels, kernels) * 4

    weights = drawn(*layer(16, 3), *blocks(16, 16), *blocks(32, 16), *blocks(64, 32), (10, 64), (10,))
    batches = [(x.transpose(0, 2, 3, 1), y) for x, y in image_batches((3, 32, 32))]
    return training_step(jax, loss, weights, batches, partial(nesterov, 0.01, 0.9, 5e-4))


def gpt(jax):
    np = jax.numpy
    later = np.triu(np.ones((LENGTH, LENGTH), bool), 1)

    def layer_norm(x, weight, bias):
        return weight * jax.nn.standardize(x, epsilon=1e-5) + bias

    def attention(x, qkv, qkv_bias, proj, proj_bias):
        n, t, d = x.shape
        q, k, v = (y.reshape(n, t, HEADS, -1).swapaxes(1, 2) for y in np.split(x @ qkv.T + qkv_bias, 3, 2))
        scores = np.where(later, -np.inf, q @ k.swapaxes(2, 3) * (d // HEADS) ** -0.5)
        return (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(n, t, d) @ proj.T + proj_bias

    def loss(weights, tokens, following):
        take = iter(weights).__next__
        x = take()[tokens] + take()
        for _ in range(LAYERS):
            x = x + attention(layer_norm(x, take(), take()), take(), take(), take(), take())
            up = layer_norm(x, take(), take()) @ take().T + take()
            x = x + jax.nn.gelu(up, approximate=False) @ take().T + take()
        logits = layer_norm(x, take(), take()) @ take().T
        return cross_entropy(jax, logits.reshape(-1, SYMBOLS), following)

    def linear(columns, rows):
        return (rows, columns), (rows,)

    norm = (WIDTH,), (WIDTH,)
    block = *norm, *linear(WIDTH, 3 * WIDTH), *linear(WIDTH, WIDTH), *norm
    block += *linear(WIDTH, 4 * WIDTH), *linear(4 * WIDTH, WIDTH)
    weights = drawn((SYMBOLS, WIDTH), (LENGTH, WIDTH), *block * LAYERS, *norm, (SYMBOLS, WIDTH))
    return training_step(jax, loss, weights, text_batches(), partial(adam, 1e-3, [0.01] * len(weights)))


def microgpt(jax):
    np = jax.numpy
    width, heads, t = 16, 4, len(NAME) - 1
    future = np.triu(np.full((t, t), -np.inf), 1)

    def rms_norm(x):
        return x * ((x * x).mean(-1, keepdims=True) + 1e-5) ** -0.5

    def loss(weights, tokens, following):
        token, position, query, key, value, projection, up, down, output = weights
        x = rms_norm(token[tokens] + position[:t])
        normed = rms_norm(x)
        q, k, v = ((normed @ w.T).reshape(t, heads, -1).swapaxes(0, 1) for w in (query, key, value))
        share = jax.nn.softmax(q @ k.swapaxes(1, 2) / (width // heads) ** 0.5 + future)
        x = x + (share @ v).swapaxes(0, 1).reshape(t, width) @ projection.T
        x = x + jax.nn.relu(rms_norm(x) @ up.T) @ down.T
        return cross_entropy(jax, x @ output.T, following)

    square = width, width
    weights = drawn((27, width), (16, width), square, square, square, square, (64, width), (width, 64), (27, width))
    name = numpy.array(NAME)
    return training_step(jax, loss, weights, [(name[:-1], name[1:])], partial(adam, 0.01, None, betas=(0.85, 0.99)))
