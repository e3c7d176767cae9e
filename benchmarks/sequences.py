"""The layers of rung 6, forward and backward from a given gradient: an LSTM, and attention."""

from .steps import set_weights, weighted_sum


def lstm(lib):
    """An LSTM from 128 to 256 numbers over 64 steps, at batch 32."""
    import numpy as np

    rng = np.random.default_rng(2)
    layer = lib.nn.LSTM(128, 256, batch_first=True)
    set_weights(lib, layer)
    x = lib.variable(rng.standard_normal((32, 64, 128), "f4"))
    gradient = lib.constant(rng.standard_normal((32, 64, 256), "f4"))
    return both_ways(lambda: layer(x)[0], [x, *layer.parameters()], gradient)


def attention(lib):
    """Causal attention of 8 heads, 64 wide, over 512 places, at batch 8."""
    import numpy as np

    rng = np.random.default_rng(2)
    q, k, v, gradient = rng.standard_normal((4, 8, 8, 512, 64), "f4")
    q, k, v = leaves = [lib.variable(x) for x in (q, k, v)]
    attend = lib.nn.functional.scaled_dot_product_attention
    return both_ways(lambda: attend(q, k, v, is_causal=True), leaves, lib.constant(gradient))


def both_ways(forward, leaves, gradient):
    """A step that goes forward, and backward to the leaves."""

    def step():
        for leaf in leaves:
            leaf.grad = None
        forward().backward(gradient)
        return lambda: sum(weighted_sum(leaf.grad) for leaf in leaves)

    return step
