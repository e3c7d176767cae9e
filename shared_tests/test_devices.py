"""Devices: what goes where, what is refused and what it costs, on CuPy's arrays where there is a GPU, and a stand-in.

The stand-in (standin.py) shows that the rules keep to NumPy's protocols and how often numbers go from one memory to the
other. Only a GPU shows that its kernels are right, and only there can a step be recorded.
"""

import random
import re
import sys
import warnings
from argparse import Namespace
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from . import standin
from .conftest import gpu_to_use
from .test_training import cnn

pytestmark = pytest.mark.capability("devices")


@pytest.fixture(params=["cuda", "stand-in"])
def device(request, stage):
    """A name of a device: that of the GPU where there is one, or a stand-in that goes by it."""
    if request.param == "cuda":
        gpu_to_use()
        yield "cuda"
    else:
        with standin.in_place_of_cupy(stage.part("device")):
            yield "cuda"


@pytest.fixture
def transfers(device, stage):
    """`with transfers() as count:` counts how often numbers go from one memory to the other."""
    module = stage.part("device").gpu()
    return _of_the_stand_in if module is standin else lambda: _of_cupy(module)


@contextmanager
def _of_the_stand_in():
    standin.TRANSFERS.clear()
    yield standin.TRANSFERS


@contextmanager
def _of_cupy(cupy):
    """What goes to the GPU is copied into pinned memory first; what comes from it makes the host wait, an error."""
    cupyx, count, pool = pytest.importorskip("cupyx"), Counter(), cupy.cuda.PinnedMemoryPool()

    def allocate(size):
        count["to device"] += 1
        return pool.malloc(size)

    cupy.cuda.set_pinned_memory_allocator(allocate)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "cupyx.allow_synchronize will be removed")
            with cupyx.allow_synchronize(False):
                yield count
    finally:
        cupy.cuda.set_pinned_memory_allocator(cupy.cuda.PinnedMemoryPool().malloc)


# To and fro


def test_a_tensor_goes_to_a_device_and_comes_back(stage, device):
    Tensor = stage.package.Tensor
    x = Tensor([1.0, 2.0])
    y = x.to(device)
    assert (x.device, y.device) == ("cpu", "cuda")
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert y.to(device) is y and x.to("cpu") is x
    np.testing.assert_array_equal(y.to("cpu").numpy(), [1, 2])
    assert Tensor([1.0, 2.0], device=device).device == "cuda"
    assert Tensor(y.data).device == "cuda"
    assert Tensor(y.data, device="cpu").device == "cpu"
    assert not Tensor([1, 2], device=device).requires_grad


MADE = {
    "zeros": (2, 3),
    "ones": (2, 3),
    "empty": (2,),
    "full": ((2, 3), 7),
    "arange": (1, 9, 3),
    "linspace": (0, 1, 5),
    "logspace": (0, 1, 5),
    "eye": (2, 3),
}


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_on_a_device_is_made_there(stage, transfers, name):
    """Nothing is brought to it, which a recorded step couldn't repeat; and so by methods that make more of a kind."""
    package = stage.package
    make, like = getattr(package, name), package.tensor([1.0], device="cuda")
    with transfers() as count:
        made = make(*MADE[name], device="cuda")
        if method := getattr(like, f"new_{name}", None):
            more = method(*MADE[name])
    assert +count == Counter(), count
    here = make(*MADE[name])
    assert (made.device, made.dtype, made.requires_grad) == ("cuda", here.dtype, False)
    np.testing.assert_allclose(made.cpu().numpy(), here.numpy(), rtol=1e-6)
    if method:
        np.testing.assert_array_equal(more.cpu().numpy(), here.numpy())
        assert (more.device, more.dtype) == ("cuda", "float32")


def test_an_array_of_a_device_is_a_tensor_there(stage, device):
    array = stage.part("device").moved(np.arange(3), "cuda")
    made = stage.package.as_tensor(array)
    assert made.device == "cuda" and made._data is array
    assert stage.package.as_tensor(array, device="cpu").tolist() == [0, 1, 2]


def test_a_gradient_comes_back_to_where_its_tensor_is(engine):
    """Planted faults are caught by this one on the stand-in."""
    device = sys.modules[engine.package.__name__ + ".device"]
    with standin.in_place_of_cupy(device):
        x = engine.package.Tensor([1.0, 2.0])
        y = x.to("cuda")
        (y * y).sum().backward()
        assert isinstance(x._grad, np.ndarray)
        assert isinstance(y._grad, standin.Array)
        np.testing.assert_array_equal(x._grad, [2, 4])


def test_a_module_goes_to_a_device_with_all_that_is_its(stage, device):
    nn, Tensor = stage.part("nn"), stage.package.Tensor
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model(Tensor(np.ones((2, 3), np.float32))).sum().backward()
    assert model.to(device) is model
    on_host = stage.part("device").on_host
    arrays = [x._data for x in [*model.state_dict().values(), *[p.grad for p in model.parameters()]]]
    assert len(arrays) == 11 and not any(map(on_host, arrays))
    assert model(Tensor(np.ones((2, 3), np.float32), device=device)).device == "cuda"
    arrays = [*model.to("cpu").state_dict().values(), *[p.grad for p in model.parameters()]]
    assert all(map(on_host, arrays))


def test_what_users_look_at(stage, device):
    x = stage.package.Tensor([1.5], device=device)
    assert x.item() == 1.5
    assert bool(x > 1) is True
    assert repr(x) == "Tensor([1.5], dtype=float32, device=cuda)"
    with pytest.raises(TypeError, match=r"numpy: this tensor is on cuda; \.to\('cpu'\) first"):
        x.numpy()
    with pytest.raises(TypeError, match=r"numpy: this tensor is on cuda"):
        np.asarray(x)


# Training


def train(stage, device, steps=4, load=None, optimizer="Adam", size=9):
    """A small CNN and its optimizer after some steps on random batches that are on the device already."""
    package, nn, optim = stage.package, stage.part("nn"), stage.part("optim")
    package.manual_seed(0)
    model = cnn(_Namespace(stage)).to(device)
    optimizer = getattr(optim, optimizer)(model.parameters(), lr=0.01)
    if load:
        for part, state in zip((model, optimizer), load):
            part.load_state_dict(state)
    rng = np.random.default_rng(1)
    moved = stage.part("device").moved
    batches = [(rng.standard_normal((size, 2, 7, 10), np.float32), rng.integers(0, 5, size)) for _ in range(steps)]
    for x, y in [[moved(array, device) for array in batch] for batch in batches]:
        loss = nn.functional.cross_entropy(model(package.Tensor(x, requires_grad=False)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield model, optimizer


class _Namespace:
    """The modules of rung 4 and 3 under one roof, as in torch.nn."""

    def __init__(self, stage):
        self._parts = stage.part("conv"), stage.part("nn")

    def __getattr__(self, name):
        return next(getattr(part, name) for part in self._parts if hasattr(part, name))


def arrays(stage, part):
    """A part's state in the host's memory, that of an optimizer as one flat dict."""
    state = part.state_dict()
    if "param_groups" in state:
        state = {f"{i}.{name}": x for i, kept in state["state"].items() for name, x in kept.items()}
    return {name: x.cpu().numpy() for name, x in state.items()}


def same(found, wanted, rtol=1e-5):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=rtol, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_training_on_a_device_is_training_on_the_cpu(stage, device, kind):
    (*_, here), (*_, there) = (train(stage, where, optimizer=kind) for where in ("cpu", device))
    for mine, theirs in zip(here, there):
        same(arrays(stage, theirs), arrays(stage, mine), rtol=1e-3)


def test_no_step_of_training_moves_numbers_between_memories(stage, transfers):
    """Nor does it wait for the GPU: to read a number on the host is a transfer."""
    steps = train(stage, "cuda", steps=6)
    _, optimizer = next(steps)
    with transfers() as count:
        for _ in steps:
            optimizer.param_groups[0]["lr"] *= 0.9
    assert count.total() == 0, count


# The networks of the demos


def resnet(stage):
    resnet, rng = stage.part("resnet"), np.random.default_rng(0)
    images = [rng.standard_normal((4, 3, 32, 32), np.float32) for _ in range(8)]
    labels = [rng.integers(0, 10, 4) for _ in images]
    return resnet.ResNet20(), stage.part("nn.functional").cross_entropy, zip(images, labels)


def gpt_of_names(stage):
    gpt = stage.part("gpt")
    random.seed(0)
    model = gpt.GPT()
    return model, gpt.loss_at, [gpt.example(model, name, 8) for name in ("ada", "grace", "emmy", "sofja") * 2]


def gpt_of_plays(stage):
    gpt, rng = stage.part("gpt"), np.random.default_rng(0)
    text = rng.integers(0, 30, 500)
    return gpt.Playwright(30), gpt.loss_of_pieces, [gpt.pieces(text, rng.integers(0, 400, 3), "cpu") for _ in range(8)]


def lstm(stage):
    names = stage.part("names")
    batches = stage.part("utils.data").DataLoader(names.examples(["ada", "grace", "emmy", "sofja"] * 8), 4)
    return names.Network(), names.loss_of, batches


SEQUENCES = pytest.mark.capability("transformers"), pytest.mark.capability("recurrent layers")
DEMOS = [resnet, gpt_of_names, *[pytest.param(of, marks=SEQUENCES) for of in (gpt_of_plays, lstm)]]


def demo_steps(stage, network, capture):
    """The losses of steps of a demo's network on the device, each from a function that makes it, and the weights."""
    package, optim = stage.package, stage.part("optim")
    package.manual_seed(0)
    model, loss_of, batches = network(stage)
    model.to("cuda")
    # with a small eps Adam makes steps of gradients that are nothing but rounding
    optimizer = optim.AdamW(model.parameters(), lr=1e-3, betas=(0.85, 0.99), eps=1e-3)

    def step(*batch):
        loss = loss_of(model, *batch) if network is not resnet else loss_of(model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        stage.part("nn.utils").clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    step = capture(step)
    batches = [[package.as_tensor(x).to("cuda") for x in batch] for batch in batches]
    return [lambda batch=batch: step(*batch) for batch in batches], model


@pytest.mark.parametrize("network", DEMOS)
def test_no_step_of_a_demo_moves_numbers_between_memories(stage, transfers, network):
    (first, *others), _ = demo_steps(stage, network, lambda step: step)
    first()
    with transfers() as count:
        for step in others:
            step()
    assert +count == Counter(), count


@pytest.mark.parametrize("network", DEMOS)
def test_a_recorded_step_of_a_demo_is_its_eager_one(stage, network):
    gpu_to_use()
    (eager, model), (recorded, other) = (
        demo_steps(stage, network, way) for way in (lambda x: x, stage.package.capture)
    )
    losses = [[step().item() for step in steps] for steps in (eager, recorded)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    same(arrays(stage, other), arrays(stage, model), rtol=1e-2)


def test_an_epoch_of_batches_is_one_transfer(stage, transfers):
    data = stage.part("utils.data")
    dataset = data.TensorDataset(np.arange(20), np.arange(20)).to("cuda")
    loader = data.DataLoader(dataset, batch_size=4, shuffle=True, seed=3)
    with transfers() as count:
        batches = [x for x, _ in loader]
    assert +count == Counter({"to device": 1})
    host = data.DataLoader(data.TensorDataset(np.arange(20), np.arange(20)), batch_size=4, shuffle=True, seed=3)
    for x, (y, _) in zip(batches, host):
        assert x.device == "cuda" and y.device == "cpu"
        np.testing.assert_array_equal(x.cpu(), y)


def test_training_by_simulated_kernels_is_training_on_the_cpu(stage):
    """The GPU's own kernels, in Numba's simulator, with everything around them: all but CuPy and the GPU."""
    if not pytest.importorskip("numba").config.ENABLE_CUDASIM:
        pytest.skip("not run: wants NUMBA_ENABLE_CUDASIM=1, as `nox -s simulator` sets it")
    kernels = stage.part("kernels_gpu")
    with standin.in_place_of_cupy(
        stage.part("device"), lambda function: standin.as_kernel(getattr(kernels, function.__name__, function))
    ):
        (*_, here), (*_, there) = (train(stage, where, steps=1, optimizer="SGD", size=2) for where in ("cpu", "cuda"))
        for mine, theirs in zip(here, there):
            same(arrays(stage, theirs), arrays(stage, mine))


@pytest.mark.parametrize("to, back", [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", "no file"])
def test_a_checkpoint_of_one_device_loads_on_another(stage, device, tmp_path, to, back, suffix):
    *_, parts = train(stage, to)
    states = [part.state_dict() for part in parts]
    if suffix != "no file":
        for i, state in enumerate(states):
            stage.package.save(state, tmp_path / f"{i}{suffix}")
        states = [stage.package.load(tmp_path / f"{i}{suffix}") for i in range(2)]
    (*_, resumed), (*_, wanted) = (train(stage, where, load=states) for where in (back, to))
    for mine, theirs in zip(resumed, wanted):
        same(arrays(stage, mine), arrays(stage, theirs), rtol=1e-3)


@pytest.mark.parametrize("name", ["mnist", "autoencoder", "moons"])
def test_a_demo_learns_on_a_device_and_goes_on_on_the_cpu(stage, device, name, capsys, tmp_path):
    flags = {"data": "digits", "seed": 0, "epochs": 2, "batch_size": 50, "lr": 2e-3, "plot": None, "resume": None}
    flags |= {"capture": False, "log": None, "image": None}
    losses, path = [], str(tmp_path / "run.npz")
    for where in ("cpu", device):
        stage.part(name).main(Namespace(**flags, device=where, save=path))
        losses.append([float(loss) for loss in re.findall(r"loss ([\d.]+)", capsys.readouterr().out)])
    assert len(losses[0]) == 2 and losses[1] == pytest.approx(losses[0], rel=1e-2)
    if name != "moons":
        stage.part(name).main(Namespace(**{**flags, "resume": path}, device="cpu", save=None))
        assert "Result: test" in capsys.readouterr().out


def test_dropout_on_a_device_follows_the_seed(stage, device):
    nn, x = stage.part("nn"), stage.package.Tensor(np.ones((40, 50)), device=device)

    def dropped(seed):
        stage.package.manual_seed(seed)
        return nn.Dropout(0.25)(x).to("cpu").numpy()

    np.testing.assert_array_equal(dropped(0), dropped(0))
    assert not np.array_equal(dropped(0), dropped(1))
    assert set(np.unique(dropped(0))) == {0, 1 / 0.75}


# Mistakes


MIXED = {
    "add": lambda p, x, y, nn: x + y,
    "add with an array": lambda p, x, y, nn: x + y.data,
    "add the other way": lambda p, x, y, nn: y.data + x,
    "gt": lambda p, x, y, nn: x > y,
    "matmul": lambda p, x, y, nn: x @ y,
    "cat": lambda p, x, y, nn: p.cat([x, y]),
    "where": lambda p, x, y, nn: p.where(y > 0, x, x),
    "backward": lambda p, x, y, nn: x.backward(y.data),
    "linear": lambda p, x, y, nn: nn.functional.linear(x, y),
    "cross_entropy": lambda p, x, y, nn: nn.functional.cross_entropy(x, p.Tensor([0, 1, 0]).to(y.device)),
    "sgd": lambda p, x, y, nn: step_elsewhere(p, x, y.device),
}


def step_elsewhere(package, x, device):
    """An optimizer whose parameters went away after its first step."""
    model = package.nn.Linear(3, 2).to(x.device)
    optimizer = package.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        for p in model.parameters():
            p.grad = p.data
        optimizer.step()
        model.to(device)


@pytest.mark.parametrize("ours, theirs", [("cpu", "cuda"), ("cuda", "cpu")])
@pytest.mark.parametrize("name", MIXED)
def test_arrays_on_two_devices_are_refused_by_the_op_and_both_names(stage, device, name, ours, theirs):
    x, y = (stage.package.Tensor(np.ones((3, 3), np.float32), device=where) for where in (ours, theirs))
    with pytest.raises(TypeError, match=rf"^{name.split()[0]}: wanted arrays on one device, got .*cpu.*cuda"):
        MIXED[name](stage.package, x, y, stage.part("nn"))


def test_an_unknown_device_is_named(stage):
    x = stage.package.Tensor([1.0])
    for use in (lambda: x.to("tpu"), lambda: stage.package.Tensor([1.0], device="tpu")):
        with pytest.raises(RuntimeError, match="wanted 'cpu' or 'cuda', got 'tpu'"):
            use()
    with pytest.raises(RuntimeError, match="wanted 'cpu' or 'cuda', got 'tpu'"):
        stage.part("nn").Linear(2, 2).to("tpu")


def a_cupy(driver=13000, runtime=13020, devices=1):
    """What `gpu()` asks of CuPy, with other answers; the pool has 1,000 bytes."""

    def count():
        if not devices:
            raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return devices

    def malloc(size):
        if size > 1000:
            raise MemoryError
        return size

    asked = {"driverGetVersion": driver, "runtimeGetVersion": runtime, "memGetInfo": (500 * 2**20, 2**30)}
    runtime = SimpleNamespace(getDeviceCount=count, **{name: lambda x=x: x for name, x in asked.items()})
    cupy = SimpleNamespace(get_default_memory_pool=lambda: SimpleNamespace(malloc=malloc))
    cupy.cuda = SimpleNamespace(runtime=runtime, set_allocator=lambda allocate: setattr(cupy, "allocate", allocate))
    return cupy


@pytest.fixture
def fresh(stage, monkeypatch):
    """The rung's device module as if it had not looked for a GPU yet, where both packages are installed."""
    device = stage.part("device")
    monkeypatch.setattr(device, "gpu", device.cache(device.gpu.__wrapped__))
    monkeypatch.setattr(device, "find_spec", lambda name: name)
    return device


@pytest.mark.host
@pytest.mark.parametrize(
    "cupy, message",
    [
        (a_cupy(driver=0), "cuda: found no NVIDIA driver; .* 'cpu'"),
        (
            a_cupy(driver=12040),
            r'the driver is for CUDA 12, CuPy for CUDA 13: update .* install .*stage\d_\w+\[cuda12\]"',
        ),
        (a_cupy(devices=0), "cuda: found no GPU, is it hidden by CUDA_VISIBLE_DEVICES"),
    ],
    ids=["no driver", "an old driver", "no GPU"],
)
def test_what_keeps_a_gpu_from_being_used_is_said(stage, fresh, monkeypatch, cupy, message):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(RuntimeError, match=message):
        stage.package.Tensor([1.0]).to("cuda")


@pytest.mark.host
def test_a_newer_driver_will_do(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", a_cupy(driver=14000))
    assert fresh.gpu() is sys.modules["cupy"]


@pytest.mark.host
def test_missing_packages_are_named_with_what_to_install(stage, fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r'need CuPy: pip install "\./stage\d_\w+\[cuda13\]", or \[cuda12\]'):
        stage.package.Tensor([1.0], device="cuda")
    monkeypatch.setitem(sys.modules, "cupy", a_cupy())
    monkeypatch.setattr(fresh, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'need numba-cuda: pip install "\./stage\d_\w+\[cuda13\]"'):
        stage.part("nn").Linear(2, 2).to("cuda")


@pytest.mark.host
def test_too_large_an_array_says_what_was_wanted_and_what_to_do(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", a_cupy())
    allocate = fresh.gpu().allocate
    assert allocate(1000) == 1000
    with pytest.raises(
        MemoryError, match=r"wanted 2,048\.0 MiB, but of the GPU's 1,024 MiB only 500\.0 .* smaller batches"
    ):
        allocate(2**31)


@pytest.mark.host
def test_the_cpu_imports_nothing_of_cuda(stage):
    from .test_kernels import TRAIN, run

    out, _ = run(stage, TRAIN + "print(*sys.modules)")
    assert {"cupy", "cuda", "cuda.core", f"{stage.name}.kernels_gpu"} & set(out.split()) == set()
    assert f"{stage.name}.kernels_cpu" in out.split()


# A step as one launch


def steps(stage, capture, optimizer="AdamW", n=12):
    """The weights and losses of so many steps of which the learning rate falls, recorded or not."""
    package, nn, optim = stage.package, stage.part("nn"), stage.part("optim")
    package.manual_seed(0)
    model = cnn(_Namespace(stage)).to("cuda")
    optimizer = getattr(optim, optimizer)(model.parameters(), lr=0.01)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.8**step)

    def step(images, labels):
        loss = nn.functional.cross_entropy(model(package.Tensor(images, requires_grad=False)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    rng, losses = np.random.default_rng(1), []
    moved, step = stage.part("device").moved, capture(step)
    for _ in range(n):
        images, labels = rng.standard_normal((9, 2, 7, 10), np.float32), rng.integers(0, 5, 9)
        losses.append(step(moved(images, "cuda"), moved(labels, "cuda")))
        scheduler.step()
    return arrays(stage, model), arrays(stage, optimizer), [loss.item() for loss in losses]


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_a_recorded_step_gives_the_weights_of_an_eager_one(stage, kind):
    gpu_to_use()
    eager, recorded = (steps(stage, way, kind) for way in (lambda step: step, stage.package.capture))
    same(recorded[0], eager[0], rtol=1e-4)
    same(recorded[1], eager[1], rtol=1e-4)
    assert recorded[2] == pytest.approx(eager[2], rel=1e-4)


def test_memory_of_a_recorded_step_is_its_own(stage):
    """What others allocate between two replays stays as it is."""
    cupy = gpu_to_use()
    x = cupy.ones(1000, "float32")
    step = stage.package.capture(lambda x: (x * 2 + 1) * 3)
    kept = [step(x) for _ in range(6)]
    others = [cupy.full(1000, i, "float32") for i in range(50)]
    results = [step(x * i) for i in range(5)]
    for i, other in enumerate(others):
        assert (other == i).all()
    for i, result in enumerate(results):
        assert (result == (2 * i + 1) * 3).all()
    assert all((out == 9).all() for out in kept)


def test_a_number_read_in_a_recorded_step_is_named(stage):
    cupy = gpu_to_use()
    step, x = stage.package.capture(lambda x: x * x.sum().item()), cupy.ones(3, "float32")
    with pytest.raises(RuntimeError, match="capture: the step does what can't be recorded"):
        for _ in range(9):
            step(x)
    assert ((x + 1) == 2).all(), "the GPU works on"


def test_arguments_of_two_devices_are_refused(stage, device):
    step, x = stage.package.capture(lambda x, y: x), stage.part("device").moved(np.ones(3), device)
    with pytest.raises(TypeError, match="capture: wanted Tensors or arrays, all on cpu or all on cuda, got cpu, cuda"):
        step(np.ones(3), x)


def graphs(monkeypatch, capture):
    """Let `capture` find a CUDA that counts its graphs; what it records, it runs when it is told to."""
    made = []

    class Stream:
        def __init__(self, non_blocking):
            assert non_blocking

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def begin_capture(self):
            made.append(SimpleNamespace(launches=0))

        def end_capture(self):
            graph = made[-1]
            graph.launch = lambda: setattr(graph, "launches", graph.launches + 1)
            return graph

    cuda = SimpleNamespace(Stream=Stream, MemoryPool=lambda: SimpleNamespace(malloc=None), **vars(standin.cuda))
    cuda.using_allocator = lambda allocate: Stream(True)
    monkeypatch.setattr(standin, "cuda", cuda)
    monkeypatch.setattr(capture, "gpu", lambda: standin)
    monkeypatch.setattr(capture, "_without_cublas", lambda: Stream(True))
    return made


def test_a_step_is_run_then_recorded_once_for_each_shape_then_replayed(stage, monkeypatch):
    """All but the GPU's part: what `capture` calls, how often, and with which memory."""
    device, calls = stage.part("device"), []
    with standin.in_place_of_cupy(device):
        made = graphs(monkeypatch, stage.part("capture"))

        @stage.package.capture
        def step(x):
            calls.append(x)
            return stage.package.Tensor(x, requires_grad=False), x, None

        xs = [standin.Array(np.full(2, float(i))) for i in range(7)]
        outs = [step(x) for x in xs]
        assert calls[:3] == xs[:3] and len(calls) == 4
        assert calls[3] is not xs[3], "the recorded step has arrays of its own"
        assert [graph.launches for graph in made] == [4]
        np.testing.assert_array_equal(calls[3].get(), [6, 6])
        assert type(outs[-1][0]) is stage.package.Tensor and outs[-1][2] is None
        np.testing.assert_array_equal([out[1].get()[0] for out in outs[3:]], [3, 4, 5, 6])
        for _ in range(4):
            step(standin.Array(np.ones((3, 3))))
        assert [graph.launches for graph in made] == [4, 1]


def test_a_learning_rate_set_while_a_step_is_recorded_is_refused(stage, monkeypatch):
    """It would be the same in each replay."""
    device, p = stage.part("device"), stage.package.Tensor([1.0])
    with standin.in_place_of_cupy(device):
        p = p.to("cuda").detach()
        optimizer = stage.part("optim").SGD([p], lr=0.5)
        p.grad = p.detach().clone()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.25
        optimizer.step()
        np.testing.assert_array_equal(p.to("cpu").numpy(), [0.25])  # 1 − 0.5 − 0.25
        stream = SimpleNamespace(is_capturing=lambda: True)
        monkeypatch.setattr(standin, "cuda", SimpleNamespace(get_current_stream=lambda: stream))
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.1
        with pytest.raises(RuntimeError, match="lr: set within the step, it would be the same in each replay"):
            optimizer.step()


# The stand-in itself


def test_the_stand_in_is_as_strict_as_cupy():
    x, host = standin.Array(np.ones(3)), np.ones(3)
    refused = [
        lambda: np.asarray(x),
        lambda: x + host,
        lambda: host + x,
        lambda: np.maximum(host, x),
        lambda: np.where(host > 0, x, 0),
        lambda: np.concatenate([x, host]),
        lambda: np.ascontiguousarray(x),
        lambda: np.vectorize(abs)(x),
        lambda: np.minimum.reduce(x),
        lambda: np.add(host, host, out=x),
        lambda: x.var(mean=x),
    ]
    for use in refused:
        with pytest.raises((TypeError, AttributeError)):
            use()
    with pytest.raises(ValueError, match="non-scalar"):
        x[...] = host
    assert type(x.sum()) is type(x + 1) is type(np.add.reduce(x)) is standin.Array
    standin.TRANSFERS.clear()
    float(x.sum()), x[np.array([0])], x[x > 0], np.asarray(host, like=x)
    assert standin.TRANSFERS == {"to host": 2, "to device": 2}


def test_nothing_else_asks_for_a_device(stage):
    """Outside of device.py, and of the kernels' files, no line of rung 5 knows of CuPy or of Numba's CUDA."""
    for path in Path(stage.package.__path__[0]).rglob("*.py"):
        if path.name != "device.py" and path.parent.name != "kernels_gpu":
            code = path.read_text(encoding="utf-8")
            assert not re.search(r"cupy\b.*import|import.*(cupy|cuda)|[!=]= .?.cuda", code, re.IGNORECASE), path
