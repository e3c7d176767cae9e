"""Tell two half moons apart with a 2-16-16-1 network and the max-margin loss: micrograd's demo."""

import random
from math import cos, pi, sin
from time import perf_counter

import numpy as np

from . import Tensor, no_grad
from .demo import check_finite, draw_moons, progress, report, run, say, write_picture


def make_moons(n=100, noise=0.1, seed=0):
    """Two half circles of radius 1 that reach into each other: n points, (n, 2), and their labels −1 and 1, (n, 1).

    `noise` is the standard deviation of what is added to each coordinate.
    """
    rng = random.Random(seed)
    points, labels = [], []
    for i in range(n):
        angle = pi * rng.random()
        x, y = cos(angle), sin(angle)
        points.append([(1 - x if i % 2 else x) + rng.gauss(0, noise), (0.5 - y if i % 2 else y) + rng.gauss(0, noise)])
        labels.append([1 if i % 2 else -1])
    return np.array(points, np.float32), np.array(labels, np.float32)


class Module:
    """A part of a network."""

    def zero_grad(self):
        for p in self.parameters():
            p.grad = None

    def parameters(self):
        return []


class Layer(Module):
    """x @ w + b: (n, nin) -> (n, nout), then ReLU unless `nonlin` is False. Weights begin within ±1."""

    def __init__(self, nin, nout, nonlin=True):
        rows = [[random.uniform(-1, 1) for _ in range(nin)] for _ in range(nout)]
        self.w = Tensor(np.array(rows, np.float32).T)
        self.b = Tensor(np.zeros(nout, np.float32))
        self.nonlin = nonlin

    def __call__(self, x):
        act = x @ self.w + self.b
        return act.relu() if self.nonlin else act

    def parameters(self):
        return [self.w, self.b]


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
    return ((scores > 0) == (labels > 0)).float().mean()


def step(model, points, labels, lr):
    """One step of gradient descent on the max-margin loss plus 1e-4·Σp²; gives the loss and the accuracy before it."""
    scores = model(points)
    margin = (1 - labels * scores).relu().mean()
    loss = margin + 1e-4 * sum((p * p).sum() for p in model.parameters())
    model.zero_grad()
    loss.backward()
    with no_grad():
        for p in model.parameters():
            p -= lr * p.grad
    return loss.item(), accuracy(scores, labels)


def main(flags):
    points, labels = make_moons(seed=flags.seed)
    fresh_points, fresh_labels = make_moons(seed=flags.seed + 1)
    random.seed(flags.seed)
    model = MLP(2, [16, 16, 1])
    size = sum(p.numel() for p in model.parameters())
    say(f"Moons: {len(points)} points, a 2-16-16-1 network of {size} parameters, seed {flags.seed}")

    began = perf_counter()
    for epoch in progress(range(flags.epochs), "moons"):
        start = perf_counter()
        loss, train = step(model, points, labels, flags.lr * (1 - 0.9 * epoch / flags.epochs))
        check_finite(epoch + 1, loss, sum(p.detach().sum() for p in model.parameters()).item())
        figures = {"loss": f"{loss:.4f}", "train": f"{train:7.2%}"}
        report(epoch + 1, flags.epochs, len(points), perf_counter() - start, **figures)
    seconds = perf_counter() - began

    with no_grad():
        train = accuracy(model(points), labels)
        test = accuracy(model(fresh_points), fresh_labels)
        say(f"Result: train accuracy {train:.2%}, on {len(fresh_points)} fresh points {test:.2%}, in {seconds:.1f} s")
        if flags.plot:
            figure = draw_moons(lambda points: model(np.array(points, np.float32)).numpy()[:, 0], points, labels)
            write_picture(figure, flags.plot)
            say(f"The decision boundary is in {flags.plot}")


if __name__ == "__main__":
    run(main, __doc__, epochs=200, lr=1.0, seed=0, plot=None)
