"""Make up names, letter by letter, with an LSTM: what comes next follows from what it has kept of the letters before.

The network of `gpt` looks back at all letters when it predicts one; this one reads each once, and keeps 256 numbers.
"""

import random
from time import perf_counter

import numpy as np

from . import manual_seed, multinomial, nn, no_grad, optim, tensor
from .demo import Checkpoint, captured, check_finite, names, progress, report, run, say, show, warm_up_and_cosine
from .gpt import BLOCK, END, NO_TOKEN, TOKENS, tokens_of
from .nn import functional as F
from .reporters import Log
from .utils.data import DataLoader, TensorDataset


class Network(nn.Module):
    """What comes next in names: the logits of the token after each, from an LSTM."""

    def __init__(self):
        super().__init__()
        self.token, self.lstm = nn.Embedding(TOKENS, 32), nn.LSTM(32, 128, batch_first=True)
        self.output = nn.Linear(128, TOKENS)

    def forward(self, tokens, kept=None):
        """(n, t) -> (n, t, 27), and what is kept for the tokens after these: h and c."""
        out, kept = self.lstm(self.token(tokens), kept)
        return self.output(out), kept


def examples(names):
    """The tokens of names and those that come next, (n, 16) each; after the end of a name nothing is predicted."""
    tokens, targets = np.full((2, len(names), BLOCK), [[[END]], [[NO_TOKEN]]])
    for name, row, wanted in zip(names, tokens, targets):
        row[: len(name) + 1] = tokens_of(name)
        wanted[: len(name) + 1] = [*tokens_of(name)[1:], END]
    return TensorDataset(tensor(tokens), tensor(targets))


def loss_of(model, tokens, targets, reduction="mean"):
    """The loss of each letter and of each end, predicted from what stands before it."""
    logits, _ = model(tokens)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NO_TOKEN, reduction=reduction)


def mean_loss(model, dataset):
    """The mean over all letters and ends of a dataset."""
    with no_grad():
        total = sum(loss_of(model, *batch, "sum").item() for batch in DataLoader(dataset, 500))
    return total / (dataset.tensors[1] != NO_TOKEN).sum().item()


def invent(model, beginning, temperature=0.5):
    """A name that begins so: each letter is drawn from those the model expects, the likely ones the more so if cold."""
    device, name, unread, kept = model.output.weight.device, beginning, tokens_of(beginning), None
    while len(name) < BLOCK:
        logits, kept = model(tensor([unread], device=device), kept)
        unread = multinomial(F.softmax(logits[0, -1] / temperature, -1), 1).tolist()
        if unread == [END]:
            break
        name += chr(unread[0] + ord("a"))
    return name


def draw(name, chances):
    """A picture of what is expected, (t, 27), after each letter of a name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    axes, letters = figure.subplots(), [*map(chr, range(ord("a"), ord("z") + 1)), "·"]
    image = axes.imshow(chances.T, cmap="Blues", vmin=0, aspect="auto")
    comes = [letters.index(letter) for letter in [*name, "·"]]
    axes.scatter(range(len(comes)), comes, 150, marker="D", facecolors="none", edgecolors="black", linewidths=1.5)
    axes.set(xticks=range(len(comes)), xticklabels=["·", *name], yticks=range(TOKENS), yticklabels=letters)
    axes.set(xlabel="has read up to; · begins the name", ylabel="comes next; · ends it")
    axes.set_title(f"What is expected in “{name}”, and what comes (◇)")
    figure.colorbar(image, label="probability")
    return figure


def main(flags):
    what, every = names()
    random.Random(flags.seed).shuffle(every)
    test_names = every[len(every) * 9 // 10 :]
    train, test = (examples(part).to(flags.device) for part in (every[: -len(test_names)], test_names))
    manual_seed(flags.seed)
    model = Network().to(flags.device)
    optimizer = optim.Adam(model.parameters(), lr=flags.lr)
    batches = DataLoader(train, flags.batch_size, shuffle=True, seed=flags.seed)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, warm_up_and_cosine(flags.epochs * len(batches)))
    size = sum(p.numel() for p in model.parameters())
    say(f"LSTM: {what}, {len(test):,} of them to test, {size:,} parameters, seed {flags.seed}, on {flags.device}")

    log = Log(flags, data="names", examples=len(train), parameters=size)

    def step(tokens, targets):
        loss = loss_of(model, tokens, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    step = captured(step, flags)
    checkpoint = Checkpoint(flags, len(train), model=model, optimizer=optimizer, scheduler=scheduler)
    batches.epoch = checkpoint.resume()
    checkpoint.save(batches.epoch)
    began = perf_counter()
    for epoch in range(batches.epoch + 1, flags.epochs + 1):
        start, total, rate = perf_counter(), 0.0, scheduler.get_last_lr()[0]
        for tokens, targets in progress(batches, f"epoch {epoch}"):
            total += step(tokens, targets).double() * len(tokens)
            scheduler.step()
        seconds, loss = perf_counter() - start, total.item() / len(train)
        check_finite(epoch, loss, sum(p.detach().sum() for p in model.parameters()).item())
        checkpoint.save(epoch)
        score = mean_loss(model, test)
        report(epoch, flags.epochs, len(train), seconds, loss=f"{loss:.4f}", test=f"{score:.4f}")
        log.report(epoch, len(train), seconds, learning_rate=rate, loss=loss, test_loss=score)
    seconds = perf_counter() - began
    with no_grad():
        invented = [invent(model, flags.prompt) for _ in range(20)]
        say(f"New names: {', '.join(invented[:10])},\n           {', '.join(invented[10:])}")
        say(f"Result: test loss {mean_loss(model, test):.4f}, in {seconds:.1f} s")
        logits, _ = model(tensor([tokens_of(test_names[0])], device=flags.device))
        show(flags, log, "expectations", draw, test_names[0], F.softmax(logits[0], -1).cpu().numpy())


if __name__ == "__main__":
    defaults = {"epochs": 10, "batch_size": 32, "lr": 5e-3, "seed": 0, "prompt": "", "device": "cpu"}
    run(main, __doc__, **defaults, capture=False, save=None, resume=None, log=None, plot=None)
