"""Single ops in JAX, compiled: their output and their gradients."""

from functools import partial
from types import SimpleNamespace

from .operations import OPERATIONS, checksum, inputs, parts
from .steps import weighted_sum
from .steps_in_jax import adam


def operation(jax, name, n):
    arrays, constants, gradient = inputs(name, n)

    @jax.jit
    def forward_and_backward(key, arrays, constants, gradient):
        f = functions(jax, key)
        out, backward = jax.vjp(lambda *arrays: OPERATIONS[name][1](f, *arrays, *constants), *arrays)
        return out, backward(gradient), jax.random.split(key, 1)[0]

    arguments, key = jax.device_put((arrays, constants, gradient)), jax.random.key(0)
    out = gradients = None

    def step():
        nonlocal out, gradients, key
        out, gradients, key = jax.block_until_ready(forward_and_backward(key, *arguments))
        return lambda: checksum(name, out, gradients, gradient)

    return step


def functions(jax, key):
    """What the ops are made of, as those of PyTorch; the key is for what is random."""

    def layer_norm(x, shape, weight, bias):
        return weight * jax.nn.standardize(x, epsilon=1e-5) + bias

    return SimpleNamespace(
        erf=jax.lax.erf,
        exp=jax.numpy.exp,
        tanh=jax.numpy.tanh,
        gelu=lambda x, approximate="none": jax.nn.gelu(x, approximate == "tanh"),
        softmax=jax.nn.softmax,
        log_softmax=jax.nn.log_softmax,
        layer_norm=layer_norm,
        embedding=lambda index, weight: weight[index],
        dropout=lambda x: jax.numpy.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0),
    )


def adamw(jax, n):
    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(weights, m, v, t, g):
        return adam(1e-3, [0.01, 0] * 4, jax, weights, g, m, v, t)

    weights, g = jax.device_put((parts(n), parts(n, seed=3)))
    state, done = (weights, [0 * w for w in weights], [0 * w for w in weights]), 0

    def step():
        nonlocal state, done
        done += 1
        state = jax.block_until_ready(update(*state, done, g))
        return lambda: sum(map(weighted_sum, state[0]))

    return step
