"""Updates in place: what they do to memory, what the graph remembers of them, and which are refused; as in PyTorch.

The gradients of updates within the graph are cases, in cases.py.
"""

import copy
import gc
import operator
import pickle

import numpy as np
import pytest

from .cases import GROUPS
from .engines import torch_engine

in_place = pytest.mark.capability("updates in place")
data_and_grad = pytest.mark.capability("data and grad")


@pytest.fixture
def torch():
    return torch_engine().torch


# Memory


@in_place
def test_parameters_are_trained_by_hand(engine):
    """PyTorch's own tutorial does it so; where `p -= …` makes another tensor, nothing is trained."""
    parameters = [engine.tensor(np.ones((2, 3))), engine.tensor(np.ones(3))]
    aliases = [p.detach() for p in parameters]
    loss = sum((p * p).sum() for p in parameters)
    loss.backward()
    with engine.package.no_grad():
        for p in parameters:
            p -= 0.25 * p.grad
            p.grad.zero_()
    for p, alias in zip(parameters, aliases):
        np.testing.assert_array_equal(engine.value(p), np.full(p.shape, 0.5))
        np.testing.assert_array_equal(engine.value(alias), np.full(p.shape, 0.5))
        np.testing.assert_array_equal(engine.grad(p), np.zeros(p.shape))


@in_place
@pytest.mark.parametrize("shape", [(), (3,)])
def test_data_and_grad_are_written_through(engine, shape):
    x = engine.tensor(np.ones(shape))
    (x * x).sum().backward()
    x.data.add_(x.grad, alpha=-0.25)
    assert engine.value(x).tolist() == np.full(shape, 0.5).tolist()
    x.grad.mul_(3.0)
    assert engine.grad(x).tolist() == np.full(shape, 6.0).tolist()
    x.data -= 0.25
    assert engine.value(x).tolist() == np.full(shape, 0.25).tolist()


@in_place
def test_every_name_of_a_tensor_sees_the_update(engine):
    x = engine.Tensor(np.zeros(3), requires_grad=False)
    y, row = x, x[1:]
    y += 1.0
    row *= 5.0
    assert y is x
    np.testing.assert_array_equal(engine.value(x), [1.0, 5.0, 5.0])


UPDATES = {
    "add_": lambda x: x.add_(2.0),
    "add_ with alpha": lambda x: x.add_(x.clone(), alpha=0.5),
    "sub_": lambda x: x.sub_(0.5),
    "mul_": lambda x: x.mul_(3),
    "div_": lambda x: x.div_(2),
    "pow_": lambda x: x.pow_(2),
    "clamp_": lambda x: x.clamp_(min=0.25),
    "exp_": lambda x: x.exp_(),
    "relu_": lambda x: x.relu_(),
    "zero_": lambda x: x.zero_(),
    "fill_": lambda x: x.fill_(7),
    "copy_": lambda x: x.copy_(x.clone() * 2),
    "copy_ of one number to all": lambda x: x.copy_(x[0, 0].clone()),
    "+=": lambda x: x.__iadd__(x[0].clone()),
    "**=": lambda x: x.__ipow__(2),
    "a row": lambda x: x.__setitem__(1, 9.0),
    "a column": lambda x: x.__setitem__((slice(None), 1), x[:, 0].clone()),
    "a mask": lambda x: x.__setitem__(x > 0, 0.0),
    "an int beside an array": lambda x: x.__setitem__((0, [0, 2]), 4.0),
    "the last dim": lambda x: x.__setitem__((..., -1), 4.0),
    "through a view": lambda x: x.view(-1)[2:4].mul_(10),
    "through a transpose": lambda x: x.t()[1].zero_(),
    "unsqueeze_": lambda x: x.unsqueeze_(1).mul_(2),
    "squeeze_": lambda x: x.unsqueeze_(0).squeeze_(),
    "transpose_": lambda x: x.transpose_(0, 1),
    "t_": lambda x: x.t_(),
    "more dims than there is room for": lambda x: x.__setitem__(0, x[:1].clone() * 2),
}


@in_place
@pytest.mark.parametrize("name", UPDATES)
def test_an_update_is_pytorchs(engine, torch, name):
    array = np.random.default_rng(0).standard_normal((2, 3))
    ours, theirs = engine.package.tensor(array), torch.tensor(array)
    UPDATES[name](ours), UPDATES[name](theirs)
    np.testing.assert_allclose(engine.value(ours), theirs.numpy(), rtol=1e-14)


WHOLES = {
    "a tensor": lambda x: x,
    "its first columns": lambda x: x[:, :, :2],
    "every second row": lambda x: x[:, ::2],
    "its dims permuted": lambda x: x.permute(2, 0, 1),
    "its matrices transposed": lambda x: x.transpose(1, 2),
}
VIEWS = {
    "view": lambda x: x.view(x.shape[0], x.shape[1], 1, -1),
    "view_as": lambda x: x.view_as(x),
    "reshape": lambda x: x.reshape(-1),
    "flatten": lambda x: x.flatten(1),
    "flatten of the first dims": lambda x: x.flatten(0, 1),
    "unflatten": lambda x: x.unflatten(0, (1, -1)),
    "squeeze": lambda x: x[:1].squeeze(),
    "squeeze of a dim": lambda x: x[:1].squeeze(0),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "ravel": lambda x: x.ravel(),
    "split": lambda x: x.split(1, dim=1)[1],
    "chunk": lambda x: x.chunk(2)[0],
    "tensor_split": lambda x: x.tensor_split(2, dim=1)[0],
    "unbind": lambda x: x.unbind(1)[0],
    "narrow": lambda x: x.narrow(1, 0, 1),
    "select": lambda x: x.select(1, 1),
    "movedim": lambda x: x.movedim(0, -1),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "mT": lambda x: x.mT,
    "t": lambda x: x[0].t(),
    "None": lambda x: x[None],
    "...": lambda x: x[..., 0],
}


@in_place
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("whole", WHOLES)
def test_a_view_of_a_view_shares_its_memory_where_pytorchs_does(engine, torch, whole, view):
    """What is written into it changes the whole; a copy leaves the whole as it is."""

    def results(lib):
        x = lib.tensor(np.arange(60.0).reshape(3, 4, 5))
        VIEWS[view](WHOLES[whole](x)).add_(100.0)
        return np.array(x.tolist())

    np.testing.assert_array_equal(results(engine.package), results(torch))


OF_SEVERAL = {"split", "chunk", "tensor_split", "unbind"}  # which PyTorch refuses to update within the graph


@in_place
@pytest.mark.parametrize("view", [view for view in VIEWS if view not in OF_SEVERAL])
@pytest.mark.parametrize("whole", WHOLES)
def test_a_view_of_a_view_is_updated_within_the_graph(engine, torch, whole, view):
    def gradient(lib):
        x = lib.tensor(np.arange(60.0).reshape(3, 4, 5), requires_grad=True)
        y = x * 1
        VIEWS[view](WHOLES[whole](y)).mul_(3.0)
        (y * y).sum().backward()
        return np.array(x.grad.tolist())

    np.testing.assert_array_equal(gradient(engine.package), gradient(torch))


@in_place
def test_windows_are_not_written_to(engine):
    """PyTorch's overlap in memory; here they are a copy, in which an update would be lost."""
    with pytest.raises(RuntimeError, match="add: this memory is read-only"):
        engine.package.arange(6.0).unfold(0, 3, 1).add_(1)


REFUSED = {
    "floats into integers": lambda lib: lib.arange(3).add_(0.5),
    "a larger shape": lambda lib: lib.zeros(3).add_(lib.zeros(2, 3)),
    "what doesn't fit": lambda lib: lib.zeros(3).__setitem__(slice(2), lib.zeros(3)),
    "an expanded tensor": lambda lib: lib.zeros(1).expand(3).add_(1),
    "out of range": lambda lib: lib.zeros(3).__setitem__(3, 1.0),
    "a string": lambda lib: operator.iadd(lib.zeros(3), "1"),
}


@in_place
@pytest.mark.parametrize("name", REFUSED)
def test_what_pytorch_refuses_is_refused(engine, torch, name):
    if name == "an expanded tensor" and engine.package.zeros(1).device != "cpu":
        pytest.skip("CuPy writes into expanded arrays")
    with pytest.raises((RuntimeError, IndexError, TypeError)):
        REFUSED[name](torch)
    with pytest.raises((RuntimeError, IndexError, TypeError, ValueError), match=r"^(add|setitem)"):
        REFUSED[name](engine.package)


LEAVES = {
    "x += 1": lambda x: x.__iadd__(1.0),
    "x[0] = 1": lambda x: x.__setitem__(0, 1.0),
    "x.zero_()": lambda x: x.zero_(),
    "x[0].zero_()": lambda x: x[0].zero_(),
}


@in_place
@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_that_requires_grad_is_not_updated_while_recording(engine, torch, name):
    x, theirs = engine.tensor(np.ones((2, 3))), torch.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        LEAVES[name](theirs)
    with pytest.raises(RuntimeError, match="leaf that requires grad can't be updated in place"):
        LEAVES[name](x)
    np.testing.assert_array_equal(engine.value(x), np.ones((2, 3)))


# The graph


@in_place
@pytest.mark.parametrize(
    "spoil",
    [
        lambda y: y.add_(1.0),
        pytest.param(lambda y: y[0].zero_(), marks=pytest.mark.host),
        lambda y: y.data.mul_(2.0),
    ],
    ids=["itself", "a view", "data"],
)
def test_what_was_saved_and_changed_is_noticed(engine, spoil):
    y = engine.tensor(np.ones((2, 3))).exp()
    spoil(y)
    with pytest.raises(RuntimeError, match="backward: what exp saved, of shape .*, was changed in place"):
        y.sum().backward()


@in_place
@pytest.mark.parametrize("op", ["relu", "norm"])
@pytest.mark.parametrize("change", [-100.0, 100.0])
def test_what_was_saved_to_be_compared_with_is_noticed(engine, op, change):
    """Where relu's output isn't 0 after the update, NaN in its place gives the same gradient."""
    y = getattr(engine.tensor(np.array([-1.0, 2.0, 3.0, -4.0])) * 1.0, op)()
    y += change
    with pytest.raises(RuntimeError, match=f"what {op} saved, of shape .*, was changed in place"):
        y.sum().backward()


@in_place
def test_what_was_changed_and_not_needed_is_no_error(engine):
    """An error here would stop programs that are right, such as a residual connection of `out += x`."""
    x = engine.tensor(np.full((2, 3), 2.0))
    y = x * 3.0
    half = y * 0.5
    y += x
    (y + half).sum().backward()
    np.testing.assert_array_equal(engine.grad(x), np.full((2, 3), 5.5))


@in_place
def test_a_view_from_before_an_update_is_noticed(engine):
    x = engine.tensor(np.ones(3))
    y = x * 2.0
    old = y[:2]
    y += x
    with pytest.raises(RuntimeError, match="take the view again"):
        (old * old).sum().backward()


@in_place
def test_no_grad_keeps_an_update_out_of_the_graph(engine):
    x = engine.tensor(np.ones(3))
    y = x * 2.0
    with engine.package.no_grad():
        y += 5.0
    assert y.op == "mul"
    y.sum().backward()
    np.testing.assert_array_equal(engine.grad(x), np.full(3, 2.0))


@in_place
def test_an_update_makes_a_constant_require_grad(engine):
    x, h = engine.tensor(np.ones(3)), engine.Tensor(np.zeros((2, 3)), requires_grad=False)
    before = h.sum()
    h[1] = x
    assert h.requires_grad and not before.requires_grad
    h.sum().backward()
    np.testing.assert_array_equal(engine.grad(x), np.ones(3))


@in_place
@pytest.mark.host
def test_no_cycle_keeps_a_graph_alive(engine):
    def live():
        return sum(issubclass(type(thing), engine.Tensor) for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = live()
        for case in GROUPS["updates in place"]:
            arrays = case.arrays(engine)
            out, tensors = case.run(engine, arrays)
            out.sum().backward()
            del out, tensors
            assert live() == before, case.name
    finally:
        gc.enable()


# data, grad, comparisons


@data_and_grad
def test_data_grad_and_comparisons_are_tensors(engine):
    x = engine.tensor(np.array([1.0, -2.0]))
    (x * x).sum().backward()
    for tensor in (x.data, x.grad, x > 0, x == x):
        assert isinstance(tensor, engine.Tensor) and not tensor.requires_grad
    assert (x > 0).sum().item() == 1
    assert (x == x).float().mean().item() == 1.0
    assert (x != x).dtype == engine.package.bool


@data_and_grad
@pytest.mark.parametrize("name", ["data", "grad"])
def test_what_does_not_fit_is_refused(engine, name):
    x = engine.tensor(np.ones((2, 3)))
    for value in (np.ones(3), np.ones((2, 3), np.float32), np.ones((2, 3), int)):
        with pytest.raises(ValueError, match=rf"{name}: wanted shape \(2, 3\) and float64, got "):
            setattr(x, name, engine.constant(value))


@data_and_grad
def test_data_that_is_set_is_shared_if_it_is_a_tensors_and_copied_if_an_array(engine):
    x, other, array = engine.tensor(np.ones(3)), engine.tensor(np.zeros(3)), engine.constant(np.full(3, 5.0))
    x.data = other
    other.data.add_(2.0)
    np.testing.assert_array_equal(engine.value(x), np.full(3, 2.0))
    x.data = array
    x.data.add_(1.0)
    np.testing.assert_array_equal(engine.host(array), np.full(3, 5.0))


@data_and_grad
def test_requires_grad_is_set_as_in_pytorch(engine, torch):
    for lib, x in ((engine.package, engine.tensor(np.ones(3))), (torch, torch.ones(3, requires_grad=True))):
        y = x * 2
        with pytest.raises(RuntimeError):
            y.requires_grad = False
        with pytest.raises(RuntimeError):
            lib.arange(3).requires_grad_()
        x.requires_grad = False
        assert not (x * 2).requires_grad and y.requires_grad
        assert x.requires_grad_() is x and (x * 2).requires_grad


@data_and_grad
def test_a_tensor_of_one_number_is_a_number(engine):
    x = engine.tensor(np.array(2.5))
    i = engine.package.tensor(2)
    assert (float(x), int(x), f"{x:.2f}", round(x), bool(x)) == (2.5, 2, "2.50", 2, True)
    assert "abc"[i] == "c" and [10, 20, 30][i] == 30 and list(range(i)) == [0, 1]
    with pytest.raises(TypeError, match="only integer tensors"):
        "abc"[x]
    with pytest.raises(RuntimeError, match=r"item: wanted a tensor of one number, got shape \(2,\)"):
        float(engine.tensor(np.ones(2)))
    assert 2.5 in engine.tensor(np.array([1.0, 2.5])) and 3.0 not in engine.tensor(np.ones(2))


@data_and_grad
@pytest.mark.host
def test_copies_and_pickles_of_leaves_are_equal_and_independent(engine):
    x = engine.tensor(np.ones(3))
    (x * 2.0).sum().backward()
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert other.requires_grad
        np.testing.assert_array_equal(engine.grad(other), np.full(3, 2.0))
        other.data.zero_()
        np.testing.assert_array_equal(engine.value(x), np.ones(3))
        ((other + 1.0) ** 2).sum().backward()
        np.testing.assert_array_equal(engine.grad(other), np.full(3, 4.0))
    with pytest.raises(RuntimeError, match="only leaves can be copied deeply, this is the result of mul"):
        copy.deepcopy(x * 2.0)
    leaf = pickle.loads(pickle.dumps(x * 2.0))
    assert leaf.requires_grad and leaf.is_leaf
    np.testing.assert_array_equal(engine.value(leaf), np.full(3, 2.0))


# Grad modes


@in_place
def test_grad_modes_are_pytorchs(engine, torch):
    def seen(lib, x):
        @lib.no_grad
        def bare(x):
            return (x * 2).requires_grad

        @lib.no_grad()
        def within(x):
            with lib.enable_grad():
                inside = (x * 2).requires_grad
            return inside, (x * 2).requires_grad

        @lib.enable_grad()
        def enabled(x):
            return (x * 2).requires_grad

        found = [bare(x), *within(x), (x * 2).requires_grad]
        with lib.inference_mode():
            found += [(x * 2).requires_grad, lib.is_grad_enabled()]
        with lib.inference_mode(False):
            found.append((x * 2).requires_grad)
        with lib.no_grad():
            found.append(enabled(x))
        with lib.set_grad_enabled(False):
            found.append((x * 2).requires_grad)
        found.append((x * 2).requires_grad)
        lib.set_grad_enabled(False)
        found.append((x * 2).requires_grad)
        lib.set_grad_enabled(True)
        return [*found, (x * 2).requires_grad]

    assert seen(engine.package, engine.tensor(np.ones(2))) == seen(torch, torch.ones(2, requires_grad=True))
