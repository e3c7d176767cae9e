"""The training steps in JAX: all of a step is one function, compiled by `jax.jit`, with channels last in memory."""

from functools import partial

from .steps import SMALL_CNN, float32, image_batches, moons_batch, moons_weights, random_arrays


def moons(jax):
    def loss(weights, points, labels):
        margin = jax.nn.relu(1 - labels * three_layers(jax, weights, points)).mean()
        return margin + 1e-4 * sum((w * w).sum() for w in weights)

    return training_step(jax, loss, list(float32(moons_weights()).values()), [moons_batch()], partial(sgd, 0.1))


def mlp(jax, size=64):
    def loss(weights, images, labels):
        return cross_entropy(jax, three_layers(jax, weights, images), labels)

    weights = drawn((128, 784), (128,), (64, 128), (64,), (10, 64), (10,))
    return training_step(jax, loss, weights, image_batches((784,), size), partial(sgd, 0.1))


def cnn(jax, size=64):
    lax = jax.lax

    def loss(weights, x, labels):
        for kernels, bias in (weights[:2], weights[2:4]):
            x = lax.conv_general_dilated(x, kernels, (1, 1), "SAME", dimension_numbers=("NHWC", "OIHW", "NHWC"))
            x = jax.nn.relu(x + bias)
            x = lax.reduce_window(x, -float("inf"), lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        w1, b1, w2, b2 = weights[4:]
        x = jax.nn.relu(x.reshape(len(x), -1) @ w1.T + b1)
        return cross_entropy(jax, x @ w2.T + b2, labels)

    weights = drawn((16, 1, 3, 3), (16,), (32, 16, 3, 3), (32,), (128, 1568), (128,), (10, 128), (10,))
    weights[4] = weights[4].reshape(128, 32, 7, 7).transpose(0, 2, 3, 1).reshape(128, 1568)  # to channels last
    batches = [(x.reshape(size, 28, 28, 1), y) for x, y in image_batches((1, 28, 28), size)]
    return training_step(jax, loss, weights, batches, partial(adam, 1e-3, None))


def small_cnn(jax):
    def loss(weights, x, labels):
        for kernels, bias in (weights[:2], weights[2:4]):
            x = jax.lax.conv_general_dilated(x, kernels, (1, 1), "VALID", dimension_numbers=("NHWC", "OIHW", "NHWC"))
            x = jax.nn.relu(x + bias)
        return cross_entropy(jax, x.reshape(len(x), -1) @ weights[4].T + weights[5], labels)

    weights = drawn(*SMALL_CNN.values())
    weights[4] = weights[4].reshape(10, 16, 4, 4).transpose(0, 2, 3, 1).reshape(10, 256)  # meets channels last
    batches = [(x.reshape(-1, 8, 8, 1), y) for x, y in image_batches((1, 8, 8))]
    return training_step(jax, loss, weights, batches, partial(sgd, 0.1))


def three_layers(jax, weights, x):
    w1, b1, w2, b2, w3, b3 = weights
    x = jax.nn.relu(x @ w1.T + b1)
    x = jax.nn.relu(x @ w2.T + b2)
    return x @ w3.T + b3


def cross_entropy(jax, logits, labels):
    right = jax.nn.one_hot(labels, logits.shape[1])
    return -(right * jax.nn.log_softmax(logits)).sum() / len(labels)


def drawn(*shapes):
    """The weights that a model with these shapes gets in the other libraries."""
    return list(random_arrays(dict(enumerate(shapes))).values())


def training_step(jax, loss, weights, batches, optimizer):
    """A step of the optimizer down `loss(weights, inputs, labels)`, on one batch after another."""

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(weights, m, v, t, *batch):
        value, g = jax.value_and_grad(loss)(weights, *batch)
        return value, *optimizer(jax, weights, g, m, v, t)

    state = weights, [0 * w for w in weights], [0 * w for w in weights]
    done = 0

    def step():
        nonlocal state, done
        done += 1
        value, *state = update(*state, done, *batches[(done - 1) % len(batches)])
        return value.item()

    return step


def sgd(lr, jax, weights, g, m, v, t):
    return [w - lr * d for w, d in zip(weights, g)], m, v


def nesterov(lr, momentum, decay, jax, weights, g, m, v, t):
    g = [d + decay * w for w, d in zip(weights, g)]
    m = [momentum * m + d for m, d in zip(m, g)]
    return [w - lr * (d + momentum * m) for w, m, d in zip(weights, m, g)], m, v


def adam(lr, decay, jax, weights, g, m, v, t, betas=(0.9, 0.999)):
    """Adam or, with a decay for each weight, AdamW."""
    beta1, beta2 = betas
    m = [beta1 * m + (1 - beta1) * d for m, d in zip(m, g)]
    v = [beta2 * v + (1 - beta2) * d * d for v, d in zip(v, g)]
    roots = [jax.numpy.sqrt(v / (1 - beta2**t)) + 1e-8 for v in v]
    kept = [w * (1 - lr * d) for w, d in zip(weights, decay)] if decay else weights
    return [w - lr / (1 - beta1**t) * m / root for w, m, root in zip(kept, m, roots)], m, v
