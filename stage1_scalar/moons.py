"""Tell two half moons apart with a 2-16-16-1 network and the max-margin loss: micrograd's demo.

`Neuron`, `Layer` and `MLP` are those of micrograd.nn, so that its own training loop runs here too.
"""

import gc
import random
from math import cos, pi, sin
from time import perf_counter

from . import Tensor, dot, no_grad
from .demo import check_finite, draw_moons, progress, report, run, say, write_picture


def make_moons(n=100, noise=0.1, seed=0):
    """Two half circles of radius 1 that reach into each other: a list of n points (x, y) and one of labels −1 and 1.

    `noise` is the standard deviation of what is added to each coordinate.
    """
    rng = random.Random(seed)
    points, labels = [], []
    for i in range(n):
        angle = pi * rng.random()
        x, y = cos(angle), sin(angle)
        points.append([(1 - x if i % 2 else x) + rng.gauss(0, noise), (0.5 - y if i % 2 else y) + rng.gauss(0, noise)])
        labels.append(1 if i % 2 else -1)
    return points, labels


class Module:
    """A part of a network."""

    def zero_grad(self):
        for p in self.parameters():
            p.grad = 0.0

    def parameters(self):
        return []


class Neuron(Module):
    """w₁x₁ + … + wₙxₙ + b of a list of n numbers, then ReLU unless `nonlin` is False. Weights begin within ±1."""

    def __init__(self, nin, nonlin=True):
        self.w = [Tensor(random.uniform(-1, 1)) for _ in range(nin)]
        self.b = Tensor(0)
        self.nonlin = nonlin

    def __call__(self, x):
        act = dot(self.w, x) + self.b
        return act.relu() if self.nonlin else act

    def parameters(self):
        return [*self.w, self.b]


class Layer(Module):
    """Neurons side by side: a list of nin numbers becomes one of nout, or a single one."""

    def __init__(self, nin, nout, **options):
        self.neurons = [Neuron(nin, **options) for _ in range(nout)]

    def __call__(self, x):
        out = [neuron(x) for neuron in self.neurons]
        return out[0] if len(out) == 1 else out

    def parameters(self):
        return [p for neuron in self.neurons for p in neuron.parameters()]


class MLP(Module):
    """Layers one after the other, all but the last with ReLU."""

    def __init__(self, nin, nouts):
        sizes = [nin, *nouts]
        self.layers = [Layer(sizes[i], sizes[i + 1], nonlin=i != len(nouts) - 1) for i in range(len(nouts))]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]


def accuracy(scores, labels):
    """Which part of the scores has the sign of its label."""
    return sum((score.data > 0) == (label > 0) for score, label in zip(scores, labels)) / len(labels)


def step(model, points, labels, lr):
    """One step of gradient descent on the max-margin loss plus 1e-4·Σp²; gives the loss and the accuracy before it."""
    scores = [model(x) for x in points]
    margin = sum((1 - label * score).relu() for score, label in zip(scores, labels)) / len(labels)
    loss = margin + 1e-4 * sum(p * p for p in model.parameters())
    model.zero_grad()
    loss.backward()
    for p in model.parameters():
        p.data -= lr * p.grad
    return loss.item(), accuracy(scores, labels)


def main(flags):
    points, labels = make_moons(seed=flags.seed)
    fresh_points, fresh_labels = make_moons(seed=flags.seed + 1)
    random.seed(flags.seed)
    model = MLP(2, [16, 16, 1])
    size = len(model.parameters())
    say(f"Moons: {len(points)} points, a 2-16-16-1 network of {size} parameters, seed {flags.seed}")

    gc.disable()  # a graph holds no reference cycles, and to search it for some takes as long as to build it
    inputs = [[Tensor(x, requires_grad=False) for x in point] for point in points]
    began = perf_counter()
    for epoch in progress(range(flags.epochs), "moons"):
        start = perf_counter()
        loss, train = step(model, inputs, labels, flags.lr * (1 - 0.9 * epoch / flags.epochs))
        check_finite(epoch + 1, loss, sum(p.data for p in model.parameters()))
        figures = {"loss": f"{loss:.4f}", "train": f"{train:7.2%}"}
        report(epoch + 1, flags.epochs, len(points), perf_counter() - start, **figures)
    seconds = perf_counter() - began

    with no_grad():
        train = accuracy([model(x) for x in points], labels)
        test = accuracy([model(x) for x in fresh_points], fresh_labels)
        say(f"Result: train accuracy {train:.2%}, on {len(fresh_points)} fresh points {test:.2%}, in {seconds:.1f} s")
        if flags.plot:
            write_picture(draw_moons(lambda points: [model(x).item() for x in points], points, labels), flags.plot)
            say(f"The decision boundary is in {flags.plot}")


if __name__ == "__main__":
    run(main, __doc__, epochs=200, lr=1.0, seed=0, plot=None)
