"""Which capability arrives on which rung: the one table that the suite counts by.

A test names its capability with `@pytest.mark.capability("matmul")`; a case in cases.py has that of its group. On a
rung below, the test is reported as `arrives in stage N`. A test that runs on a rung and names no capability fails.
"""

CAPABILITIES = {
    # One number, or an array of them
    "arithmetic": 1,
    "elementary functions": 1,
    "broadcasting": 1,
    "matmul": 1,
    "sum and mean": 1,
    "losses from ops": 1,
    "multi-layer perceptron": 1,
    # The graph
    "backward": 1,
    "depth and diamonds": 1,
    "memory": 1,
    "requires_grad and no_grad": 1,
    "numbers in expressions": 1,
    "error messages": 1,
    "micrograd's programs": 1,
    "pictures of graphs": 1,
    "planted faults": 1,
    "demos": 1,
    # Arrays
    "backward of arrays": 2,
    "float32": 2,
    "dtypes": 2,
    "arrays in expressions": 2,
    "ownership of arrays": 2,
    "updates in place": 2,
    "data and grad": 2,
    "making tensors": 2,
    "random numbers": 2,
    "names": 2,
    "infinities and NaN": 2,
    "more elementwise functions": 2,
    "reductions": 2,
    "softmax": 2,
    "shapes": 2,
    "indexing": 2,
    "joining and padding": 2,
    "comparisons and where": 2,
    "trigonometry and powers": 2,
    "rounding": 2,
    "order and places": 2,
    "rearranging": 2,
    "sums and products along a dim": 2,
    "einsum and its kin": 2,
    "samples of arrays": 2,
    # Networks
    "modules": 3,
    "activations": 3,
    "losses": 3,
    "initial weights": 3,
    "optimizers": 3,
    "schedulers": 3,
    "training": 3,
    "checkpoints": 3,
    "data": 3,
    "samples of networks": 3,
    # Images
    "convolution": 4,
    "pooling": 4,
    "batch norm of images": 4,
    "samples of images": 4,
    # Speed
    "compiled kernels": 5,
    "threads": 5,
    "compile cache": 5,
    "devices": 5,
}
