"""How fast two ranks of one thread train, beside one process of two threads, and how much of their sums is hidden.

`mpiexec -n 2 python -m benchmarks.ranks mnist 32 20` prints it of one network, with so many images and steps a rank.
A sum of all gradients alone takes `alone`. Within a step it goes on while `backward()` works, which waits at its end
for what is left, for `waited`: what it doesn't wait for was hidden.
"""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from .measure import ROOT, environment

RANKS, TARGET = 2, 0.9
NETWORKS = {"mnist": ("network", (1, 28, 28)), "resnet": ("ResNet20", (3, 32, 32))}
# Images a rank: as many as the demos have, which are to meet the target, and half as many, of which sums take more
BATCHES = (("mnist", 64, TARGET), ("mnist", 32, None), ("resnet", 32, TARGET))


def measure_ranks(rounds, steps):
    """A row for each network and batch, none where there is no MPI: images a second, and milliseconds of the sums."""
    launcher = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if not (launcher and find_spec("mpi4py") and find_spec("stage7_distributed")):
        return []
    rows = []
    for network, batch, target in BATCHES:
        one, ranks = [], []
        for _ in range(rounds):
            one.append(_run([], network, RANKS * batch, steps, threads=RANKS))
            ranks.append(_run([launcher, "-n", str(RANKS)], network, batch, steps, threads=1))
        rows.append(ranks_row(network, batch, target, one, ranks))
    return rows


def ranks_row(network, batch, target, one, ranks):
    """Medians over the rounds of what one process and the ranks said."""
    ratios = [there["speed"] / here["speed"] for here, there in zip(one, ranks)]
    alone, waited = (median(run[name] for run in ranks) for name in ("alone", "waited"))
    return {
        "network": network,
        "batch": batch,
        "one": median(run["speed"] for run in one),
        "ranks": median(run["speed"] for run in ranks),
        "ratio": median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "target": target,
        "met": median(ratios) >= target if target else None,
        "alone": alone,
        "waited": waited,
        "hidden": max(0.0, 1 - waited / alone),
    }


def _run(launcher, network, batch, steps, threads):
    command = [*launcher, sys.executable, "-m", "benchmarks.ranks", network, str(batch), str(steps)]
    done = subprocess.run(command, cwd=ROOT, env=environment(threads), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} has failed: {done.stderr}")
    return json.loads(done.stdout)


def main(network, batch, steps):
    from stage7_distributed import distributed, mnist, nn, optim, resnet, tensor

    name, shape = NETWORKS[network]
    model, rng, waits = getattr({"mnist": mnist, "resnet": resnet}[network], name)(), np.random.default_rng(0), []
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, labels = tensor(rng.standard_normal((batch, *shape), np.float32)), tensor(rng.integers(0, 10, batch))
    wait = distributed._Work.wait

    def timed(work):
        start = perf_counter()
        wait(work)
        waits[-1] += perf_counter() - start

    distributed._Work.wait = timed
    times = []
    for _ in range(steps + 5):  # in the first of which kernels are compiled
        waits.append(0.0)
        start = perf_counter()
        loss = nn.functional.cross_entropy(parallel(images), labels)
        waits[-1] = 0.0  # for the buffers, which come from rank 0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(perf_counter() - start)
    distributed._Work.wait = wait
    gradients, alone = np.zeros(sum(p.numel() for p in model.parameters()), np.float32), []
    for _ in range(steps):
        distributed.barrier()
        start = perf_counter()
        distributed.all_reduce(gradients)
        alone.append(perf_counter() - start)
    if distributed.get_rank() == 0:
        speed = batch * distributed.get_world_size() / median(times[5:])
        print(json.dumps({"speed": speed, "alone": 1000 * median(alone), "waited": 1000 * median(waits[5:])}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
