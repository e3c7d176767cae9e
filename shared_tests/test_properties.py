"""Random expressions, shapes, indices and dims, drawn by Hypothesis; conftest.py fixes the examples."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from .case import Case
from .check import check
from .engines import torch_engine

capability = pytest.mark.capability
MODEST = st.floats(-2, 2, width=32)


def arrays(shape):
    return hnp.arrays(np.float64, shape, elements=MODEST)


# Expressions: a tree of smooth functions that stay modest, written as Python source so that a failure can be read

LEAVES = st.sampled_from(["x", "y", "z", "0.5", "2"])
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner),
        inner.map(lambda text: f"(z / (1 + {text} * {text}))"),
        st.builds("(x + {}).{}()".format, inner, st.sampled_from(["tanh", "sigmoid", "relu"])),
        st.builds("(x * {}).tanh().exp()".format, inner),
        st.builds("(z + {}) ** {}".format, inner, st.sampled_from(["2", "3"])),
    ),
    max_leaves=12,
)


@capability("broadcasting")
@given(text=EXPRESSIONS, shapes=hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3), data=st.data())
def test_random_expressions_on_broadcastable_shapes(engine, text, shapes, data):
    values = [data.draw(arrays(shape)) for shape in shapes.input_shapes]
    body = eval(f"lambda x, y, z: {text} + 0 * x")  # so that the result is a tensor
    check(Case(text, body, values=values), engine)


@capability("sum and mean")
@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=4), data=st.data())
def test_random_dims_of_sums(engine, shape, data):
    dim, keepdim = data.draw(dims(shape)), data.draw(st.booleans())
    x = data.draw(arrays(shape))
    check(Case("sum", lambda x: x.sum(dim=dim, keepdim=keepdim), values=[x]), engine)
    check(Case("mean", lambda x: x.mean(dim=dim, keepdim=keepdim), values=[x]), engine)


def dims(shape):
    """None, one dim or several different ones, each counted from the front or from the back."""
    several = st.lists(st.sampled_from(range(len(shape))), min_size=1, unique=True)
    signed = several.flatmap(lambda dims: st.tuples(*[st.sampled_from([d, d - len(shape)]) for d in dims]))
    return st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1), signed)


@capability("matmul")
@given(shapes=hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3), data=st.data())
def test_random_matrix_products(engine, shapes, data):
    values = [data.draw(arrays(shape)) for shape in shapes.input_shapes]
    check(Case("matmul", lambda x, y: x @ y, values=values), engine)


@capability("reductions")
@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=2, max_side=4), data=st.data())
def test_random_dims_of_reductions(engine, shape, data):
    """The numbers are small integers, so that ties are common, and no two dims of size 1 make a variance of nothing."""
    dim, keepdim = data.draw(dims(shape)), data.draw(st.booleans())
    x = data.draw(hnp.arrays(np.float64, shape, elements=st.integers(-3, 3)))
    check(Case("max", lambda F, x: F.amax(x, dim, keepdim), values=[x]), engine)
    check(Case("min", lambda F, x: F.amin(x, dim, keepdim), values=[x]), engine)
    check(Case("var", lambda x: x.var(dim=dim, keepdim=keepdim), values=[x]), engine)


@capability("softmax")
@given(shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), data=st.data())
def test_random_dims_of_softmax(engine, shape, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = data.draw(arrays(shape))
    check(Case("softmax", lambda x: x.softmax(dim), values=[x]), engine)
    check(Case("log_softmax", lambda x: x.log_softmax(dim), values=[x]), engine)


@capability("shapes")
@given(shape=hnp.array_shapes(max_dims=4, max_side=3), data=st.data())
def test_random_permutations(engine, shape, data):
    order = data.draw(st.permutations([d - data.draw(st.sampled_from([0, len(shape)])) for d in range(len(shape))]))
    check(Case("permute", lambda x: x.permute(*order), values=[data.draw(arrays(shape))]), engine)


# Indices are checked against their meaning, since NumPy takes more of them than PyTorch


def check_index(engine, shape, index):
    """Each number of x gets the sum of the cotangents of the places that it was copied to."""
    x = engine.tensor(np.random.default_rng(0).standard_normal(shape))
    out = x[index]
    np.testing.assert_array_equal(engine.value(out), engine.value(x)[index])
    cotangent = np.random.default_rng(1).standard_normal(out.shape)
    engine.backward(out, cotangent)
    origins = np.arange(int(np.prod(shape))).reshape(shape)[index]
    wanted = np.bincount(np.ravel(origins), np.ravel(cotangent), minlength=int(np.prod(shape))).reshape(shape)
    np.testing.assert_allclose(engine.grad(x), wanted, rtol=1e-12, atol=1e-12)


@capability("indexing")
@given(shape=hnp.array_shapes(max_dims=4, max_side=4), data=st.data())
def test_random_basic_indices(engine, shape, data):
    check_index(engine, shape, data.draw(hnp.basic_indices(shape, allow_newaxis=True)))


@capability("indexing")
@given(shape=hnp.array_shapes(max_dims=4, max_side=4), data=st.data())
def test_random_integer_array_indices(engine, shape, data):
    check_index(engine, shape, data.draw(hnp.integer_array_indices(shape)))


@capability("indexing")
@given(shape=hnp.array_shapes(max_dims=3, max_side=4), data=st.data())
def test_random_masks(engine, shape, data):
    check_index(engine, shape, data.draw(hnp.arrays(bool, shape)))


# Indices of all kinds together, as PyTorch takes them


@st.composite
def mixed_indices(draw, shape, repeated):
    """A tuple of integers, slices, None, ... and arrays of integers or, if it is the only array, a mask."""
    n = draw(st.integers(0, min(shape)))
    kinds = draw(st.lists(st.sampled_from(["all", "int", "slice", "array"]), min_size=len(shape), max_size=len(shape)))
    items = []
    for size, kind in zip(shape, kinds):
        places = st.integers(-size, size - 1)
        if kind == "int":
            items.append(draw(places))
        elif kind == "array":
            once = None if repeated else lambda place, size=size: place % size
            items.append(np.array(draw(st.lists(places, min_size=n, max_size=n, unique_by=once)), np.int64))
        elif kind == "slice":
            ends = st.none() | st.integers(-size, size)
            items.append(slice(draw(ends), draw(ends), draw(st.integers(1, 3))))
        else:
            items.append(slice(None))
    first = draw(st.integers(0, len(shape) - 1))
    last = draw(st.integers(first, len(shape)))
    if "array" not in kinds and first < last:
        items[first:last] = [draw(hnp.arrays(bool, shape[first:last]))]
    if draw(st.booleans()):
        first = draw(st.integers(0, len(items)))
        items[first : draw(st.integers(first, len(items)))] = [...]
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items)


def as_said(lib, index, form):
    """The index with its arrays as a library takes them."""
    each = [form(lib, item) if isinstance(item, np.ndarray) else item for item in index]
    return each[0] if len(each) == 1 else tuple(each)


FORMS = {
    "tensors": lambda lib, item: lib.tensor(item) if lib is not torch_engine() else lib.constant(item),
    "arrays": lambda lib, item: lib.constant(item),
    "lists": lambda lib, item: item.tolist() if item.size and item.dtype != bool else lib.constant(item),
}


@capability("indexing")
@given(shape=hnp.array_shapes(max_dims=4, max_side=4), form=st.sampled_from(sorted(FORMS)), data=st.data())
def test_random_mixed_indices_give_what_pytorchs_give(engine, shape, form, data):
    index = data.draw(mixed_indices(shape, repeated=True))
    seen = []
    for lib in (engine, torch_engine()):
        x = lib.tensor(np.random.default_rng(0).standard_normal(shape))
        out = x[as_said(lib, index, FORMS[form])]
        lib.backward(out, np.random.default_rng(1).standard_normal(tuple(out.shape)))
        seen.append((lib.value(out), lib.grad(x)))
    for got, wanted in zip(*seen):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


@capability("updates in place")
@pytest.mark.host
@given(shape=hnp.array_shapes(max_dims=3, max_side=4), form=st.sampled_from(sorted(FORMS)), data=st.data())
def test_random_mixed_indices_put_what_pytorchs_put(engine, shape, form, data):
    index = data.draw(mixed_indices(shape, repeated=False))
    seen, of_value = [], None
    for lib in (torch_engine(), engine):
        x = lib.tensor(np.random.default_rng(0).standard_normal(shape))
        out, place = x * 1.0, as_said(lib, index, FORMS[form])
        if of_value is None:
            of_value = tuple(out[place].shape)
            of_value = of_value[data.draw(st.integers(0, len(of_value))) :]
        value = lib.tensor(np.random.default_rng(1).standard_normal(of_value))
        out[place] = value
        lib.backward(out, np.random.default_rng(2).standard_normal(shape))
        seen.append((lib.value(out), lib.grad(x), lib.grad(value)))
    for wanted, got in zip(*seen):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)
