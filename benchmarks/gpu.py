"""Measure rung 5 on the GPU against PyTorch on the same GPU: `python benchmarks/gpu.py`, in less than 8 minutes.

Everything in one process, contender after contender in each round, between two CUDA events; shown are the medians over
the rounds. All is float32. PyTorch computes its products in float32 as well (TF32 off), and then in TF32, as its own
convolutions do by default; the ratio to each is one row, and the targets are for TF32 off. Each result is compared with
PyTorch's before it is timed: one that differs ends the program. Data and parameters are on the GPU throughout.

A step is zero_grad, forward, loss, backward and Adam's step, with no number read. "captured" is the same step as one
CUDA graph, here by `capture`, in PyTorch by `torch.cuda.graph`. The rate of a kernel that moves memory is that of the
bytes that it must move, each array once, over that of copying a gigabyte. An epoch is 118 steps on 60,000 images in the
shape of MNIST's, shuffled, with loss and hits added up; it alone is measured by the clock.
"""

import argparse
import json
import sys
from contextlib import contextmanager
from datetime import date
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.report import figure, table  # noqa: E402

ROUNDS = 9
TARGETS = {  # (row, measured as) -> (must be, reach for); ratios of times are at most, of rates at least
    ("CNN step, batch 64", "× torch eager"): (0.7, 0.5),
    ("CNN step, batch 64, captured", "× torch eager"): (0.35, 0.2),
    ("CNN step, batch 64, captured", "× torch captured"): (None, 1.0),
    ("CNN step, batch 4096", "× torch eager"): (1.3, 0.8),
    ("matrix product 4096³, tiled", "of cuBLAS"): (0.5, 0.8),
    ("relu", "of copying"): (0.7, 0.9),
    ("max pooling", "of copying"): (0.7, 0.9),
    ("softmax and cross-entropy", "of copying"): (0.7, 0.9),
    ("Adam", "of copying"): (0.7, 0.9),
    ("an epoch of MNIST, batch 512", "s"): (1.0, 0.3),
}


# Rows and their table


def row(what, value, measured_as, beside=None, tf32=False):
    """One figure: what was measured, in ms, s or bytes a second beside the ratio or rate that has the target."""
    must, reach = (None, None) if tf32 else TARGETS.get((what, measured_as), (None, None))
    better = (lambda x, y: x >= y) if measured_as.startswith("of ") else (lambda x, y: x <= y)
    met = None if must is None else better(value, must)
    reached = None if reach is None else better(value, reach)
    names = {"what": what, "value": value, "measured_as": measured_as, "beside": beside, "tf32": tf32}
    return {**names, "must": must, "reach": reach, "met": met, "reached": reached}


def rows_table(rows):
    """The rows as text."""
    cells = [["measured", "", "", "torch's TF32", "in figures", "must be", "reach for", ""]]
    for each in rows:
        sign = "≥" if each["measured_as"].startswith("of ") else "≤"
        must, reach = (f"{sign} {each[name]}" if each[name] is not None else "–" for name in ("must", "reach"))
        verdict = {None: "", True: "met", False: "missed"}[each["met"]] if not each["reached"] else "reached"
        tf32 = "on" if each["tf32"] else "off"
        numbers = [figure(each["value"]), each["measured_as"]]
        cells.append([each["what"], *numbers, tf32, each["beside"] or "", must, reach, verdict])
    return table(cells)


# How it is measured


class Clock:
    """Times work on the GPU by CUDA events on the default stream, which CuPy and PyTorch both use."""

    def __init__(self, cupy):
        self.cupy = cupy

    def milliseconds(self, work, n):
        """Of one of n runs of the work."""
        start, end = (self.cupy.cuda.Event() for _ in range(2))
        start.record()
        for _ in range(n):
            work()
        end.record()
        end.synchronize()
        return self.cupy.cuda.get_elapsed_time(start, end) / n

    def medians(self, works, n):
        """Name -> the median over the rounds, in each of which all take their turns."""
        for work in works.values():
            self.milliseconds(work, max(n // 4, 5))  # until all is compiled, recorded and warm
        times = [{name: self.milliseconds(work, n) for name, work in works.items()} for _ in range(ROUNDS)]
        return {name: median(each[name] for each in times) for name in works}


@contextmanager
def tf32(torch, allowed):
    """PyTorch's products and convolutions in TF32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    yield
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def agree(what, found, wanted, rtol=1e-4):
    """End the program unless CuPy's array is PyTorch's, as far as float32 allows where sums are long."""
    import cupy

    wanted = cupy.from_dlpack(wanted.detach())
    if not cupy.allclose(found, wanted, rtol=rtol, atol=rtol * float(abs(wanted).max())):
        sys.exit(f"{what}: not what PyTorch gives: {found.ravel()[:4]} instead of {wanted.ravel()[:4]}, …")


def agree_in_losses(what, step, reference, n=8):
    """End the program unless so many steps from the same weights give PyTorch's losses."""
    for i in range(n):
        found, wanted = step().item(), reference().item()
        if not np.isclose(found, wanted, rtol=1e-3):
            sys.exit(f"{what}: after {i} steps the loss is {found}, PyTorch's {wanted}")


# What is measured


def ours(package):
    """The rung behind the names that `step_of` needs."""
    nn = package.nn
    constant = lambda x: package.Tensor(x, requires_grad=False)  # noqa: E731
    return SimpleNamespace(nn=nn, loss=nn.functional.cross_entropy, constant=constant, Adam=package.optim.Adam)


def theirs(torch):
    return SimpleNamespace(
        nn=torch.nn, loss=torch.nn.functional.cross_entropy, constant=lambda x: x, Adam=torch.optim.Adam
    )


def cnn(nn):
    """The network of the MNIST demo."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def step_of(lib, weights, **options):
    """The step of training, on images and labels, of a model with these weights; it gives the loss."""
    model = cnn(lib.nn).to("cuda")
    model.load_state_dict(weights)
    optimizer = lib.Adam(model.parameters(), lr=1e-3, **options)

    def step(images, labels):
        optimizer.zero_grad()
        loss = lib.loss(model(lib.constant(images)), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def recorded_by_torch(torch, step, *given):
    """PyTorch's step on these images and labels as a CUDA graph, as its documentation has it."""
    images, labels = (x.clone() for x in given)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(images, labels)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(images, labels)

    def replay():  # with the copies of inputs that `capture` makes too
        images.copy_(given[0])
        labels.copy_(given[1])
        graph.replay()
        return loss

    return replay


def measure_steps(package, cupy, torch, size, n, captured):
    """Rows of the CNN's step at a batch size: eager and, if asked for, captured."""
    rng, clock, rows = np.random.default_rng(0), Clock(cupy), []
    images, labels = rng.standard_normal((size, 1, 28, 28), np.float32), rng.integers(0, 10, size)
    here, there = [cupy.asarray(x) for x in (images, labels)], [torch.from_numpy(x).cuda() for x in (images, labels)]
    torch.manual_seed(0)
    name, weights = f"CNN step, batch {size}", cnn(torch.nn).state_dict()
    mine, reference = (lambda: step_of(ours(package), weights)), (lambda **how: step_of(theirs(torch), weights, **how))
    for allowed in (False, True):
        with tf32(torch, allowed):
            works = {"torch eager": partial(reference(), *there), name: partial(mine(), *here)}
            if captured:
                works["torch captured"] = recorded_by_torch(torch, reference(capturable=True), *there)
                works[f"{name}, captured"] = partial(package.capture(mine()), *here)
            for what in [what for what in works if what.startswith(name)]:
                if not allowed:
                    agree_in_losses(what, works[what], partial(reference(), *there))
            times = clock.medians(works, n)
        for what in [what for what in works if what.startswith(name)]:
            for other in ["torch eager", "torch captured"] if what.endswith("captured") else ["torch eager"]:
                beside = f"{figure(times[what])} ms to {figure(times[other])} ms"
                rows.append(row(what, times[what] / times[other], f"× {other}", beside, allowed))
    return rows


def measure_product(cupy, torch):
    from stage5_fast.kernels_gpu import matmul

    rng, n, clock = np.random.default_rng(0), 4096, Clock(cupy)
    a, b = (cupy.asarray(rng.standard_normal((n, n), np.float32)) for _ in range(2))
    agree("matmul", matmul(a, b), torch.from_dlpack(a) @ torch.from_dlpack(b))
    times = clock.medians({"tiled": lambda: matmul(a, b), "cuBLAS": lambda: a.dot(b)}, 10)
    rates = {name: 2 * n**3 / time * 1e-9 for name, time in times.items()}
    beside = f"{rates['tiled']:.1f} to {rates['cuBLAS']:.1f} TFLOP/s"
    return [row("matrix product 4096³, tiled", rates["tiled"] / rates["cuBLAS"], "of cuBLAS", beside)]


def measure_bandwidth(package, cupy, torch):
    """The kernels that are bound by memory: (work, what PyTorch gives for it, the bytes that it must move)."""
    ops, pooling, step = package.ops, package.pooling, package.optim.adam.adam
    rng = np.random.default_rng(0)
    x = cupy.asarray(rng.standard_normal(2**28, np.float32).reshape(2**20, 256))  # a gigabyte
    images = x.reshape(256, 64, 128, 128)
    labels = cupy.asarray(rng.integers(0, 256, len(x)))
    p, g, m, v = (x.reshape(4, -1)[i].copy() for i in range(4))
    v *= v
    functional, like = torch.nn.functional, torch.from_dlpack
    pool = ((2, 2), (2, 2), (0, 0), (1, 1), False)
    adam = (None, 3, 1e-3, (0.9, 0.999), 1e-8, 0.0, False)
    agree("relu", ops.rectify(x), like(x).relu())
    agree("max pooling", pooling.max_pool(images, *pool), functional.max_pool2d(like(images), 2))
    agree("cross-entropy", ops.nll(x, labels)[0], functional.cross_entropy(like(x), like(labels), reduction="none"))
    agree("softmax", ops.nll(x, labels)[1], like(x).softmax(1))
    check_adam(torch, step, p, g, m, v, adam)
    out = cupy.empty_like(x)
    works = {
        "copying": (lambda: cupy.copyto(out, x), 2 * x.nbytes),
        "relu": (lambda: ops.rectify(x), 2 * x.nbytes),
        "max pooling": (lambda: pooling.max_pool(images, *pool), x.nbytes * 5 // 4),
        "softmax and cross-entropy": (lambda: ops.nll(x, labels), 2 * x.nbytes + labels.nbytes + 4 * len(x)),
        "Adam": (lambda: step(p, g, m, v, *adam), 7 * p.nbytes),
    }
    times = Clock(cupy).medians({name: work for name, (work, _) in works.items()}, 20)
    rates = {name: size / times[name] * 1e-9 for name, (_, size) in works.items()}
    copied = rates.pop("copying")
    beside = "{:.2f} to {:.2f} TB/s".format
    return [row(name, rate / copied, "of copying", beside(rate, copied)) for name, rate in rates.items()]


def check_adam(torch, step, p, g, m, v, settings):
    """One step on copies, beside PyTorch's from the same state."""
    _, t, lr, betas, eps, *_ = settings
    mine, reference = [x[:1000].copy() for x in (p, m, v)], torch.from_dlpack(p[:1000].copy())
    step(mine[0], g[:1000].copy(), *mine[1:], *settings)
    optimizer = torch.optim.Adam([reference], lr=lr, betas=betas, eps=eps)
    like = lambda x: torch.from_dlpack(x[:1000].copy())  # noqa: E731
    reference.grad = like(g)
    optimizer.state[reference] = {"step": torch.tensor(t - 1.0), "exp_avg": like(m), "exp_avg_sq": like(v)}
    optimizer.step()
    agree("Adam", mine[0], reference)


def measure_epoch(package):
    """Seconds of an epoch, from the first batch to the reading of loss and hits."""
    data, rng = package.utils.data, np.random.default_rng(0)
    arrays = rng.standard_normal((60_000, 1, 28, 28), np.float32), rng.integers(0, 10, 60_000)
    batches = data.DataLoader(data.TensorDataset(*arrays).to("cuda"), 512, shuffle=True)
    lib = ours(package)
    model = cnn(lib.nn).to("cuda")
    optimizer, seconds = lib.Adam(model.parameters(), lr=1e-3), []
    for _ in range(ROUNDS):
        start, total, hits = perf_counter(), 0.0, 0
        for images, labels in batches:
            logits = model(images)
            loss = lib.loss(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach().double() * len(labels)
            hits += (logits.argmax(dim=1) == labels).sum()
        if not np.isfinite(float(total)) or not 0 <= int(hits) <= 60_000:
            sys.exit(f"an epoch: the loss is {total}, the hits are {hits}")
        seconds.append(perf_counter() - start)
    return [row("an epoch of MNIST, batch 512", median(seconds[1:]), "s")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--json", type=Path, help="write the figures into this file as well")
    parser.add_argument("--check", action="store_true", help="end with status 1 if a target is missed")
    flags = parser.parse_args()
    import stage5_fast
    from stage5_fast.device import gpu

    try:
        cupy = gpu()
    except (ImportError, RuntimeError) as error:
        sys.exit(f"Nothing was measured: {error}")
    try:
        import torch
    except ImportError:
        sys.exit("Nothing was measured: this compares with PyTorch: pip install torch")
    if not torch.cuda.is_available():
        sys.exit("Nothing was measured: this PyTorch can't use the GPU, with which rung 5 is to be compared")

    gpu = torch.cuda.get_device_name()
    versions = {name: metadata.version(name) for name in ("numpy", "numba-cuda", "torch")} | {"cupy": cupy.__version__}
    setting = f"{gpu}, {date.today()}; {', '.join(f'{name} {version}' for name, version in versions.items())}"
    print(setting, flush=True)
    rows, began = [], perf_counter()
    for measure in (
        lambda: measure_steps(stage5_fast, cupy, torch, 64, 200, captured=True),
        lambda: measure_steps(stage5_fast, cupy, torch, 4096, 20, captured=False),
        lambda: measure_product(cupy, torch),
        lambda: measure_bandwidth(stage5_fast, cupy, torch),
        lambda: measure_epoch(stage5_fast),
    ):
        rows += measure()
        cupy.get_default_memory_pool().free_all_blocks()
        torch.cuda.empty_cache()
    print(rows_table(rows), f"\nin {perf_counter() - began:.0f} s")
    if flags.json:
        machine = {"gpu": gpu, "date": str(date.today()), "versions": versions}
        flags.json.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")
    return 1 if flags.check and any(each["met"] is False for each in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
