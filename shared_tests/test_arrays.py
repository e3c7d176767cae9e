"""What arrays add to the engine: shapes of gradients, dtypes, who owns which memory, and errors that name shapes."""

import numpy as np
import pytest

from .engines import ScalarEngine, torch_engine

capability = pytest.mark.capability


@pytest.fixture(autouse=True)
def arrays_only(engine):
    if isinstance(engine, ScalarEngine):
        pytest.skip("not there: its tensors hold one number")


@pytest.fixture
def Tensor(engine):
    return engine.Tensor


# backward() of arrays


@capability("backward of arrays")
def test_backward_of_any_shape_starts_from_ones(Tensor):
    x = Tensor(np.arange(6.0).reshape(2, 3))
    (x * x).backward()
    np.testing.assert_array_equal(x.grad, 2 * np.arange(6.0).reshape(2, 3))


@capability("backward of arrays")
@pytest.mark.parametrize("shape", [(3,), (2, 1), (3, 2), ()])
def test_a_gradient_of_another_shape_is_refused(engine, shape):
    y = engine.Tensor(np.ones((2, 3))) * 2.0
    with pytest.raises(ValueError, match=r"backward: the gradient has shape .*, the tensor \(2, 3\)"):
        y.backward(engine.constant(np.ones(shape)))


@capability("backward of arrays")
@pytest.mark.parametrize(
    "name, shrink", [("x[0]", lambda x: x[0]), ("sum", lambda x: x.sum()), ("row", lambda x: x.sum(0))]
)
def test_gradients_have_the_shape_and_dtype_of_their_tensor(engine, name, shrink):
    for dtype in (np.float64, np.float32):
        x = engine.Tensor(np.ones((3, 4), dtype))
        y = x * engine.constant(np.ones((2, 3, 4), dtype))
        shrink(y).backward()
        assert (x.grad.shape, x.grad.dtype) == ((3, 4), dtype)
        assert (y.grad.shape, y.grad.dtype) == ((2, 3, 4), dtype)


@capability("backward of arrays")
def test_a_changed_input_is_noticed(Tensor):
    """An optimizer step between forward and backward would silently give gradients of neither network."""
    x = Tensor(np.ones(3))
    loss = (x * x).sum()
    x.data -= 0.5
    with pytest.raises(RuntimeError, match=r"backward: what mul saved, of shape \(3,\), was changed in place"):
        loss.backward()


@capability("backward of arrays")
def test_a_changed_tensor_between_is_noticed(Tensor):
    x = Tensor(np.ones(3))
    y = x.exp()
    loss = (y * y).sum()
    y.data = np.zeros(3)
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


@capability("backward of arrays")
def test_a_graph_built_after_the_change_is_fine(Tensor):
    x = Tensor(np.ones(3))
    (x * x).sum().backward()
    x.data -= 0.5
    x.grad = None
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, np.ones(3))


# dtypes


@capability("dtypes")
@pytest.mark.parametrize(
    "data, dtype, wants_grad",
    [
        (1.5, "float32", True),
        ([1.0, 2.0], "float32", True),
        ([[1, 2.5]], "float32", True),
        (3, "int64", False),
        ([1, 2], "int64", False),
        (True, "bool", False),
        (np.ones(2), "float64", True),
        (np.ones(2, np.float32), "float32", True),
        (np.float64(2), "float64", True),
        (np.arange(3, dtype=np.int32), "int32", False),
        (np.array([True]), "bool", False),
    ],
    ids=str,
)
def test_the_dtype_of_a_new_tensor(Tensor, data, dtype, wants_grad):
    x = Tensor(data)
    assert x.dtype == dtype
    assert x.requires_grad is wants_grad


PROMOTIONS = {
    "float32 * 2": lambda f, i, c: f * 2,
    "2.5 * float32": lambda f, i, c: 2.5 * f,
    "float32 ** 2": lambda f, i, c: f**2,
    "float32 / 3": lambda f, i, c: f / 3,
    "1 - float32": lambda f, i, c: 1 - f,
    "float32 * True": lambda f, i, c: f * True,
    "float32 * float64 array": lambda f, i, c: f * c(np.ones(3)),
    "float32 * 0-d float64 array": lambda f, i, c: f * c(np.array(2.0)),
    "int64 array * float32": lambda f, i, c: c(np.arange(3)) * f,
    "int32 array * float32": lambda f, i, c: c(np.arange(3, dtype=np.int32)) * f,
    "bool array * float32": lambda f, i, c: c(np.ones(3, bool)) * f,
    "float32 * int64 tensor": lambda f, i, c: f * i,
    "float32 ** int64 tensor": lambda f, i, c: f**i,
    "int64 tensor * 2": lambda f, i, c: i * 2,
    "int64 tensor * 2.5": lambda f, i, c: i * 2.5,
    "int64 tensor / 2": lambda f, i, c: i / 2,
    "sum of int64": lambda f, i, c: i.sum(),
    "exp of int64": lambda f, i, c: i.exp(),
    "mean of float32": lambda f, i, c: f.mean(),
    "std of float32": lambda f, i, c: f.std(),
    "sum of float32": lambda f, i, c: f.sum(),
}


@capability("dtypes")
@pytest.mark.parametrize("name", PROMOTIONS)
def test_dtypes_are_promoted_as_in_pytorch(engine, name):
    reference = torch_engine()
    expression = PROMOTIONS[name]
    wanted = reference.value(
        expression(reference.tensor(np.ones(3, np.float32)), reference.constant(np.arange(3)), reference.constant)
    ).dtype
    got = expression(engine.Tensor(np.ones(3, np.float32)), engine.Tensor(np.arange(3)), engine.constant).dtype
    assert got == wanted


INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
OF_INTEGERS = ["exp", "log", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf"]
OF_INTEGERS += ["relu", "neg", "abs", "square", "sum", "prod", "mean"]


@capability("dtypes")
@pytest.mark.parametrize("name", OF_INTEGERS)
def test_functions_of_integers_have_pytorchs_dtype_and_values(engine, name):
    """NumPy has float16 for most functions of 8 bits, in which e¹² is infinite."""
    torch = torch_engine().torch
    for dtype in INTEGERS:
        array = np.array([1, 12, 80, 7]).astype(dtype)
        try:
            wanted = getattr(torch.from_numpy(array), name)()
        except RuntimeError:
            continue  # as the mean of integers
        out = getattr(engine.Tensor(array), name)()
        assert str(out.dtype) == str(wanted.dtype).removeprefix("torch.")
        np.testing.assert_allclose(engine.value(out), wanted.numpy(), rtol=1e-6)


@capability("dtypes")
def test_half_precision_stays_with_integers_and_its_mean_does_not_overflow(engine):
    x = engine.Tensor(np.full(100_000, 2.0, np.float16))
    for out in (x * engine.Tensor(np.arange(100_000) % 3), x.exp(), x.sqrt(), x.mean()):
        assert out.dtype == np.float16
    assert x.mean().item() == 2.0


@capability("reductions")
def test_sums_of_many_numbers_keep_their_digits(engine):
    """Added up in float32, one after another, a million times 0.1 is 1 % off."""
    tall = np.full((1_000_000, 2), 0.1, np.float32)
    x, bias = engine.Tensor(tall, requires_grad=False), engine.Tensor(np.zeros(2, np.float32))
    np.testing.assert_allclose(engine.value(x.sum(0)), [1e5, 1e5], rtol=1e-6)
    np.testing.assert_allclose(engine.value(x.mean(0)), [0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(engine.value(x.reshape(500_000, 2, 2).mean((0, 2))), [0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(engine.value(x.std(0)), [0, 0], atol=1e-7)
    ((x + bias) * 0.1).sum().backward()
    np.testing.assert_allclose(engine.grad(bias), [1e5, 1e5], rtol=1e-6)


@capability("dtypes")
@pytest.mark.parametrize(
    "number", [np.float64(2), np.float32(2), np.int64(2), np.bool_(True)], ids=lambda x: type(x).__name__
)
def test_a_numpy_scalar_does_not_promote(Tensor, number):
    """`np.float64(2) * x`: what a sum or a mean of NumPy's gives must not turn a float32 model into float64."""
    x = Tensor([1.0, 2.0])
    for y in (x * number, number * x, x + number, number - x, x / number, x**number):
        assert isinstance(y, Tensor)
        assert y.dtype == np.float32
        y.backward()
    assert x.grad.dtype == np.float32


@capability("dtypes")
def test_a_float32_gradient_stays_float32_under_a_float64_cotangent(engine):
    x = engine.Tensor([1.0, 2.0])
    (x * x).backward(engine.constant(np.ones(2)))
    assert x.grad.dtype == np.float32


# Ownership


@capability("ownership of arrays")
def test_a_callers_array_is_never_changed(Tensor):
    array = np.ones(3)
    x = Tensor(array)
    x.data -= 1.0
    np.testing.assert_array_equal(array, np.ones(3))
    array += 5
    np.testing.assert_array_equal(x.data, np.zeros(3))


@capability("ownership of arrays")
@pytest.mark.parametrize(
    "name, combine",
    [
        ("add", lambda p, x, y: x + y),
        ("cat", lambda p, x, y: p.cat([x, y])),
        ("stack", lambda p, x, y: p.stack([x, y])),
        ("reshape", lambda p, x, y: x.reshape(3, 2).reshape(6) + y.reshape(6)),
        ("transpose", lambda p, x, y: x.T + y.T),
        ("expand", lambda p, x, y: x.expand(2, 3) + y),
        ("mean", lambda p, x, y: x.mean() + y.mean()),
        ("index", lambda p, x, y: x[0] + y[0]),
    ],
)
def test_gradients_share_no_memory(engine, name, combine):
    """Scaling one gradient in place, as clipping does, must not touch another, nor what the caller passed in."""
    x, y = engine.Tensor(np.ones((2, 3))), engine.Tensor(np.ones((2, 3)))
    out = combine(engine.package, x, y)
    cotangent = engine.constant(np.ones(out.shape))
    out.backward(cotangent)
    expected = engine.grad(y).copy()
    x.grad *= 10.0  # also fails where the gradient is a read-only view
    np.testing.assert_array_equal(y.grad, expected)
    np.testing.assert_array_equal(cotangent, np.ones(out.shape))
    assert not np.shares_memory(engine.grad(x), engine.grad(y))


@capability("ownership of arrays")
def test_a_gradient_that_is_held_goes_on_growing_as_in_pytorch(engine):
    for lib in (engine, torch_engine()):
        x = lib.tensor(np.ones(3))
        (x * 2.0).sum().backward()
        first = x.grad
        (x * 3.0).sum().backward()
        np.testing.assert_array_equal(lib.value(first), np.full(3, 5.0))


@capability("ownership of arrays")
@pytest.mark.host
def test_numpy_and_detach_share_the_array_as_in_pytorch(Tensor):
    x = Tensor(np.ones(3))
    assert np.shares_memory(x.numpy(), x.data)
    assert np.shares_memory(x.detach().data, x.data)


@pytest.mark.capability("joining and padding")
@pytest.mark.parametrize(
    "join",
    [
        lambda F, given: F.cat(given),
        lambda F, given: F.stack(given),
        lambda F, given: F.hstack(given),
        lambda F, given: F.vstack(given),
        lambda F, given: F.einsum("i,j->ij", given),
        lambda F, given: F.cat(x * 1.0 for x in given),
    ],
    ids=["cat", "stack", "hstack", "vstack", "einsum", "cat of a generator"],
)
def test_a_list_that_changes_after_it_was_joined_changes_no_gradient(engine, join):
    gradients = []
    for changes in (False, True):
        x, y, other = (engine.tensor(np.array(numbers)) for numbers in ([1.0, 2.0], [3.0, 5.0], [7.0, 11.0]))
        given = [x, y]
        out = join(engine.F, given)
        if changes:
            given[:] = [other]
        engine.backward(out, np.arange(4.0).reshape(out.shape))
        gradients.append([engine.grad(x), engine.grad(y)])
        assert other.grad is None
    np.testing.assert_array_equal(*gradients)
    assert gradients[0][0].any() and gradients[0][1].any()


@pytest.mark.capability("indexing")
@pytest.mark.parametrize(
    "take, given",
    [
        (lambda x, rows: x[rows], [0, 2]),
        (lambda x, rows: x[np.asarray(rows)], [2, 2]),
        (lambda x, dims: x.sum(dims), [0, 1]),
        (lambda x, dims: x.amax(dims), [0, 1]),
        (lambda x, dims: x.permute(dims), [1, 0]),
        (lambda x, shape: x.reshape(shape), [4, 3]),
        (lambda x, shape: x.expand(shape), [3, 4]),
        (lambda x, shifts: x.roll(shifts, [0, 1]), [1, 1]),
        (lambda x, sizes: x.split(sizes)[1], [1, 2]),
        (lambda x, sizes: x.repeat(sizes), [2, 1]),
    ],
)
def test_a_list_of_numbers_that_changes_afterwards_changes_no_gradient(engine, take, given):
    gradients = []
    for changes in (False, True):
        x, numbers = engine.tensor(np.arange(12.0).reshape(3, 4)), list(given)
        out = take(x, numbers)
        if changes:
            numbers[:] = [0] * len(numbers)
        engine.backward(out, np.arange(1.0, out.numel() + 1).reshape(out.shape))
        gradients.append(engine.grad(x))
    np.testing.assert_array_equal(*gradients)


@capability("indexing")
@pytest.mark.host
def test_parts_add_up_beside_other_gradients(Tensor):
    """An array may be the gradient of two tensors, as of both terms of a sum: no part is added to it in place."""
    x, y = Tensor(np.ones((3, 4))), Tensor(np.ones((3, 4)))
    h, k = x * 1, y * 1
    rows = h[0] * 5, h[1:] * 7, h[0, 1] * 9
    (((h + k) * 3).sum() + sum([row.sum() for row in rows])).backward()  # from h + k both get the same array
    np.testing.assert_array_equal(y.grad.numpy(), np.full((3, 4), 3))
    np.testing.assert_array_equal(x.grad.numpy(), [[8, 17, 8, 8], *[[10] * 4] * 2])


PARTS = {  # places of an array of 4 rows and 6 columns, of which several have 24 numbers together
    "three ranges of columns": [np.s_[:, :2], np.s_[:, 2:4], np.s_[:, 4:]],
    "the last range first": [np.s_[..., 3:], np.s_[..., :3]],
    "each row": [0, 1, 2, 3],
    "a row, and the others": [0, np.s_[1:]],
    "without the last row": [0, np.s_[1:3]],
    "a range in another": [np.s_[:3], np.s_[1:2]],
    "ranges from the end": [np.s_[:-2], np.s_[1:-1]],
    "a row from the end": [np.s_[0:3], -2],
    "one twice": [np.s_[:2], np.s_[:2]],
    "every second row, and two": [np.s_[::2], np.s_[2:]],
    "ranges of rows and of columns": [np.s_[:2], np.s_[2:, :3], np.s_[2:, 2:5]],
    "rows, and some columns of rows": [np.s_[:2], np.s_[2:, ..., :6]],
    "with a new dim": [np.s_[None, :2], np.s_[None, 2:]],
    "all, and a row": [np.s_[:], 1],
    "rows backwards, and the first": [np.s_[2::-1], np.s_[:1]],
}


@capability("indexing")
@pytest.mark.parametrize("places", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("leaf", [True, False], ids=["leaf", "result"])
def test_gradients_of_parts_add_up_where_they_overlap(Tensor, places, leaf):
    x, wanted = Tensor(np.ones((4, 6))), np.zeros((4, 6))
    source, seen = x if leaf else x * 1, []
    x.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad.to("cpu").numpy().copy()))
    for i, place in enumerate(places):
        wanted[place] += 10**i
    sum([(source[place] * 10**i).sum() for i, place in enumerate(places)]).backward()
    np.testing.assert_array_equal([*seen, x.grad.to("cpu").numpy()], [wanted, wanted])


@capability("joining and padding")
@pytest.mark.host
def test_a_padded_array_has_the_memory_layout_of_its_source(Tensor):
    """So that images with channels last stay so behind the shortcut of a residual network that adds channels."""
    images = Tensor(np.moveaxis(np.ones((2, 4, 5, 3)), 3, 1))
    for x in (images, images[:, :, ::2, ::2]):
        padded = np.asarray(x.pad((0, 0, 0, 0, 1, 2)).detach())
        assert padded.shape[1] == 6 and np.moveaxis(padded, 1, 3).flags.c_contiguous


# What the graph holds of functions that go different ways into it


OF_X = {
    "unary": lambda F, x: x.exp(),
    "view": lambda F, x: x.reshape(6),
    "binary": lambda F, x: x * 2.0,
    "reflected": lambda F, x: 2.0 - x,
    "matmul": lambda F, x: x @ x.detach().T,
    "getitem": lambda F, x: x[0],
    "rows": lambda F, x: x[[0, 1, 1]],
    "cat": lambda F, x: F.cat([x, x]),
    "stack": lambda F, x: F.stack([x, x]),
    "where": lambda F, x: F.where(x < 3, x, 0.0),
    "sum": lambda F, x: x.sum(0),
    "softmax": lambda F, x: x.softmax(0),
    "pad": lambda F, x: x.pad((1, 1)),
    "to": lambda F, x: x.to(np.float64),
    "sort": lambda F, x: F.sort(x)[0],
    "max": lambda F, x: F.max(x),
    "einsum": lambda F, x: F.einsum("ij->j", x),
}


@capability("requires_grad and no_grad")
@pytest.mark.parametrize("name", OF_X)
def test_a_result_requires_grad_if_an_input_does_and_the_graph_is_recorded(engine, name):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for requires_grad in (True, False):
        x = engine.Tensor(array, requires_grad=requires_grad)
        out = OF_X[name](engine.F, x)
        assert out.requires_grad is requires_grad
        assert (out.op is not None) is requires_grad
        with engine.package.no_grad():
            out = OF_X[name](engine.F, x)
        assert not out.requires_grad and out.op is None
        assert not any(y.op for y in out.inputs)


@capability("ownership of arrays")
def test_no_op_changes_its_inputs(engine):
    """In-place arithmetic inside a rule would show in the caller's tensors."""
    x = engine.Tensor(np.linspace(0.1, 1.2, 12).reshape(3, 4))
    before = x.data.clone()
    outs = [
        x.softmax(-1),
        x.log_softmax(0),
        x.logsumexp(1),
        x.std(0),
        x.clip(0.5, 1),
        x.reshape(12),
        x @ x.T,
        x[[0, 0]],
    ]
    for out in outs:
        kept = out.data.clone()
        cotangent = engine.constant(np.full(out.shape, 2.0))
        out.backward(cotangent)
        np.testing.assert_array_equal(cotangent, 2.0)
        np.testing.assert_array_equal(out.data, kept)
    np.testing.assert_array_equal(x.data, before)


# Comparisons


@capability("comparisons and where")
def test_comparisons_give_boolean_arrays(engine):
    x, y = engine.Tensor([1.0, 2.0, 3.0]), engine.Tensor([3.0, 2.0, 1.0])
    for mask, wanted in [
        (x == y, [0, 1, 0]),
        (x != y, [1, 0, 1]),
        (x < y, [1, 0, 0]),
        (x <= 2.0, [1, 1, 0]),
        (x > engine.constant(np.array([0.0, 2.0, 2.0])), [1, 0, 1]),
        (engine.constant(np.array([2.0, 2.0, 2.0])) <= x, [0, 1, 1]),
    ]:
        mask = engine.host(mask)
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, np.array(wanted, bool))


@capability("comparisons and where")
def test_tensors_are_told_apart_by_identity_in_sets(Tensor):
    x, y = Tensor([1.0, 2.0]), Tensor([1.0, 2.0])
    assert len({x, y, x}) == 2


@capability("indexing")
def test_a_tensor_is_a_sequence_of_its_rows(Tensor):
    x = Tensor(np.arange(6.0).reshape(3, 2))
    assert len(x) == 3
    np.testing.assert_array_equal([row.data for row in x], x.data)


@capability("indexing")
def test_one_number_has_no_rows(Tensor):
    with pytest.raises(TypeError, match="unsized"):
        list(Tensor(1.0))


@capability("comparisons and where")
def test_only_one_number_is_true_or_false(Tensor):
    assert Tensor(1.0)
    assert not Tensor([0.0])
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(Tensor([1.0, 1.0]))


@capability("indexing")
def test_a_negative_step_which_pytorch_has_not(engine):
    x = engine.Tensor(np.arange(4.0))
    (x[::-1] * engine.constant(np.arange(4.0))).backward()
    np.testing.assert_array_equal(x.grad, [3, 2, 1, 0])


@capability("indexing")
def test_a_tensor_of_integers_is_an_index(Tensor):
    x = Tensor(np.arange(4.0))
    x[Tensor([0, 0, 3])].backward()
    np.testing.assert_array_equal(x.grad, [2, 0, 0, 1])


@capability("arrays in expressions")
@pytest.mark.host
def test_a_tensor_becomes_an_array(Tensor):
    x = Tensor(np.arange(4.0))
    np.testing.assert_array_equal(np.asarray(x), np.arange(4.0))
    assert np.asarray(x, dtype=np.float32).dtype == np.float32


# Errors: each names the op, what it got and what it wanted

MISTAKES = {
    "inner sizes": (lambda p, T: T(np.ones((3, 4))) @ T(np.ones((5, 6))), r"matmul.*\(3, 4\) @ \(5, 6\).*4 and 5"),
    "vectors": (lambda p, T: T(np.ones(3)) @ T(np.ones(4)), r"matmul.*\(3,\) @ \(4,\).*3 and 4"),
    "0-d product": (lambda p, T: T(np.ones((3, 4))) @ T(1.0), r"matmul.*\(3, 4\).*at least one dim"),
    "batches": (lambda p, T: T(np.ones((2, 3, 4))) @ T(np.ones((3, 4, 5))), r"matmul of \(2, 3, 4\), \(3, 4, 5\)"),
    "broadcast": (lambda p, T: T(np.ones((3, 4))) + T(np.ones((4, 3))), r"add of \(3, 4\), \(4, 3\)"),
    "broadcast an array": (lambda p, T: T(np.ones(3)).data * T(np.ones((3, 4))), r"mul of \(3,\), \(3, 4\)"),
    "reshape": (lambda p, T: T(np.ones((3, 4))).reshape(5, 2), r"reshape of \(3, 4\).*\(5,\s?2\)"),
    "sum over a dim too many": (lambda p, T: T(np.ones((3, 4))).sum(2), r"sum of \(3, 4\).*2"),
    "the variance of integers": (lambda p, T: T(np.arange(3)).var(), r"var of \(3,\): wanted floating-point numbers"),
    "two dims at one place": (lambda p, T: T(np.ones((3, 4))).movedim((0, 1), (0, 0)), "repeated axis in `movedim`"),
    "unfold": (lambda p, T: T(np.ones((3, 4))).unfold(0, 5, 1), r"unfold of \(3, 4\): wanted windows of at most 3"),
    "the same dim twice": (lambda p, T: T(np.ones((3, 4))).sum((0, 0)), r"sum of \(3, 4\)"),
    "softmax over a dim too many": (lambda p, T: T(np.ones((3, 4))).softmax(2), r"softmax of \(3, 4\).*2"),
    "max of nothing": (lambda p, T: T(np.ones((0, 3))).max(0), r"max of \(0, 3\)"),
    "transpose": (lambda p, T: T(np.ones((3, 4))).transpose(0, 2), r"transpose of \(3, 4\).*2"),
    "permute": (lambda p, T: T(np.ones((3, 4))).permute(0, 0), r"permute of \(3, 4\)"),
    "permute too few": (lambda p, T: T(np.ones((3, 4))).permute(0), r"permute of \(3, 4\)"),
    "squeeze": (lambda p, T: T(np.ones((3, 4))).squeeze(2), r"squeeze of \(3, 4\).*2"),
    "unsqueeze": (lambda p, T: T(np.ones((3, 4))).unsqueeze(4), r"unsqueeze of \(3, 4\).*4"),
    "flatten": (lambda p, T: T(np.ones((3, 4))).flatten(2), r"flatten of \(3, 4\).*2"),
    "expand": (lambda p, T: T(np.ones((3, 4))).expand(3, 5), r"expand of \(3, 4\).*\(3,\s?5\)"),
    "pad": (lambda p, T: T(np.ones((3, 4))).pad((1, 2, 3)), r"pad of \(3, 4\).*\(1, 2, 3\)"),
    "an index out of range": (lambda p, T: T(np.ones((3, 4)))[5], r"getitem of \(3, 4\).*5"),
    "cat": (lambda p, T: p.cat([T(np.ones((3, 4))), T(np.ones((3, 5)))]), r"cat of \(3, 4\), \(3, 5\)"),
    "cat of nothing": (lambda p, T: p.cat([]), "cat"),
    "stack": (lambda p, T: p.stack([T(np.ones(3)), T(np.ones(4))]), r"stack of \(3,\), \(4,\)"),
    "where": (lambda p, T: p.where(T(np.ones(2)) > 0, T(np.ones(3)), 0.0), r"where of \(3,\)"),
    "cat of strings": (lambda p, T: p.cat(["two"]), "cat: wanted Tensors, arrays or numbers, got str"),
    "a tensor of strings": (lambda p, T: T(["two"]), "Tensor: wanted numbers, got list"),
    "a ragged tensor": (lambda p, T: T([[1.0], [1.0, 2.0]]), "Tensor|inhomogeneous"),
}


@capability("shapes")
@capability("error messages")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(engine, name):
    mistake, message = MISTAKES[name]
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        mistake(engine.package, engine.Tensor)


@pytest.mark.capability("arrays in expressions")
@pytest.mark.parametrize("other", [np.array([1j, 2]), np.array([None, 1]), np.array(["a", "b"])], ids=str)
def test_what_holds_no_real_numbers_is_refused_by_name(other, engine):
    x = engine.tensor(np.ones(2))
    for call in (lambda: x + other, lambda: other * x, lambda: x @ other, lambda: x**other):
        with pytest.raises(TypeError, match=f"wanted numbers, got ndarray of dtype {other.dtype}"):
            call()
    with pytest.raises(TypeError, match="complex"):
        x + 1j
