"""The graph: what backward() does to it, how deep and how entangled it may be, and what is left of it afterwards.

Everything here runs on plain numbers (`engine.number(2.0)`), so that every rung takes part; what needs arrays is in
test_arrays.py.
"""

import asyncio
import gc
import math
import operator
import random
import re
import sys
import threading

import numpy as np
import pytest

capability = pytest.mark.capability


# backward()


@capability("backward")
def test_grad_is_none_before_the_first_backward(engine):
    x = engine.number(2.0)
    y = x * x
    assert x.grad is None
    y.backward()
    assert float(x.grad) == 4.0


@capability("backward")
def test_leaves_accumulate_over_calls(engine):
    x = engine.number(3.0)
    (x * 2.0).backward()
    (x * x).backward()
    assert float(x.grad) == 8.0


@capability("backward")
def test_a_second_backward_exactly_doubles(engine):
    x, w = engine.number(3.0), engine.number(-0.7)
    y = (x * w).tanh() * x
    loss = y * y + y
    loss.backward(**engine.keep)
    first, between = (float(x.grad), float(w.grad)), float(y.grad)
    loss.backward()
    assert (float(x.grad), float(w.grad)) == (2 * first[0], 2 * first[1])
    assert float(y.grad) == between


@capability("backward of arrays")
def test_a_second_backward_needs_the_first_to_keep_the_graph(engine):
    x = engine.number(3.0)
    loss = (x * x).tanh()
    loss.backward()
    with pytest.raises(RuntimeError, match="a second time through this graph.*retain_graph=True"):
        loss.backward()
    assert float(x.grad) != 0.0


@capability("backward")
def test_tensors_between_have_their_grad(engine):
    x = engine.number(3.0)
    y = x * 2.0
    z = y * y
    z.backward()
    assert (float(z.grad), float(y.grad), float(x.grad)) == (1.0, 12.0, 24.0)


@capability("backward")
def test_a_shared_subexpression_is_counted_once_for_each_use(engine):
    x = engine.number(2.0)
    y = x * x  # used three times, at different depths
    (y * y + y).backward()
    assert float(x.grad) == 2 * 2.0 * (2 * 4.0 + 1)


@capability("backward")
def test_a_tensor_between_can_feed_two_graphs(engine):
    x = engine.number(2.0)
    y = x * 3.0
    first, second = y * 5.0, y * y
    first.backward(**engine.keep)
    second.backward()
    assert float(x.grad) == 15.0 + 36.0
    assert float(y.grad) == 12.0


@capability("backward")
def test_backward_of_a_leaf_gives_one(engine):
    x = engine.number(5.0)
    x.backward()
    x.backward()
    assert float(x.grad) == 2.0


@capability("backward")
def test_backward_starts_from_the_gradient_it_is_given(engine):
    x = engine.number(3.0)
    (x * x).backward(0.5)
    assert float(x.grad) == 3.0


@capability("backward")
def test_the_order_of_sums_does_not_depend_on_addresses(engine):
    """Hash values come from addresses, and adding up in another order rounds differently."""

    def gradient():
        x = engine.number(0.1)
        terms = [(x * (0.1 + i)).tanh() * (1.0 / (i + 1)) for i in range(30)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term * x
        total.backward()
        return float(x.grad)

    kept = []
    for i in range(10):
        kept.append([bytearray(977 * i + 1), gradient()])  # moves what comes next in memory
    assert len({result for _, result in kept}) == 1


# Depth and diamonds


@capability("depth and diamonds")
def test_a_chain_of_100000_ops(engine):
    x = engine.number(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1e-5
    y.backward()
    assert float(x.grad) == 1.0


@capability("depth and diamonds")
def test_work_grows_with_diamonds(engine):
    """Without a topological order each diamond doubles the work. Lines run are counted, since clocks vary."""
    assert lines_of_backward(engine, 12) < 4 * lines_of_backward(engine, 6)


@capability("depth and diamonds")
def test_a_ladder_of_60_diamonds(engine):
    assert lines_of_backward(engine, 12) < 4 * lines_of_backward(engine, 6), "60 would take 2^60 steps"
    x = engine.number(1.0)
    diamonds(x, 60).backward()
    assert float(x.grad) == 2.0**60


def diamonds(x, n):
    """x doubled n times by adding it to itself."""
    for _ in range(n):
        x = x + x
    return x


def lines_of_backward(engine, n):
    """How many lines of Python `backward()` runs through on a ladder of n diamonds."""
    root, lines = diamonds(engine.number(1.0), n), 0

    def count(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return count

    previous = sys.gettrace()
    sys.settrace(count)
    try:
        root.backward()
    finally:
        sys.settrace(previous)
    return lines


@capability("depth and diamonds")
def test_a_sum_of_10000_terms(engine):
    x = engine.number(0.5)
    total = sum((x * i for i in range(10_000)), engine.number(0.0))
    total.backward()
    assert float(x.grad) == sum(range(10_000))


# Memory


def live_tensors(engine):
    return sum(issubclass(type(thing), engine.Tensor) for thing in gc.get_objects())


@pytest.fixture
def without_gc():
    """The garbage collector off: only what nothing refers to goes away, at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@capability("memory")
def test_a_dropped_graph_leaves_no_tensor(engine, without_gc):
    before = live_tensors(engine)
    x = engine.number(0.5)
    y = ((x * x + 1.0).log() - x.exp() / x.tanh()) ** 2 * x.sigmoid() + (-x).relu()
    assert live_tensors(engine) > before + 10
    del x, y
    assert live_tensors(engine) == before


@capability("memory")
def test_a_graph_dropped_after_backward_leaves_only_the_leaf(engine, without_gc):
    before = live_tensors(engine)
    x = engine.number(0.5)
    y = (x * x + x.exp()).tanh()
    y.backward()
    del y
    assert live_tensors(engine) == before + 1
    del x
    assert live_tensors(engine) == before


@capability("memory")
def test_training_holds_no_graph_of_an_earlier_step(engine, without_gc):
    w, counts = engine.number(0.5), []
    for _ in range(5):
        loss = (w * 2.0 - 1.0).tanh() ** 2
        w.grad = None
        loss.backward()
        w.data = w.data - 0.1 * w.grad
        counts.append(live_tensors(engine))
    assert len(set(counts)) == 1


@capability("memory")
def test_a_chain_of_100000_ops_is_dropped_without_recursion(engine):
    y = engine.number(1.0)
    for _ in range(100_000):
        y = y * 1.0
    del y  # a destructor that recurses in C would crash here


# requires_grad, no_grad, detach


@capability("requires_grad and no_grad")
def test_what_is_made_requires_grad_and_a_number_met_does_not(engine):
    x = engine.number(2.0)
    assert x.requires_grad
    y = x * 3.0
    assert y.requires_grad
    assert [t.requires_grad for t in y.inputs] == [True, False]


@capability("requires_grad and no_grad")
def test_requires_grad_false_gets_no_grad(engine):
    x, c = engine.number(2.0), engine.Tensor(3.0, requires_grad=False)
    (x * c).backward()
    assert float(x.grad) == 3.0
    assert c.grad is None
    assert not (c * c + 1.0).requires_grad


@capability("requires_grad and no_grad")
def test_backward_without_anything_to_differentiate_is_an_error(engine):
    c = engine.Tensor(3.0, requires_grad=False)
    with pytest.raises(RuntimeError, match="backward: .*requires no grad"):
        (c * 2.0).backward()


@capability("requires_grad and no_grad")
def test_no_grad_remembers_nothing(engine):
    x = engine.number(2.0)
    with engine.package.no_grad():
        y = x * x + 1.0
    assert not y.requires_grad
    assert y.inputs == ()
    assert (x * x).requires_grad


@capability("requires_grad and no_grad")
def test_no_grad_as_a_decorator(engine):
    @engine.package.no_grad()
    def square(x):
        return x * x

    x = engine.number(2.0)
    assert not square(x).requires_grad
    assert not square(x).requires_grad  # and again
    assert (x * x).requires_grad


@capability("requires_grad and no_grad")
def test_no_grad_around_a_generator_covers_its_steps_and_nothing_between(engine):
    x = engine.number(2.0)

    @engine.package.no_grad()
    def squares(n):
        try:
            for _ in range(n):
                sent = yield x * x
        except KeyError:
            yield x * 2.0
        return sent

    steps = squares(2)
    assert not next(steps).requires_grad
    assert (x * x).requires_grad
    assert not steps.send("sent").requires_grad
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is None
    steps = squares(2)
    next(steps)
    assert not steps.throw(KeyError).requires_grad
    steps.close()
    assert (x * x).requires_grad


@capability("requires_grad and no_grad")
def test_no_grad_is_of_its_task_alone(engine):
    x, seen = engine.number(2.0), []

    async def quiet():
        with engine.package.no_grad():
            await asyncio.sleep(0)
            seen.append((x * x).requires_grad)

    async def loud():
        await asyncio.sleep(0)
        seen.append((x * x).requires_grad)

    async def both():
        await asyncio.gather(quiet(), loud())

    asyncio.run(both())
    assert sorted(seen) == [False, True]


@capability("numbers in expressions")
def test_a_tensor_is_a_number_where_it_is_one(engine):
    loss = engine.number(1.5) * 2.0
    assert (float(loss), f"{loss:.2f}", math.floor(float(loss)), round(loss, 1)) == (3.0, "3.00", 3, 3.0)
    assert not math.isnan(loss)
    assert loss > 2.0 and loss >= engine.number(3.0) and loss < 4 and loss <= 3.0 and loss == 3.0 and loss != 2.0
    with pytest.raises(TypeError):
        operator.lt(loss, "4")


@capability("requires_grad and no_grad")
def test_no_grad_ends_with_an_exception(engine):
    x = engine.number(2.0)
    with pytest.raises(KeyError), engine.package.no_grad():
        raise KeyError
    assert (x * x).requires_grad


@capability("requires_grad and no_grad")
def test_no_grad_nests(engine):
    x = engine.number(2.0)
    with engine.package.no_grad():
        with engine.package.no_grad():
            pass
        assert not (x * x).requires_grad
    assert (x * x).requires_grad


@capability("requires_grad and no_grad")
def test_no_grad_is_a_threads_own(engine):
    x, seen = engine.number(2.0), []
    with engine.package.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * x).requires_grad))
        thread.start()
        thread.join()
        assert not (x * x).requires_grad
    assert seen == [True]


@capability("requires_grad and no_grad")
def test_detach_cuts_the_graph_and_item_gives_the_number(engine):
    x = engine.number(2.0)
    y = (x * x).detach()
    assert not y.requires_grad
    (y * x).backward()
    assert float(x.grad) == 4.0
    assert type(y.item()) is float and y.item() == 4.0


# Errors that rung 1 can make; on arrays the same mistakes give infinities


@capability("error messages")
def test_a_tensor_of_no_number_says_what_it_got(engine):
    with pytest.raises(TypeError, match="Tensor: wanted numbers?, got str|Tensor: wanted a number, got str"):
        engine.Tensor("two")


@capability("error messages")
@pytest.mark.parametrize("other", ["two", None, object()], ids=["str", "None", "object"])
def test_operators_refuse_what_is_no_number(engine, other):
    x = engine.number(2.0)
    for operate in (lambda: x + other, lambda: other - x, lambda: x * other, lambda: other / x, lambda: x**other):
        with pytest.raises(TypeError, match="unsupported operand|can't multiply|can only concatenate|only integer"):
            operate()


@pytest.mark.host  # a GPU warns of nothing
@capability("error messages")
def test_a_failing_op_names_itself_and_its_numbers(engine):
    """Python's floats refuse what NumPy's turn into infinities and NaN, which PyTorch does too."""
    x = engine.number(-1.0)
    with_errors = type(x.data) is float
    for operate, message in [
        (lambda: x.log(), "log of -1.0"),
        (lambda: x / 0.0, "div of -1.0, 0.0"),
        (lambda: (x * -1000.0).exp(), "exp of 1000.0"),
        (lambda: x**0.5, "pow of -1.0, 0.5"),
    ]:
        if with_errors:
            with pytest.raises((ArithmeticError, ValueError), match=message):
                operate()
        else:
            assert not np.isfinite(operate().item()), "without a warning, which would be an error here"
            with np.errstate(all="raise"), pytest.raises(FloatingPointError, match=re.escape(ARRAYS[message])):
                operate()


ARRAYS = {  # what is named instead of numbers from rung 2 on
    "log of -1.0": "log of (): invalid value",
    "div of -1.0, 0.0": "div of (), (): divide by zero",
    "exp of 1000.0": "exp of (): overflow",
    "pow of -1.0, 0.5": "pow of (), (): invalid value",
}


# micrograd's own programs


@capability("micrograd's programs")
def test_the_readme_example(engine):
    """The numbers that micrograd's README prints."""
    a, b = engine.number(-4.0), engine.number(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    assert f"{float(g.data):.4f}" == "24.7041"
    g.backward()
    assert f"{float(a.grad):.4f}" == "138.8338"
    assert f"{float(b.grad):.4f}" == "645.5773"


@capability("micrograd's programs")
def test_value_is_the_same_class(engine):
    assert engine.package.Value is engine.package.Tensor


@capability("micrograd's programs")
def test_micrograds_networks_train_as_with_its_own_engine(engine, monkeypatch):
    """micrograd's moons loop, with its `nn` on this engine: each loss is the one that its own engine gives."""
    nn = pytest.importorskip("micrograd.nn", reason="micrograd is not installed")
    expected = moons_losses(nn, nn.Value, nn.Value)
    monkeypatch.setattr(nn, "Value", engine.number)
    assert moons_losses(nn, engine.number, engine.Tensor) == pytest.approx(expected, rel=1e-9)


def moons_losses(nn, value, tensor_class, steps=3):
    """The losses of a few steps of micrograd's demo notebook, on 20 points."""
    rng = random.Random(1337)
    random.seed(1337)
    model = nn.MLP(2, [4, 4, 1])
    points = [[rng.gauss(0, 1), rng.gauss(0, 1)] for _ in range(20)]
    labels = [rng.choice([-1, 1]) for _ in points]
    losses = []
    for k in range(steps):
        scores = [model([value(x) for x in point]) for point in points]
        margins = [(1 + -label * score).relu() for label, score in zip(labels, scores)]
        data_loss = sum(margins) * (1.0 / len(margins))
        loss = data_loss + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            assert isinstance(p, tensor_class)
            p.data = p.data - (1.0 - 0.9 * k / 100) * p.grad
        losses.append(float(loss.data))
    return losses


@pytest.mark.capability("elementary functions")
@pytest.mark.parametrize("name", ["relu", "exp", "tanh", "sigmoid", "__neg__"])
def test_what_comes_out_is_a_float(engine, name):
    """max(x, 0) is an int where x is negative."""
    assert isinstance(getattr(engine.number(-1.0), name)().item(), float)


@pytest.mark.capability("error messages")
def test_a_slope_that_python_cannot_compute_names_its_op(stage, engine):
    if stage.number != 1:
        pytest.skip("from rung 2 on it is infinite, as in PyTorch")
    y = engine.number(0.0) ** 0.5
    with pytest.raises(ValueError, match=r"backward: pow of 0\.0, 0\.5: "):
        y.backward()


# dot, of rung 1 alone: of lists of numbers


def dot_of(stage):
    if stage.number not in (0, 1):  # 0 is a copy with a fault in it
        pytest.skip("that of rung 1 takes lists of numbers; from rung 2 on it is PyTorch's, of arrays")
    return stage.package.dot


@capability("arithmetic")
def test_dot_is_a_sum_of_products(stage):
    """Of two lists, of a list with itself, with what has no gradient and with numbers: as by `*` and `+` in turn."""

    def results(dot):
        x, y = (
            [stage.package.Tensor(number) for number in numbers] for numbers in ((1.5, -2.0, 0.5), (3.0, 0.25, -1.0))
        )
        constants = [(a + b).detach() for a, b in zip(x, y)]
        out = dot(x, y) * dot(x, x) + dot(constants, y) + dot(x, [2.0, 3, -0.5]) + dot([1.0, 2.0, 3.0], [2.0, 0.5, 1.0])
        out.backward()
        return [out.item(), *[a.grad for a in (*x, *y)]]

    wanted = results(lambda x, y: sum(a * b for a, b in zip(x, y)))
    assert results(dot_of(stage)) == pytest.approx(wanted, rel=1e-12)


@capability("error messages")
def test_dot_takes_two_lists_of_one_length(stage):
    dot, x = dot_of(stage), stage.package.Tensor(2.0)
    with pytest.raises(ValueError, match="dot: wanted lists of one length, got 2 and 1 numbers"):
        dot([x, x], [x])
    with pytest.raises(TypeError, match="dot: wanted two lists of Tensors or numbers"):
        dot([x], ["2"])
    with stage.package.no_grad():
        assert not dot([x], [x]).requires_grad
    assert dot([x], [x]).inputs == (x, x) and not dot([x.detach()], [x.detach()]).requires_grad


@capability("requires_grad and no_grad")
def test_a_hook_sees_a_complete_gradient_once_as_in_pytorch(stage):
    """A leaf that is used twice; one that has no hook any more; what no result or no gradient belongs to is refused."""
    torch = pytest.importorskip("torch")
    if stage.foreign or stage.number == 1:
        pytest.skip("not on this rung")
    seen = []
    for lib in (stage.package, torch):
        x, y = (lib.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
        found = []
        x.register_post_accumulate_grad_hook(lambda leaf, found=found: found.append(("x", leaf.grad.tolist())))
        handle = y.register_post_accumulate_grad_hook(lambda leaf, found=found: found.append(("y", leaf.grad.tolist())))
        (x * y + x.exp() * y.detach()).sum().backward()
        handle.remove()
        (x * y * x).sum().backward()
        seen.append(found)
        for wrong in (x * 2, lib.tensor([1.0])):
            with pytest.raises(RuntimeError):
                wrong.register_post_accumulate_grad_hook(print)
    assert [name for name, _ in seen[0]] == [name for name, _ in seen[1]]
    for (_, ours), (_, theirs) in zip(*seen):
        assert ours == pytest.approx(theirs, rel=1e-5)


@capability("requires_grad and no_grad")
def test_an_input_without_a_gradient_gets_none_and_its_hook_is_not_called(stage):
    """Nor does anything get one that only leads there; what it gets elsewhere counts, and its hook waits for that."""
    if stage.foreign or stage.number == 1:
        pytest.skip("not on this rung")
    apply, found = stage.part("engine").apply, []
    x, y, z = (stage.package.tensor([1.0], requires_grad=True) for _ in range(3))
    for leaf in (x, y, z):
        leaf.register_post_accumulate_grad_hook(lambda leaf: found.append((leaf, leaf.grad.item())))
    three = y * z * 3
    out = apply(lambda a, b, c: (a + b + c, lambda g: (g, None, None)), (x, three, z))
    (out + z * 5).sum().backward()
    assert three.grad is None and y.grad is None
    assert [(leaf is x, leaf is z, value) for leaf, value in found] == [(True, False, 1.0), (False, True, 5.0)]
