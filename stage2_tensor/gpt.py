"""Make up names, letter by letter, with a GPT of 4,192 numbers: the network, the weights and the losses of microgpt.

https://karpathy.github.io/2026/02/12/microgpt/
"""

import random
from time import perf_counter

import numpy as np

from . import Tensor, no_grad
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


def rms_norm(x):
    """x over the root of its mean square along the last dim."""
    return x * ((x * x).mean(-1, keepdim=True) + 1e-5) ** -0.5


def cross_entropy(x, target):
    """The mean of −log softmax(x)[target] over the rows of x, (t, n), for a list of t targets."""
    return -x.log_softmax(-1)[range(len(target)), target].mean()


class GPT:
    """What comes next in a name: all its tokens at a time, of which each can look back at those before."""

    def __init__(self):
        square = WIDTH, WIDTH
        shapes = {"token": (TOKENS, WIDTH), "position": (BLOCK, WIDTH), "output": (TOKENS, WIDTH)}
        shapes |= {"query": square, "key": square, "value": square, "projection": square}
        shapes |= {"linear1": (4 * WIDTH, WIDTH), "linear2": (WIDTH, 4 * WIDTH)}
        self.weights = {
            name: Tensor(np.array([[random.gauss(0, 0.08) for _ in range(columns)] for _ in range(rows)], np.float32))
            for name, (rows, columns) in shapes.items()
        }

    def __call__(self, tokens):
        """The logits of the token after each of a list of t, (t, 27), and the attention of each head, (4, t, t)."""
        w, t = self.weights, len(tokens)
        x = rms_norm(w["token"][tokens] + w["position"][:t])
        normed = rms_norm(x)
        query, key, value = (
            (normed @ w[name].T).reshape(t, HEADS, WIDTH // HEADS).transpose(0, 1) for name in ("query", "key", "value")
        )
        future = np.triu(np.full((t, t), -np.inf, np.float32), 1)
        attention = (query @ key.transpose(1, 2) / (WIDTH // HEADS) ** 0.5 + future).softmax(-1)
        heads = (attention @ value).transpose(0, 1).reshape(t, WIDTH)
        x = x + heads @ w["projection"].T
        hidden = (rms_norm(x) @ w["linear1"].T).relu()
        x = x + hidden @ w["linear2"].T
        return x @ w["output"].T, attention

    def parameters(self):
        return list(self.weights.values())

    def state_dict(self):
        return {name: p.flatten().tolist() for name, p in self.weights.items()}

    def load_state_dict(self, state):
        for name, p in self.weights.items():
            p.data = np.array(numbers(state, name, p.numel()), np.float32).reshape(p.shape)


class Adam:
    """Steps of the mean gradient over the root of its mean square, corrected for their start (Kingma and Ba 2014)."""

    def __init__(self, parameters, betas=(0.85, 0.99), eps=1e-8):
        self.parameters, self.betas, self.eps = parameters, betas, eps
        self.mean, self.square = ([np.zeros(p.shape, np.float32) for p in parameters] for _ in range(2))

    def step(self, t, lr):
        """Step t, from 1."""
        (beta1, beta2), m, v = self.betas, self.mean, self.square
        with no_grad():
            for i, p in enumerate(self.parameters):
                g = p.grad.numpy()
                m[i] = beta1 * m[i] + (1 - beta1) * g
                v[i] = beta2 * v[i] + (1 - beta2) * (g * g)
                p -= lr * (m[i] / (1 - beta1**t)) / ((v[i] / (1 - beta2**t)) ** 0.5 + self.eps)

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def state_dict(self):
        return {
            name: np.concatenate([x.ravel() for x in arrays]).tolist()
            for name, arrays in (("mean", self.mean), ("square", self.square))
        }

    def load_state_dict(self, state):
        ends = np.cumsum([p.numel() for p in self.parameters])
        for name, arrays in (("mean", self.mean), ("square", self.square)):
            loaded = np.array(numbers(state, name, ends[-1]), np.float32)
            arrays[:] = [part.reshape(p.shape) for part, p in zip(np.split(loaded, ends[:-1]), self.parameters)]


def loss_of(model, name):
    """The mean loss of a name's letters and of its end, each predicted from what stands before it."""
    tokens = [*tokens_of(name), END]
    logits, _ = model(tokens[:-1])
    return cross_entropy(logits, tokens[1:])


def invent(model, beginning="", temperature=0.5):
    """A name that begins so: each letter is drawn from those the model expects, the likely ones the more so if cold."""
    tokens = tokens_of(beginning)
    while len(tokens) <= BLOCK:
        logits, _ = model(tokens)
        chances = (logits[-1] / temperature).softmax(-1)
        (token,) = random.choices(range(TOKENS), chances.tolist())
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
    size = sum(p.numel() for p in model.parameters())
    say(f"GPT: {what}, {len(test)} of them to test, {size:,} parameters, seed {flags.seed}")

    checkpoint = Checkpoint(flags, len(train), model=model, optimizer=optimizer, losses=losses)
    done = checkpoint.resume()
    checkpoint.save(done)
    began = perf_counter()
    for step in progress(range(done + 1, flags.steps + 1), "gpt"):
        start = perf_counter()
        loss = loss_of(model, train[(step - 1) % len(train)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(step, flags.lr * (1 - (step - 1) / flags.steps))
        losses.append(loss.item())
        seconds = perf_counter() - start
        check_finite(step, losses[-1], sum(p.detach().sum() for p in model.parameters()).item(), "step")
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
            _, attention = model(tokens_of(test[0]))
            write_picture(draw_gpt(losses, test[0], attention.tolist()), flags.plot)
            say(f"Loss and attention are in {flags.plot}")


if __name__ == "__main__":
    run(main, __doc__, steps=1000, lr=0.01, seed=42, prompt="", save=None, resume=None, plot=None)
