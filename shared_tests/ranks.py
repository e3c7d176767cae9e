"""What the tests have several ranks do: `mpiexec -n 3 python -m shared_tests.ranks PACKAGE WHAT FOLDER`.

It runs the function of that name; what it returns on rank r goes into r.json in the folder. With `:apart` after the
name, each gradient is as if it were too large to be sent together with others.
"""

import importlib
import json
import os
import random
import signal
import sys
import time
from argparse import Namespace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np


def library(name):
    """The package, and the parts of it that a program of many ranks uses."""
    part = lambda path: importlib.import_module(f"{name}.{path}")  # noqa: E731
    return SimpleNamespace(
        package=importlib.import_module(name),
        nn=part("nn"),
        optim=part("optim"),
        data=part("utils.data"),
        distributed=part("distributed"),
        DDP=part("nn.parallel").DistributedDataParallel,
        SyncBatchNorm=part("nn").SyncBatchNorm,
        Sampler=part("utils.data.distributed").DistributedSampler,
        cross_entropy=part("nn.functional").cross_entropy,
    )


def examples(n=49):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 1, 6, 6)).astype(np.float32), rng.integers(0, 5, n)


def network(lib, norm=None):
    lib.package.manual_seed(0)
    nn = lib.nn
    between = [norm(4)] if norm else []
    layers = nn.Conv2d(1, 4, 3, padding=1, bias=not norm), *between, nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    return nn.Sequential(*layers)


OPTIMIZERS = {
    "SGD": lambda optim, params: optim.SGD(params, lr=0.1, momentum=0.9),
    "Adam": lambda optim, params: optim.Adam(params, lr=1e-3),
}


def weights(lib, kind, batch, ranks, norm=None, device="cpu"):
    """The weights after the epochs of 20 steps, one number after the other; the last batch of each has one example."""
    model, dataset = network(lib, norm).to(device), lib.data.TensorDataset(*examples()).to(device)
    trained, how = model, {"shuffle": True}
    if ranks:
        trained = lib.DDP(lib.SyncBatchNorm.convert_sync_batchnorm(model))
        how = {"sampler": lib.Sampler(dataset, seed=3)}
    loader, steps = lib.data.DataLoader(dataset, batch, seed=3, **how), 0
    optimizer = OPTIMIZERS[kind](lib.optim, model.parameters())
    while steps < 20:
        for images, labels in loader:
            loss = lib.cross_entropy(trained(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    return [x for p in model.state_dict().values() for x in np.ravel(p.cpu().numpy()).tolist()]


def trained(lib):
    n = lib.distributed.get_world_size()
    return {kind: weights(lib, kind, 12 // n, ranks=True) for kind in OPTIMIZERS}


FAULTS = {  # name -> what stands in nn/parallel.py, and what is put there
    "none": {},
    "a mean of means": {"np.multiply(p._grad, examples": "np.multiply(p._grad, 1", "[0] = self._examples": "[0] = 1"},
    "gradients where there are none": {"self.part(p)[...] = 0": "self.part(p)[...] += 1"},
    "not divided": {"counts[0], out=": "1, out="},
    "not waited for": {"self.work.wait()": "pass", "bucket.work.is_completed()": "pass"},
    "each rank its own": {"np.divide(self.part(p), counts[0], out=p._grad)": "pass"},
}


def faulty(lib):
    """The weights with each of the faults."""
    parallel, found = importlib.import_module(f"{lib.package.__name__}.nn.parallel"), {}
    right, small = Path(parallel.__file__).read_text(encoding="utf-8"), parallel.SMALL
    for name, changes in FAULTS.items():
        if name == "not waited for" and small == 1:
            continue  # MPI would write into memory that is free by then
        wrong = right
        for old, new in changes.items():
            assert wrong.count(old) == 1, f"{old!r} stands there {wrong.count(old)} times"
            wrong = wrong.replace(old, new)
        exec(compile(wrong, parallel.__file__, "exec"), vars(parallel))
        parallel.SMALL, lib.DDP = small, parallel.DistributedDataParallel
        with np.errstate(all="ignore"):
            found[name] = weights(lib, "SGD", 12 // lib.distributed.get_world_size(), ranks=True)
    return found


def normalized(lib):
    return [weights(lib, "SGD", 16 // lib.distributed.get_world_size(), True, norm) for norm in norms(lib)]


def norms(lib):
    return lib.nn.BatchNorm2d, partial(lib.nn.BatchNorm2d, bias=False)


def calls(lib):
    """What the functions of torch.distributed make of tensors that differ between the ranks."""
    d, tensor = lib.distributed, lib.package.tensor
    rank = d.get_rank()
    own, out = lambda: tensor([1.0 + rank, 10.0 * rank]), {}
    for op in ("SUM", "AVG", "MIN", "MAX"):
        x = own()
        d.all_reduce(x, getattr(d.ReduceOp, op))
        out[op] = x.tolist()
    x = own()
    d.broadcast(x, src=1)
    out["broadcast"] = x.tolist()
    work = d.all_reduce(x := own(), async_op=True)
    work.wait()
    out["async"] = x.tolist()
    d.barrier()
    return out


def on_a_gpu(lib):
    """What NCCL makes of one rank's arrays, and weights whose gradients went through it and through nothing.

    Two ranks can't share a GPU; so there is one, to which DistributedDataParallel is told that there are others.
    """
    d, tensor = lib.distributed, lib.package.tensor
    alone = {kind: weights(lib, kind, 12, ranks=False, device="cuda") for kind in OPTIMIZERS}
    d._group, found = d._Group(60), {}
    for dtype in ("float32", "float64", "int64"):
        for op in ("SUM", "AVG", "MIN", "MAX") if dtype != "int64" else ("SUM", "MIN", "MAX"):
            x = tensor([1, -2, 3], dtype=dtype, device="cuda")
            d.all_reduce(x, getattr(d.ReduceOp, op))
            found[f"{op} {dtype}"] = x.tolist()
    d.broadcast(x, src=0)
    found["broadcast"] = x.tolist()
    d.agree, d.get_world_size = lambda *told: None, lambda: 2
    lib.Sampler = partial(lib.Sampler, num_replicas=1, rank=0)
    return {
        "calls": found,
        "alone": alone,
        "through NCCL": {k: weights(lib, k, 12, True, device="cuda") for k in alone},
    }


def gradients(lib):
    """Gradients of a parameter that one rank uses, or none; of two steps in one, or from before; rank 0's weights."""
    d, nn = lib.distributed, lib.nn
    rank, x = d.get_rank(), lib.package.tensor([[1.0 + d.get_rank(), 2.0]])
    lib.package.manual_seed(rank)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.always, self.one, self.never = (nn.Linear(2, 1, bias=False) for _ in range(3))

        def forward(self, x):
            return self.always(x) + (self.one(x) if rank == 1 else 0)

    net = Net()
    model = lib.DDP(net)
    out = {"weights": [p.tolist() for p in net.parameters()]}
    model(x).sum().backward()
    out["once"] = [None if p.grad is None else p.grad.tolist() for p in net.parameters()]
    for p in net.parameters():
        p.grad = None
    with model.no_sync():
        model(x).sum().backward()
        out["not yet"] = net.always.weight.grad.tolist()
    model(x).sum().backward()
    out["twice"] = net.always.weight.grad.tolist()
    net.never.weight.grad = lib.package.tensor([[1.0 + rank, 2.0]])
    model(x).sum().backward()
    out["from before"] = net.never.weight.grad.tolist()
    return out


def after_an_error(lib):
    """What `forward` says after a `backward` that an error has ended on all ranks, when some sums were under way."""

    class Broken(importlib.import_module(f"{lib.package.__name__}.autograd").Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            raise ArithmeticError("no gradient")

    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = lib.nn.Linear(2, 2), lib.nn.Linear(2, 1)

        def forward(self, x):
            return self.last(Broken.apply(self.first(x)))

    model, said = lib.DDP(Net()), []
    for _ in range(2):
        try:
            model(lib.package.ones(1, 2)).sum().backward()
        except (ArithmeticError, RuntimeError) as error:
            said.append(str(error))
    return said


def names(lib, steps=4):
    """The losses of one process that takes, in each step, the names that two ranks of the demo would have."""
    gpt, demo = (importlib.import_module(f"{lib.package.__name__}.{name}") for name in ("gpt", "demo"))
    _, every = demo.names()
    random.seed(42)
    random.shuffle(every)
    model = gpt.GPT()
    optimizer = lib.optim.Adam(model.parameters(), lr=0.01, betas=(0.85, 0.99))
    scheduler, losses = lib.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps), []
    for step in range(steps):
        logits, targets = [], []
        for name in every[2 * step : 2 * step + 2]:
            tokens, wanted = gpt.example(model, name)
            logits.append(model(tokens)[0])
            targets.append(wanted)
        loss = lib.cross_entropy(lib.package.cat(logits), lib.package.cat(targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def pictures(lib):
    """The statistics of the demo's ResNet after nine images, four a batch: of two ranks the second lacks the last."""
    resnet, made, rng = importlib.import_module(f"{lib.package.__name__}.resnet"), [], np.random.default_rng(0)
    network, tensor = resnet.ResNet20, lib.package.tensor
    resnet.ResNet20 = lambda: made.append(network()) or made[0]
    sets = [(tensor(rng.random((n, 3, 32, 32), np.float32)), tensor(rng.integers(0, 10, n))) for n in (9, 5)]
    resnet.image_sets = lambda choice: ("nine images", *[lib.data.TensorDataset(*arrays) for arrays in sets])
    flags = {"data": "cifar10", "epochs": 1, "batch_size": 4, "lr": 0.01, "seed": 0, "device": "cpu", "capture": False}
    resnet.main(Namespace(**flags, save=None, resume=None, plot=None, log=None))
    return [buffer.sum().item() for buffer in made[0].buffers()]


def numbers(lib):
    """Which examples this rank has in two epochs, and random numbers of its own."""
    dataset = lib.data.TensorDataset(np.arange(11))
    lib.package.manual_seed(5)
    lib.DDP(lib.nn.Linear(1, 1))
    loader = lib.data.DataLoader(dataset, 2, sampler=lib.Sampler(dataset, seed=1))
    epochs = [[x for (batch,) in loader for x in batch.tolist()] for _ in range(2)]
    return {"epochs": epochs, "batches": len(loader), "random": lib.package.rand(3).tolist()}


def failing(how):
    """Ranks of which the second does something wrong in its third step."""

    def main(lib, flags):
        wide = how == "another model" and lib.distributed.get_rank()
        model = lib.DDP(lib.nn.Linear(3 + wide, 2))
        for i in range(4):
            if i == 2 and lib.distributed.get_rank() == 1:
                if how == "raise":
                    raise ZeroDivisionError("one has gone wrong")
                if how == "exit":
                    sys.exit("no more of it")
                if how == "kill":
                    time.sleep(1)  # until the process that is to say so has begun
                    os.kill(os.getpid(), signal.SIGKILL)
                if how == "late":
                    time.sleep(60)
            model(lib.package.ones(1, 3 + wide)).sum().backward()

    return main


def run(package, what, folder=None):
    lib = library(package)
    if what in ("raise", "exit", "kill", "late", "another model", "another flag", "other data"):
        demo = importlib.import_module(f"{package}.demo")
        lr = 0.1 + (what == "another flag" and int(os.environ["PMI_RANK"]))
        sys.argv = ["demo"]
        if what == "other data":
            gpt = importlib.import_module(f"{package}.gpt")
            gpt.names = lambda: ("names", ["anna"] * (200 + int(os.environ["PMI_RANK"])))
            demo.run(gpt.main, "A demo.", data="names", steps=1, lr=lr, seed=0, plot=None, timeout=2.0)
        demo.run(lambda flags: failing(what)(lib, flags), "A demo.", lr=lr, timeout=2.0)
        return
    lib.distributed.init_process_group(timeout=60)
    what, _, apart = what.partition(":")
    if apart:
        importlib.import_module(f"{package}.nn.parallel").SMALL = 1
    answer = globals()[what](lib)
    Path(folder, f"{lib.distributed.get_rank()}.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    run(*sys.argv[1:])
