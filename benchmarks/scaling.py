"""How long a training step takes on 1 to 4,096 machines, on paper: `python benchmarks/scaling.py --plot scaling.png`.

A step is the machine's own work and the sum of all gradients, S bytes. At α seconds a message and B bytes
a second, the sum over n machines takes (Thakur, Rabenseifner and Gropp 2005)

    in a ring:  2(n − 1)·α + 2(n − 1)/n · S/B          each sends to the next, a part of S at a time
    in a tree:  2·log₂ n·α + 2·log₂ n · S/B            pairs, pairs of pairs, …, and back

and the better of the two counts. Of that, what `backward()` covers is hidden: about two thirds of the machine's own
work. Strong scaling divides one batch among the machines; weak scaling gives each a batch of its own. The work of the
two small networks is measured here, in one process; that of the GPT follows from its operations, 6 a parameter and
token, at a rate. Latency and bandwidth are those of the network: 25 µs and 10 Gbit/s are usual for Ethernet.
"""

import argparse
import importlib
import math
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PACKAGE = "stage7_distributed"
HIDDEN = 2 / 3  # of a step's own work is backward(), beside which gradients are sent
MACHINES = [2**i for i in range(13)]


def all_reduce(n, size, latency, bandwidth):
    """Seconds, in a ring or in a tree, whichever is faster."""
    if n == 1:
        return 0.0
    ring = 2 * (n - 1) * latency + 2 * (n - 1) / n * size / bandwidth
    levels = 2 * math.ceil(math.log2(n))
    return min(ring, levels * (latency + size / bandwidth))


def step(n, work, size, latency, bandwidth):
    """Seconds of a step of which the machine's own part takes `work`."""
    return work + max(0.0, all_reduce(n, size, latency, bandwidth) - HIDDEN * work)


def measured(name, shape):
    """Seconds of a step of a demo's network on one batch of 64, and how many parameters it has."""
    lib = importlib.import_module(PACKAGE)
    nn, optim = lib.nn, lib.optim
    demo = importlib.import_module(f"{PACKAGE}.{name}")
    model = demo.network() if name == "mnist" else demo.ResNet20()
    optimizer, rng = optim.SGD(model.parameters(), lr=0.01, momentum=0.9), np.random.default_rng(0)
    images = lib.tensor(rng.standard_normal((64, *shape), np.float32))
    labels, seconds = lib.tensor(rng.integers(0, 10, 64)), []
    for _ in range(12):
        start = perf_counter()
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(perf_counter() - start)
    return median(seconds[3:]), sum(p.numel() for p in model.parameters())


def networks(rate):
    """Name -> (seconds of a step on one machine, parameters)."""
    parameters, tokens = 124_000_000, 12 * 1024
    return {
        "CNN, batch 64": measured("mnist", (1, 28, 28)),
        "ResNet-20, batch 64": measured("resnet", (3, 32, 32)),
        "GPT of 124 M, 12 × 1,024 tokens": (6 * parameters * tokens / rate, parameters),
    }


def efficiency(work, parameters, network, strong):
    """Which part of n times one machine's examples a second is reached, for each number of machines."""
    size = 4 * parameters
    return [work / (n if strong else 1) / step(n, work / (n if strong else 1), size, *network) for n in MACHINES]


def drawn(found, network):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, strong in zip(figure.subplots(1, 2, sharey=True), (True, False)):
        for (name, (work, parameters)), line in zip(found.items(), ("-", "--", ":")):
            axes.semilogx(MACHINES, efficiency(work, parameters, network, strong), line, base=2, label=name)
        axes.set(title="one batch, divided" if strong else "a batch for each", xlabel="machines", ylim=(0, 1.05))
        axes.grid(alpha=0.3)
    figure.axes[0].set(ylabel="share of n times the speed of one")
    figure.axes[1].legend()
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--latency", type=float, default=25e-6, metavar="SECONDS", help="of a message (%(default)s)")
    parser.add_argument("--bandwidth", type=float, default=1.25e9, metavar="BYTES", help="a second (%(default)s)")
    parser.add_argument("--rate", type=float, default=1e12, metavar="FLOPS", help="of the GPT's machine (%(default)s)")
    parser.add_argument("--plot", metavar="FILE", help="draw it into this file")
    flags = parser.parse_args()
    network, found = (flags.latency, flags.bandwidth), networks(flags.rate)
    for strong in (True, False):
        print("one batch, divided among n machines" if strong else "a batch for each of n machines")
        print(f"{'network':32} {'one machine':>11}", *[f"n={n:<5}" for n in MACHINES[1::2]], " pays up to")
        for name, (work, parameters) in found.items():
            shares = efficiency(work, parameters, network, strong)
            pays = max(n for n, share in zip(MACHINES, shares) if share >= 0.5)
            print(f"{name:32} {work * 1e3:8.1f} ms", *[f"{share:7.1%}" for share in shares[1::2]], f" {pays:6,}")
    if flags.plot:
        drawn(found, network).savefig(flags.plot, dpi=150)
    return 0


if __name__ == "__main__":
    sys.exit(main())
