"""The array of the book's page on arrays, beside NumPy's."""

import operator

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as npst

from docs.strided import Array, broadcast, contiguous

SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def both(shape, start=0):
    """An Array and NumPy's, of the same numbers."""
    numbers = np.arange(start, start + int(np.prod(shape)))
    return Array(numbers.tolist(), shape), numbers.reshape(shape)


def same(ours, theirs):
    """That an Array has the shape, the numbers and, unless it is empty, the strides that NumPy's has."""
    assert ours.shape == theirs.shape
    assert ours.numbers() == theirs.ravel().tolist()
    moves = [size > 1 and theirs.size > 0 for size in theirs.shape]  # strides of other dims say nothing
    assert [s for s, m in zip(ours.strides, moves) if m] == [s // 8 for s, m in zip(theirs.strides, moves) if m]


@settings(max_examples=60, deadline=None)
@given(st.data(), SHAPES)
def test_views_are_numpys(data, shape):
    ours, theirs = both(shape)
    same(ours, theirs)
    for _ in range(3):
        how = data.draw(st.sampled_from(["index", "permute", "expand"]))
        if how == "permute":
            dims = data.draw(st.permutations(range(theirs.ndim)))
            ours, theirs = ours.permute(*dims), theirs.transpose(dims)
        elif how == "index":
            index = data.draw(npst.basic_indices(theirs.shape, allow_ellipsis=False))
            ours, theirs = ours[index], theirs[index if isinstance(index, tuple) else (index,)]
        else:
            sizes = [data.draw(st.integers(0, 3)) if size == 1 else size for size in theirs.shape]
            sizes = [*data.draw(st.lists(st.integers(1, 2), max_size=1)), *sizes]
            ours, theirs = ours.expand(*sizes), np.broadcast_to(theirs, sizes)
        same(ours, np.asarray(theirs))


@settings(max_examples=60, deadline=None)
@given(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0))
def test_broadcasting_is_numpys(shapes):
    (x, numpys_x), (y, numpys_y) = both(shapes.input_shapes[0]), both(shapes.input_shapes[1], start=7)
    assert broadcast(*shapes.input_shapes) == shapes.result_shape
    same(x.map(operator.mul, y), numpys_x * numpys_y)


def test_what_cannot_be_broadcast_is_refused_where_numpy_refuses_it():
    for shapes in ([(2,), (3,)], [(2, 1), (3, 2)], [(4, 3), (4,)]):
        with pytest.raises(ValueError):
            np.broadcast_shapes(*shapes)
        with pytest.raises(ValueError, match="can't be broadcast together"):
            broadcast(*shapes)


def test_reshape_copies_only_what_is_not_in_order():
    ours, theirs = both((3, 4))
    assert ours.reshape(2, 6).memory is ours.memory
    turned = ours.permute(1, 0).reshape(12)
    assert turned.memory is not ours.memory
    assert turned.numbers() == theirs.T.reshape(12).tolist()


def test_a_view_sees_what_is_written():
    ours, _ = both((3, 4))
    row = ours[1]
    ours.memory[ours.position((1, 2))] = 99
    assert row.numbers() == [4, 5, 99, 7]
    assert contiguous((2, 3, 4)) == (12, 4, 1)
    with pytest.raises(IndexError, match="at most 2"):
        ours[0, 0, 0]
