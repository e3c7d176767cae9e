"""`capture` on the CPU: a recorded step does what it did before, number by number, or says what can't be recorded."""

import gc
import mmap
import operator
import os
import random
import re
import subprocess
import sys
import threading
import weakref
from collections import namedtuple
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from .test_kernels import ROOT, run

pytestmark = [pytest.mark.capability("captured steps"), pytest.mark.host]


def moons(nn):
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))


def mlp(nn):
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def normed(nn):
    """Batch norm, dropout and layer norm; a bias before batch norm would be moved by nothing but rounding."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.GELU(), nn.AvgPool2d(3), nn.Flatten()),
        *(
            nn.Linear(64, 16, bias=False),
            nn.BatchNorm1d(16),
            nn.Tanh(),
            nn.Dropout(0.3),
            nn.LayerNorm(16),
            nn.Linear(16, 10),
        ),
    )


def attention(nn):
    """A small GPT: a layer of two heads, each position sees those before it.

    A bias of the keys would be moved by nothing but rounding, as softmax doesn't see it.
    """
    functional = nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.joint = nn.LayerNorm(8), nn.Linear(8, 24, bias=False)
            self.norm2, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 32), nn.Linear(32, 8)
            self.register_buffer("later", self.up.weight.new_ones((6, 6)).triu(1).bool())

        def forward(self, x):
            q, k, v = [y.reshape(-1, 6, 2, 4).transpose(1, 2) for y in self.joint(self.norm1(x)).split(8, dim=2)]
            seen = (q @ k.transpose(-2, -1) / 2).masked_fill(self.later, float("-inf"))
            x = x + (functional.softmax(seen, dim=-1) @ v).transpose(1, 2).reshape(-1, 6, 8)
            return x + self.down(functional.gelu(self.up(self.norm2(x))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.letters, self.places = nn.Embedding(11, 8), nn.Embedding(6, 8)
            self.block, self.out = Block(), nn.Linear(8, 11)

        def forward(self, letters):
            return self.out(self.block(self.letters(letters) + self.places.weight)).reshape(-1, 11)

    return GPT()


def residual(nn):
    """A ResNet of one block, which halves the size of its images."""

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Conv2d(8, 8, 3, 1, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
            self.downsample = nn.Sequential(nn.Conv2d(3, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
            self.fc = nn.Linear(8, 10)

        def forward(self, x):
            out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return self.fc((out + self.downsample(x)).relu().mean(dim=(2, 3)))

    return ResNet()


def margin(package, model, scores, labels):
    return (1 - labels * scores).relu().mean() + 1e-4 * sum((p * p).sum() for p in model.parameters())


def entropy(package, model, logits, labels):
    return package.nn.functional.cross_entropy(logits, labels.reshape(-1))


def letters(package, model, out, labels):
    return package.nn.functional.cross_entropy(out[0], labels, ignore_index=-1)


def squared(package, model, images, labels):
    return package.nn.functional.mse_loss(images, labels)


def batches(kind, dtype, count=8):
    """Batches of the inputs and labels of a network."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        if kind == "moons":
            yield rng.standard_normal((100, 2)).astype(dtype), rng.choice([-1.0, 1.0], (100, 1)).astype(dtype)
        elif kind == "attention":
            yield rng.integers(0, 11, (3, 6)), rng.integers(0, 11, (3, 6))
        elif kind == "gpt":
            yield rng.integers(0, 27, 16), np.where(np.arange(16) < rng.integers(4, 17), rng.integers(0, 27, 16), -1)
        elif kind in ("resnet", "residual"):
            yield rng.standard_normal((8, 3, 16, 16)).astype(dtype), rng.integers(0, 10, 8)
        elif kind == "autoencoder":
            images = rng.random((16, 784)).astype(dtype)
            yield images, images
        else:
            shape = (16, 784) if kind == "mlp" else (16, 1, 28, 28)
            yield rng.standard_normal(shape).astype(dtype), rng.integers(0, 10, 16)


NETWORKS = {
    "moons": (moons, margin, "SGD", 0.1),
    "mlp": (mlp, entropy, "SGD", 0.1),
    "mnist": ("mnist.network", entropy, "Adam", 1e-3),
    "autoencoder": ("autoencoder.network", squared, "Adam", 1e-3),
    "gpt": ("gpt.GPT", letters, "Adam", 1e-3),
    "residual": (residual, entropy, "SGD", 1e-3),
    "resnet": ("resnet.ResNet20", entropy, "SGD", 1e-4),
    "normed": (normed, entropy, "RMSprop", 1e-3),
    "attention": (attention, entropy, "AdamW", 1e-3),
}


def trained(stage, kind, dtype, way, steps=100):
    """Losses, weights, buffers and the optimizer's state after so many steps, in which the learning rate falls."""
    package, optim = stage.package, stage.part("optim")
    network, loss_of, optimizer, lr = NETWORKS[kind]
    package.manual_seed(0)
    random.seed(0)
    if isinstance(network, str):
        module, _, name = network.partition(".")
        model = getattr(stage.part(module), name)()
    else:
        model = network(package.nn)
    model.to(dtype)
    optimizer = getattr(optim, optimizer)(model.parameters(), lr=lr)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.99**step)

    def step(x, y):
        loss = loss_of(package, model, model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    data = [tuple(package.tensor(array) for array in batch) for batch in batches(kind, dtype)]
    step, losses = way(step), []
    for i in range(steps):
        losses.append(step(*data[i % len(data)]).item())
        scheduler.step()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    for i, values in optimizer.state_dict()["state"].items():
        state |= {f"{i} {name}": np.array(value) for name, value in values.items()}
    grads = {f"grad of {name}": p.grad.numpy() for name, p in model.named_parameters()}
    return losses, state, grads


# To compile a step takes long: most networks have one dtype. The demo has gpt.
AT_ONCE = [(kind, np.float32) for kind in ("moons", "mnist", "normed", "attention")]
AT_ONCE += [(kind, np.float64) for kind in ("moons", "autoencoder", "residual")]
LATER = [(kind, dtype) for kind in NETWORKS for dtype in (np.float32, np.float64) if (kind, dtype) not in AT_ONCE]
EACH = [*AT_ONCE, *[pytest.param(*each, marks=pytest.mark.whole) for each in LATER]]


@pytest.mark.parametrize("kind, dtype", EACH)
def test_weights_are_the_same_after_a_hundred_captured_steps(stage, kind, dtype):
    """Also the losses of all steps, the last gradients, the state of the optimizer and batch norm's statistics."""
    expected, got = (trained(stage, kind, dtype, way) for way in (lambda step: step, stage.package.capture))
    if (kind, dtype) in [("resnet", np.float32), ("residual", np.float32)]:
        expected, got = expected[:2], got[:2]  # some of its ReLUs' many inputs are 0 but for rounding: gradients jump
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if dtype is np.float64 else {"rtol": 1e-3, "atol": 1e-5}
    np.testing.assert_allclose(got[0], expected[0], **tolerance)
    for wanted, found in zip(expected[1:], got[1:]):
        assert wanted.keys() == found.keys()
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, **tolerance, err_msg=name)
            assert found[name].dtype == value.dtype


def layer(package, way, **options):
    """A weight, and a step of SGD on the mean of x @ weight, captured or not."""
    weight = package.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    optimizer = package.optim.SGD([weight], **{"lr": 0.5, **options})

    def step(x):
        optimizer.zero_grad()
        out = x @ weight
        out.mean().backward()
        optimizer.step()
        return out

    return weight, optimizer, way(step)


def plain(step):
    return step


@pytest.fixture
def capture(stage):
    return stage.package.capture


def both(stage, program):
    """What a program gives that is called with `capture` and without, as arrays that must be the same."""
    expected, got = (program(stage.package, way) for way in (plain, stage.package.capture))
    np.testing.assert_allclose(np.array(got, dtype=float), np.array(expected, dtype=float), rtol=1e-6)


def test_another_shape_is_recorded_anew(stage):
    def program(package, way):
        weight, _, step = layer(package, way)
        outs = [step(package.ones(n, 2)).sum().item() for n in (3, 3, 3, 5, 5, 5, 3, 1)]
        return [*outs, *weight.detach().numpy().ravel()]

    both(stage, program)


def test_a_learning_rate_goes_on_changing(stage):
    def program(package, way):
        weight, optimizer, step = layer(package, way, momentum=0.9)
        scheduler = package.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        for _ in range(7):
            step(package.ones(3, 2))
            scheduler.step()
        return weight.detach().numpy()

    both(stage, program)


def test_dropout_draws_anew_in_each_step(stage):
    def program(package, way):
        package.manual_seed(3)
        step = way(lambda x: package.nn.functional.dropout(x, 0.5))
        outs = [step(package.ones(20)).numpy() for _ in range(4)]
        package.manual_seed(4)
        outs += [step(package.ones(20)).numpy() for _ in range(2)]
        assert len({out.tobytes() for out in outs}) == len(outs)
        return outs

    both(stage, program)


def test_gradients_add_up_where_none_forgets_them(stage):
    def program(package, way):
        weight = package.ones(3, requires_grad=True)

        def step(x):
            (weight * x).sum().backward()

        step, grads = way(step), []
        for i in range(7):
            if i == 4:
                weight.grad = None
            step(package.full((3,), float(i)))
            grads.append(weight.grad.numpy().copy())
        return grads

    both(stage, program)


def test_weights_and_state_that_are_loaded_are_those_of_the_next_step(stage):
    def program(package, way):
        weight, optimizer, step = layer(package, way, momentum=0.9)
        for _ in range(3):
            step(package.ones(3, 2))
        saved = optimizer.state_dict()
        for _ in range(3):
            step(package.ones(3, 2))
        optimizer.load_state_dict(saved)
        weight.data = package.zeros(2, 2)
        for _ in range(3):
            step(package.ones(3, 2))
        return weight.detach().numpy()

    both(stage, program)


def test_results_are_copies_in_the_form_that_the_step_gave(stage, capture):
    package = stage.package
    step = capture(lambda x: (x * 2, None, (x._data + 1,)))
    outs = [step(package.full((2,), float(i))) for i in range(4)]
    assert [out[0].tolist() for out in outs] == [[2.0 * i] * 2 for i in range(4)]
    assert all(out[1] is None and type(out[2][0]) is np.ndarray for out in outs)
    assert [out[2][0].tolist() for out in outs] == [[i + 1.0] * 2 for i in range(4)]


def test_graphs_of_others_know_that_weights_have_changed(stage):
    package = stage.package
    weight, _, step = layer(package, stage.package.capture)
    for _ in range(3):
        step(package.ones(3, 2))
    loss = (weight * weight).sum()
    step(package.ones(3, 2))
    with pytest.raises(RuntimeError, match="was changed in place"):
        loss.backward()


def test_the_source_is_the_step(stage, capture):
    """It is text that Python runs, with loops over literals; what fuses is one loop."""
    step, x = capture(lambda x: ((x * 2 + 1).relu() - x).sum()), stage.package.ones(50)
    assert step.source is None
    assert [step(x).item() for _ in range(3)] == [100.0] * 3
    compile(step.source, "step", "exec")
    assert step.source.count("for i in range(50)") == 1 and "def step(x_in):" in step.source


@pytest.mark.parametrize("n", [63, 64])
def test_functions_of_long_rows_are_the_kernels(stage, capture, n):
    """They are vectorized, unlike NumPy's; but not in a loop with a sum, which has an order."""
    x = stage.package.from_numpy(10 * np.random.default_rng(0).standard_normal((4, n), "f4"))
    step, wanted = capture(lambda x: (x.softmax(-1), x.tanh())), [np.array(x.softmax(-1)), np.array(x.tanh())]
    for _ in range(3):
        for found, want in zip(step(x), wanted, strict=True):
            np.testing.assert_allclose(np.array(found), want, rtol=2e-6)
    loops = step.source.partition("def step")[0].split("\n    for ")
    (there,) = [loop for loop in loops if "exp(" in loop]
    assert ("np.exp(" in there, "np.tanh(" in step.source, "float32(0)" in there) == ((n < 64,) * 3), step.source


BESIDE_A_PRODUCT = {  # what follows it, and in how many loops
    "a bias": (lambda nn, x, w, b: nn.functional.linear(x, w, b), 0),
    "a sum elsewhere": (lambda nn, x, w, b: (lambda y: (y, y + b))(x @ w.T), 1),
    "a vector elsewhere": (lambda nn, x, w, b: (x @ w.T, b + b), 1),
    "a matrix in place": (lambda nn, x, w, b: operator.iadd((x @ w.T)._data, w._data), 1),
    "what takes its place": (lambda nn, x, w, b: np.add(b._data, b._data, out=(x @ w.T)._data), 1),
    "a number in its place": (lambda nn, x, w, b: np.add(2.0, b._data, out=(x @ w.T)._data), 1),
}


@pytest.mark.parametrize("what", BESIDE_A_PRODUCT)
def test_a_product_adds_its_bias_itself_and_nothing_else(stage, capture, what):
    function, loops = BESIDE_A_PRODUCT[what]
    x, w, b = (
        stage.package.from_numpy(np.random.default_rng(0).standard_normal(n, "f4"))
        for n in ((128, 128), (128, 128), 128)
    )
    step = capture(lambda x, w, b: function(stage.package.nn, x, w, b))
    first, *others = (
        [np.array(y) for y in out] if type(out) is tuple else [np.array(out)]
        for out in (step(x, w, b) for _ in range(4))
    )
    assert "multiply_0(" in step.source and step.source.count("for i in") == loops
    for other in others:
        for wanted, found in zip(first, other, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-5)


def test_a_large_product_lies_in_memory_as_without_capture(stage, capture):
    """What attention makes of its values is copied by neither then."""
    x = stage.package.from_numpy(np.random.default_rng(0).standard_normal((4, 64, 192), "f4"))

    def attend(x):
        q, k, v = [y.view(4, 64, 4, 16).transpose(1, 2) for y in x.split(64, dim=2)]
        return (stage.package.softmax(q @ k.transpose(-2, -1), dim=-1) @ v).transpose(1, 2).reshape(4, 64, 64)

    step, wanted = capture(attend), np.array(attend(x))
    for _ in range(4):
        np.testing.assert_allclose(np.array(step(x)), wanted, rtol=1e-5, atol=1e-6)
    assert (step.source.count("multiply_0("), step.source.count("copy")) == (2, 0), step.source


def test_a_product_reads_the_weights_where_they_are(stage, capture, monkeypatch):
    """A copy in each step would take as long as the product."""
    package, product, copies = stage.package, stage.part("kernels_cpu.matrix_product"), []
    monkeypatch.setattr(product, "contiguous", lambda x: copies.append(x) or np.ascontiguousarray(x))
    layer, x = package.nn.Linear(128, 96), package.ones(128, 128)

    def train(x):
        layer.zero_grad()
        layer(x * 2).square().sum().backward()

    step = capture(train)
    for _ in range(4):
        step(x)
    assert step.source.count("multiply_0(") == 2 and not copies


def test_what_calls_gave_is_freed_before_the_next_when_nobody_reads_it_any_more(stage, capture):
    softmax = stage.package.softmax
    step, x = capture(lambda x: softmax(softmax(softmax(x, 1), 1), 1)), stage.package.ones(64, 256)
    outs = [np.array(step(x)) for _ in range(3)]
    lines = [re.sub(r" +#.*", "", line).strip() for line in step.source.partition("def step")[2].splitlines()[1:]]
    assert [line.split("(")[0] for line in lines if line.startswith(("c", "del"))] == [
        *("c0_0, = placed", "c1_0, = placed", "del c0_0", "c2_0, = placed")
    ], step.source
    np.testing.assert_allclose(outs[2], outs[0], rtol=1e-6)


@pytest.mark.skipif(sys.platform != "linux" or mmap.PAGESIZE != 4096, reason="wants Linux with pages of 4 KiB")
def test_a_plan_does_not_hold_what_the_steps_before_it_took(stage):
    memory = stage.part("kernels_cpu.memory")

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    array = memory.empty((64 << 20,), np.dtype("u1"))
    array[:] = 1
    before = resident()
    del array
    assert resident() > before - (1 << 20)  # it waits for the next one of its size
    memory.trim()
    assert resident() < before - (60 << 20)
    again = memory.empty((64 << 20,), np.dtype("u1"))
    again[:] = 2
    assert again.sum(dtype=int) == 2 << 26


def test_arrays_of_several_sizes_share_the_memory_of_a_captured_step(stage, capture, monkeypatch):
    arena, taken = stage.part("kernels_cpu.memory").Arena, []
    take = arena.take
    monkeypatch.setattr(arena, "take", lambda self, size: noted_block(take(self, size), size, taken))
    package, x = stage.package, stage.package.ones(64, 256)

    def step(x):
        wide = package.softmax(x, 1)
        narrow = package.softmax(wide[:, :100], 1)  # `wide` is needed up to here,
        return package.softmax(narrow, 1)  # and this fits into its place

    step = capture(step)
    outs = [np.array(step(x)) for _ in range(4)]
    sizes = [64 * 256 * 4, 64 * 100 * 4 // 4096 * 4096 + 4096]
    assert taken == 2 * [(sizes[0], 0), (sizes[1], sizes[0]), (sizes[1], 0)]
    np.testing.assert_array_equal(outs[3], outs[0])


def noted_block(block, size, taken):
    taken.append((size, block[1]))
    return block


def test_blocks_of_an_arena_never_overlap_whoever_takes_them(stage):
    """Four threads take and free blocks of random sizes, which are theirs alone; at the end all is one gap again."""
    memory = stage.part("kernels_cpu.memory")
    arena, wrong, missed = memory.Arena(60 * memory.PAGE), [], []

    def work(seed):
        rng, mine = random.Random(seed), []
        for _ in range(400):
            array = arena.during(memory.empty)((rng.randint(1, 20) * memory.PAGE,), np.dtype("u1"))
            missed.append(array.base.free is not arena.free)  # it lies elsewhere, as no gap is large enough
            array[:] = seed
            mine.append(array)
            if len(mine) > 4:
                gone = mine.pop(rng.randrange(4))
                wrong.append((gone != seed).any())

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(wrong) and 0 < sum(missed) < len(missed)
    assert arena.take(60 * memory.PAGE) == (arena.region, 0) and arena.take(1) is None


def test_advice_that_the_system_does_not_know_is_left_out(stage):
    memory = stage.part("kernels_cpu.memory")
    region = mmap.mmap(-1, memory.PAGE)
    memory._advise(region, "MADV_OF_NO_SYSTEM")
    memory._advise(region, "MADV_DONTNEED", 1, memory.PAGE)  # not where a page begins: EINVAL


def test_a_captured_step_leaves_nothing_to_the_garbage_collector(stage, capture):
    Pair = namedtuple("Pair", "first second")
    step = capture(lambda x: Pair(x * 2, (x.sum(), None)))
    for _ in range(3):
        step(stage.package.ones(50, 50))
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            step(stage.package.ones(50, 50))
        assert gc.collect() == 0
    finally:
        gc.enable()


OWN = {}  # of each package a generator that is there before the step


def own(package):
    return OWN.setdefault(package, package.Generator())


REFUSED = {
    "reads a number": lambda package, x: x * x.sum().item(),
    "it reads a number, which will be another in each step: return": lambda package, x: x if x.sum() > 0 else -x,
    "depends on numbers that are not known yet: use where": lambda package, x: x[x > 0],
    "the shape of what argwhere gives": lambda package, x: x.nonzero(),
    "random numbers were drawn": lambda package, x: x + package.rand(3),
    "means than dropout": lambda package, x: x + package.rand(3, generator=own(package)),
    "it seeds": lambda package, x: package.manual_seed(0) and x,
    "got float16": lambda package, x: x.half() * 2,
    "an array that was made in the step is updated in place": lambda package, x: operator.iadd(package.zeros(3), x),
    "what is indexed or updated in place be made outside": lambda package, x: package.zeros(3).add_(x),
    "call numpy\\(\\) after it": lambda package, x: x + package.tensor(x.numpy()),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_recorded_is_refused_with_its_line(stage, capture, why):
    package = stage.package
    step, x = capture(lambda x: REFUSED[why](package, x)), package.ones(3)
    step(x)
    with pytest.raises(RuntimeError, match=f"capture: the step can't be recorded: .*{why}.*test_capture.py, line "):
        step(x)


def test_a_step_that_is_refused_has_changed_nothing(stage, capture):
    package = stage.package
    weight, optimizer, step = layer(package, lambda step: capture(lambda x: step(x).sum().item()), momentum=0.9)
    step(package.ones(3, 2))
    before, state = weight.detach().numpy().copy(), optimizer.state_dict()["state"][0]["momentum_buffer"].numpy().copy()
    line = "weight, optimizer, step = layer"
    with pytest.raises(RuntimeError, match=re.escape(line)):
        step(package.ones(3, 2))
    np.testing.assert_array_equal(weight.detach().numpy(), before)
    np.testing.assert_array_equal(optimizer.state_dict()["state"][0]["momentum_buffer"].numpy(), state)
    assert type(weight._data) is np.ndarray and type(weight._grad) is np.ndarray


def test_a_learning_rate_that_the_step_sets_is_refused(stage, capture):
    weight, optimizer, step = layer(stage.package, plain)
    scheduler = stage.package.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    later = stage.package.optim.lr_scheduler.StepLR(optimizer, 9)  # which will set another one in the ninth step
    for one in (scheduler, later):
        captured, x = capture(lambda x, one=one: (step(x), one.step())[0]), stage.package.ones(3, 2)
        captured(x)
        with pytest.raises(RuntimeError, match="it sets a learning rate, which would stay as it is: call the schedul"):
            captured(x)


def small(package):
    """A parameter that an optimizer updates, and a step that does it."""
    weight = package.tensor([1.0, -2.0, 0.5], requires_grad=True)
    return weight, package.optim.Adam([weight], lr=0.1)


def test_state_that_an_optimizer_begins_anew_is_begun_once(stage):
    """Also by an optimizer in the place of another; and the learning rate is that of the new one."""

    def program(package, way):
        weight, optimizer = small(package)
        fresh = optimizer.state_dict()

        def step(x):
            optimizer.zero_grad()
            (weight * x).square().sum().backward()
            optimizer.step()

        step, found = way(step), []
        for i in range(9):
            if i == 3:
                optimizer.load_state_dict(fresh)
            if i == 6:
                optimizer = package.optim.SGD([weight], lr=0.01)
            if i == 7:
                optimizer = package.optim.SGD([weight], lr=0.02)
            step(package.full((3,), i + 1.0))
            found.append(weight.detach().numpy().copy())
        return found

    both(stage, program)


def test_what_is_frozen_between_steps_stays_as_it_is(stage):
    def program(package, way):
        weight, optimizer = small(package)
        other = package.ones(3, requires_grad=True)

        def step(x):
            weight.grad = None
            (weight * other * x).sum().backward()
            optimizer.step()

        step, found = way(step), []
        for i in range(5):
            weight.requires_grad_(i != 3)
            step(package.full((3,), i + 1.0))
            found.append(weight.detach().numpy().copy())
        return found

    both(stage, program)


def test_a_learning_rate_may_be_a_tensor(stage):
    def program(package, way):
        weight = package.ones(3, requires_grad=True)
        rate = package.tensor(0.5)
        optimizer = package.optim.SGD([weight], lr=rate)

        def step(x):
            weight.grad = None
            (weight * x).sum().backward()
            optimizer.step()

        step = way(step)
        for _ in range(4):
            step(package.ones(3))
            rate.mul_(0.5)
        return weight.detach().numpy()

    both(stage, program)


IN_PLACE = {
    "moved by one": lambda package, kept, x: kept.add_(x).__setitem__(slice(1, None), kept[:-1]),
    "transposed": lambda package, kept, x: kept.copy_(kept.T),
    "rows of its own": lambda package, kept, x: kept.add_(x).__setitem__(package.arange(1, 4), kept[:3]),
    "a number at indices": lambda package, kept, x: kept.__setitem__(package.arange(0, 4, 2), 7.0),
    "numbers from outside": lambda package, kept, x: kept.__setitem__(1, package.tensor([1.0, 2.0, 3.0, 4.0])),
    "an argument": lambda package, kept, x: x.add_(kept),
    "a transposed argument": lambda package, kept, x: x.T.add_(kept)[:0],
    "an argument that is too large later": lambda package, kept, x: x.clamp_(max=16.5),
    "nothing": lambda package, kept, x: kept[:, :0].mul_(x[:, :0]),
}


@pytest.mark.parametrize("what", IN_PLACE)
def test_what_a_step_updates_in_place_is_what_it_was_without(stage, what):
    """Where it reads what it writes, it reads first; it may update arguments, in whatever order their numbers lie."""

    def program(package, way):
        kept, found = package.arange(16.0).reshape(4, 4), []
        step = way(lambda x: IN_PLACE[what](package, kept, x))
        for i in range(3):
            x = package.arange(float(i), i + 16.0).reshape(4, 4).T
            step(x)
            found += [kept.numpy().copy(), x.numpy().copy()]
        return found

    both(stage, program)


def test_gradients_of_what_takes_the_place_of_others_are_those_without_capture(stage):
    """The gradient at indices that a constant 0 is written to."""

    def program(package, way):
        weight, found = package.ones(4, 3, requires_grad=True), []

        def step(x, index):
            weight.grad = None
            (weight * x).scatter(1, index, x[:, :1]).square().sum().backward()

        step = way(step)
        for i in range(4):
            step(package.full((4, 3), i + 1.0), package.tensor([[i % 3]] * 4))
            found.append(weight.grad.numpy().copy())
        return found

    both(stage, program)


def test_integers_and_booleans_are_computed_as_numpy_does(stage):
    """Small ones wrap around, and a sum of two booleans is one."""

    def program(package, way):
        def step(x, small, other):
            yes = (small > other) + (other > 7)
            total = [(small + other).to(x.dtype), (small * other - 1).to(x.dtype), yes.to(x.dtype) * 2]
            total += [package.logical_and(x, other).to(x.dtype), yes.amax(0).to(x.dtype), (x * 9).to(np.int16) * 2]
            return sum(total)

        step = way(step)
        numbers = [np.array([200, 100, 0, 5], np.uint8), np.array([100, 200, 9, 0], np.uint8)]
        return [step(package.tensor([1.5, 2, 0, 3]) + i, *map(package.tensor, numbers)).numpy() for i in range(3)]

    both(stage, program)


def test_names_of_arguments_are_any_and_those_of_a_tuple_are_kept(stage, capture):
    """Also those of what the source calls, and of its loops. A captured step within another is a part of it."""
    inner = capture(lambda x, y: x @ y)
    step = capture(lambda number, view, number_in: (inner(number, view).max(0), view.cumsum(0)[1:] * number_in))
    for i in range(4):
        x = stage.package.eye(3) + i
        found, sums = step(x, x, stage.package.ones(3))
        np.testing.assert_allclose(found.values.numpy(), (x @ x).amax(0).numpy())
        assert found.indices.tolist() == [0, 1, 2] and sums.tolist() == x.cumsum(0)[1:].tolist()


def test_tensors_that_the_step_left_may_die(stage):
    """Those that still live get what is theirs."""

    def program(package, way):
        weight, left = package.ones(3, requires_grad=True), []

        def step(x):
            weight.grad = None
            left.append((x * 5).cumsum(0))
            (weight * x).sum().backward()
            weight.grad = weight.grad.cumsum(0)

        step, found = way(step), []
        for i in range(5):
            step(package.full((3,), float(i)))
            found.append(weight.grad.numpy().copy())
            left.clear()
        return found

    both(stage, program)


def test_tensors_are_found_that_garbage_collection_has_frozen(stage):
    x, every = stage.package.ones(3), stage.part("recording").every
    gc.freeze()
    try:
        assert any(x is y for y in every(stage.package.Tensor)) and gc.get_freeze_count()
    finally:
        gc.unfreeze()
    assert any(x is y for y in every(stage.package.Tensor)) and not gc.get_freeze_count()


def test_a_check_that_fails_comes_before_what_follows_it(stage):
    """An index out of range leaves what the step would have updated after it."""

    def program(package, way):
        kept, found = package.ones(3), []

        def step(x, index):
            kept.mul_(x)
            taken = x[index]
            kept.add_(1.0)
            return taken

        step = way(step)
        for i in (0, 1, 2, 3, 0):
            with pytest.raises(IndexError) if i == 3 else nullcontext():
                step(package.ones(3) * 2, package.tensor([i]))
            found.append(kept.numpy().copy())
        return found

    both(stage, program)


def test_a_refused_step_leaves_no_gradient_where_there_was_none(stage, capture):
    weight = stage.package.ones(3, requires_grad=True)

    def step(x):
        (weight * x).sum().backward()
        norm = weight.grad.norm()
        weight.grad = None if whole else weight.grad * (1 / norm.item())
        return norm

    whole, step = True, capture(step)
    step(stage.package.ones(3))
    whole = False
    with pytest.raises(RuntimeError, match="reads a number"):
        step(stage.package.ones(3))
    assert weight.grad is None


def test_an_index_that_is_none_is_an_error_in_every_step(stage, capture):
    package = stage.package
    step = capture(lambda x, i: package.nn.functional.embedding(i, x))
    x, good, bad = package.ones(4, 2), package.tensor([0, 3]), package.tensor([1, 4])
    for _ in range(3):
        assert step(x, good).tolist() == [[1.0, 1.0]] * 2
    with pytest.raises(IndexError, match="wanted indices from 0 to 3"):
        step(x, bad)


def test_arguments_are_tensors_or_arrays(stage, capture):
    step = capture(lambda *arguments: None)
    for arguments in [(), (1,), (stage.package.ones(2), "a word")]:
        with pytest.raises(TypeError, match="capture: wanted Tensors or arrays, all on cpu or all on cuda, got "):
            step(*arguments)
    with pytest.raises(TypeError, match="capture: wanted all arguments by position, got x by name"):
        step(x=np.ones(2))
    step = capture(lambda x: 5)
    step(np.ones(2))
    with pytest.raises(TypeError, match="wanted a Tensor, an array, a tuple of them or None from the step, got int"):
        step(np.ones(2))


def test_a_captured_step_holds_no_tensor_of_the_graph(stage, capture):
    made = []

    def step(x):
        hidden = (x * weight).relu()
        made.append(weakref.ref(hidden))
        hidden.sum().backward()
        weight.grad = None
        return hidden

    weight = stage.package.ones(5, requires_grad=True)
    step = capture(step)
    gc.disable()
    try:
        for _ in range(4):
            step(stage.package.ones(5))
        assert len(made) == 2 and all(tensor() is None for tensor in made)
    finally:
        gc.enable()


def test_without_compiled_kernels_the_step_is_itself(stage):
    code = (
        f"import {stage.name} as s\ncalls = []\n"
        "step = s.capture(lambda x: calls.append(x) or x * 2)\n"
        "for _ in range(4): assert step(s.ones(2)).tolist() == [2.0, 2.0]\nprint(len(calls))"
    )
    out, _ = run(stage, code, GRADUAL_KERNELS="numpy")
    assert out.split() == ["4"]


@pytest.mark.parametrize(("name", "count"), [("moons", ["--epochs", "40"]), ("gpt", ["--steps", "12"])])
def test_a_demo_learns_the_same_when_its_step_is_captured(stage, name, count):
    """Its lines are the same, but for the times, and one more says that the step is compiled."""
    command = [sys.executable, "-m", f"{stage.name}.{name}", *count]
    runs = [subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True) for more in ([], ["--capture"])]
    assert [done.returncode for done in runs] == [0, 0], runs
    plain, captured = ([re.sub(r" +[\d.]+ s.*", "", line) for line in done.stdout.splitlines()] for done in runs)
    assert captured.pop(1).startswith("The second step is recorded and compiled")
    assert captured == plain and len(plain) > 12


def test_a_demo_says_nothing_of_compiling_where_nothing_is_compiled(stage):
    command = [sys.executable, "-m", f"{stage.name}.moons", "--epochs", "1", "--capture"]
    env = {**os.environ, "GRADUAL_KERNELS": "numpy"}
    out = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    assert "Result:" in out and "compiled" not in out


def test_what_was_recorded_leaves_memory_without_the_garbage_collector(stage, monkeypatch):
    """An array of the step's, as large as a network's, isn't held by the record that it knows."""
    made, package = [], stage.package
    array = stage.part("recording").Array
    monkeypatch.setattr(array, "__init__", noted(array.__init__, made))
    x = package.Tensor(np.ones(5000, np.float32))
    step = stage.part("capture").capture(lambda y: (x * y).exp().sum())
    gc.disable()
    try:
        for _ in range(3):
            step(np.full(5000, 0.5, np.float32))
        assert made and not any(one() is not None for one in made)
    finally:
        gc.enable()


def noted(method, made):
    def run(array, *arguments, **options):
        made.append(weakref.ref(array))
        return method(array, *arguments, **options)

    return run
