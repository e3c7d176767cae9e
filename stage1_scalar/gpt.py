"""Make up names, letter by letter, with a GPT of 4,192 numbers: the network, the weights and the losses of microgpt.

https://karpathy.github.io/2026/02/12/microgpt/
"""

import gc
import random
from itertools import pairwise
from time import perf_counter

from . import Tensor, dot, no_grad
from .demo import (
    Checkpoint,
    Losses,
    check_finite,
    draw_gpt,
    due,
    names,
    numbers,
    progress,
    report,
    run,
    say,
    write_picture,
)

TOKENS, END = 27, 26  # a to z are 0 to 25, and 26 begins and ends a name
BLOCK, WIDTH, HEADS = 16, 16, 4  # tokens that the network takes, numbers for each of them, heads of its attention


def tokens_of(name):
    """What the network reads: the token that begins a name, then its letters."""
    return [END, *[ord(letter) - ord("a") for letter in name]]


def linear(x, weight):
    """W x: a list of n numbers and a matrix of m rows -> a list of m."""
    return [dot(row, x) for row in weight]


def rms_norm(x):
    """x over the root of its mean square."""
    scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def softmax(x):
    """eˣⁱ/Σⱼeˣʲ."""
    top = max(xi.data for xi in x)  # so that no exponential overflows
    exps = [(xi - top).exp() for xi in x]
    total = sum(exps)
    return [e / total for e in exps]


def cross_entropy(x, target):
    """−log softmax(x)[target], computed so that no logarithm is of 0."""
    top = max(xi.data for xi in x)
    return sum((xi - top).exp() for xi in x).log() + top - x[target]


class GPT:
    """What comes next in a name: one token at a time, which can look back at those before."""

    def __init__(self):
        square = WIDTH, WIDTH
        shapes = {"token": (TOKENS, WIDTH), "position": (BLOCK, WIDTH), "output": (TOKENS, WIDTH)}
        shapes |= {"query": square, "key": square, "value": square, "projection": square}
        shapes |= {"linear1": (4 * WIDTH, WIDTH), "linear2": (WIDTH, 4 * WIDTH)}
        self.weights = {
            name: [[Tensor(random.gauss(0, 0.08)) for _ in range(columns)] for _ in range(rows)]
            for name, (rows, columns) in shapes.items()
        }

    def __call__(self, token, seen):
        """The logits of the token after this one; `seen` are lists, of keys, values and attention, that it adds to."""
        w, (keys, values, attention) = self.weights, seen
        x = rms_norm([t + p for t, p in zip(w["token"][token], w["position"][len(keys)])])
        normed = rms_norm(x)
        query, key, value = (linear(normed, w[name]) for name in ("query", "key", "value"))
        keys.append(key)
        values.append(value)
        attention.append([])
        heads = []
        for i in range(0, WIDTH, WIDTH // HEADS):
            part = slice(i, i + WIDTH // HEADS)
            weights = softmax([dot(query[part], key[part]) / (WIDTH // HEADS) ** 0.5 for key in keys])
            heads += [dot(weights, column) for column in zip(*[value[part] for value in values])]
            attention[-1].append([s.data for s in weights])
        x = [a + b for a, b in zip(x, linear(heads, w["projection"]))]
        hidden = [h.relu() for h in linear(rms_norm(x), w["linear1"])]
        x = [a + b for a, b in zip(x, linear(hidden, w["linear2"]))]
        return linear(x, w["output"])

    def parameters(self):
        return [p for matrix in self.weights.values() for row in matrix for p in row]

    def state_dict(self):
        return {name: [p.data for row in matrix for p in row] for name, matrix in self.weights.items()}

    def load_state_dict(self, state):
        for name, matrix in self.weights.items():
            parameters = [p for row in matrix for p in row]
            for p, number in zip(parameters, numbers(state, name, len(parameters))):
                p.data = number


class Adam:
    """Steps of the mean gradient over the root of its mean square, corrected for their start (Kingma and Ba 2014)."""

    def __init__(self, parameters, betas=(0.85, 0.99), eps=1e-8):
        self.parameters, self.betas, self.eps = parameters, betas, eps
        self.mean, self.square = [0.0] * len(parameters), [0.0] * len(parameters)

    def step(self, t, lr):
        """Step t, from 1."""
        (beta1, beta2), m, v = self.betas, self.mean, self.square
        for i, p in enumerate(self.parameters):
            m[i] = beta1 * m[i] + (1 - beta1) * p.grad
            v[i] = beta2 * v[i] + (1 - beta2) * (p.grad * p.grad)
            p.data -= lr * (m[i] / (1 - beta1**t)) / ((v[i] / (1 - beta2**t)) ** 0.5 + self.eps)

    def zero_grad(self):
        for p in self.parameters:
            p.grad = 0.0

    def state_dict(self):
        return {"mean": self.mean, "square": self.square}

    def load_state_dict(self, state):
        self.mean, self.square = (numbers(state, name, len(self.parameters)) for name in ("mean", "square"))


def loss_of(model, name):
    """The mean loss of a name's letters and of its end, each predicted from what stands before it."""
    seen, tokens = ([], [], []), [*tokens_of(name), END]
    losses = [cross_entropy(model(token, seen), target) for token, target in pairwise(tokens)]
    return sum(losses) / len(losses)


def invent(model, beginning="", temperature=0.5):
    """A name that begins so: each letter is drawn from those the model expects, the likely ones the more so if cold."""
    tokens, seen = tokens_of(beginning), ([], [], [])
    for token in tokens[:-1]:
        model(token, seen)
    while len(tokens) <= BLOCK:
        chances = softmax([x / temperature for x in model(tokens[-1], seen)])
        (token,) = random.choices(range(TOKENS), [p.data for p in chances])
        if token == END:
            break
        tokens.append(token)
    return "".join(chr(token + ord("a")) for token in tokens[1:])


def main(flags):
    what, every = names()
    random.seed(flags.seed)
    random.shuffle(every)
    train, test = every[:-100], every[-100:]
    model, losses = GPT(), Losses()
    optimizer = Adam(model.parameters())
    size = len(model.parameters())
    say(f"GPT: {what}, {len(test)} of them to test, {size:,} parameters, seed {flags.seed}")

    checkpoint = Checkpoint(flags, len(train), model=model, optimizer=optimizer, losses=losses)
    done = checkpoint.resume()
    checkpoint.save(done)
    gc.disable()  # a graph holds no reference cycles, and to search it for some takes as long as to build it
    began = perf_counter()
    for step in progress(range(done + 1, flags.steps + 1), "gpt"):
        start = perf_counter()
        loss = loss_of(model, train[(step - 1) % len(train)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(step, flags.lr * (1 - (step - 1) / flags.steps))
        losses.append(loss.item())
        seconds = perf_counter() - start
        check_finite(step, losses[-1], sum(p.data for p in model.parameters()), "step")
        if due(step, flags.steps, "step"):
            checkpoint.save(step)
        report(step, flags.steps, 1, seconds, "step", loss=f"{losses[-1]:.4f}")
    seconds = perf_counter() - began

    with no_grad():
        invented = [invent(model, flags.prompt) for _ in range(20)]
        say(f"New names: {', '.join(invented[:10])},\n           {', '.join(invented[10:])}")
        loss = sum(loss_of(model, name).item() for name in test) / len(test)
        say(f"Result: test loss {loss:.4f}, in {seconds:.1f} s")
        if flags.plot:
            seen = [], [], []
            for token in tokens_of(test[0]):
                model(token, seen)
            write_picture(draw_gpt(losses, test[0], list(zip(*seen[2]))), flags.plot)
            say(f"Loss and attention are in {flags.plot}")


if __name__ == "__main__":
    run(main, __doc__, steps=1000, lr=0.01, seed=42, prompt="", save=None, resume=None, plot=None)
