"""What the demos share: flags, lines, bars and pictures. Bars need tqdm and pictures matplotlib; both are optional."""

import argparse
import io
import math
import sys
from pathlib import Path
from textwrap import shorten

import numpy as np

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None

from . import datasets
from .checkpoint import load, save
from .device import moved
from .utils.data import TensorDataset


def run(main, description, **defaults):
    """Run `main(flags)` with the flags that `defaults` names, read from the command line.

    A wrong flag ends the program with a sentence and status 2 before anything has begun, Ctrl-C with one and 130.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may have no sign for ×
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    for name, default in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), default=default, **FLAGS[name])
    flags = parser.parse_args()
    try:
        main(flags)
    except KeyboardInterrupt:
        print("\nStopped by Ctrl-C.", file=sys.stderr)
        if vars(flags).get("save"):
            print(f"{flags.save} holds the run up to its last whole epoch: add --resume {flags.save}", file=sys.stderr)
        sys.exit(130)


def _whole(least):
    def whole(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"wanted a whole number of at least {least}, got {text}")
        return int(text)

    return whole


def _rate(text):
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"wanted a number above 0, got {text}")
    return rate


def _path(text):
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {Path(text).parent}")
    return text


def _device(text):
    try:
        moved(np.zeros(0), text)
    except (ImportError, RuntimeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _picture(text):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise argparse.ArgumentTypeError("pictures need matplotlib: pip install matplotlib") from None
    kinds = Figure().canvas.get_supported_filetypes()
    if Path(text).suffix[1:] not in kinds:
        raise argparse.ArgumentTypeError(f"wanted a file ending in one of {', '.join(kinds)}, got {text}")
    return _path(text)


FLAGS = {
    "epochs": {"type": _whole(1), "metavar": "N", "help": "how often to go through the training data (%(default)s)"},
    "batch_size": {"type": _whole(1), "metavar": "N", "help": "how many examples a step takes (%(default)s)"},
    "lr": {"type": _rate, "metavar": "RATE", "help": "learning rate, the highest where it changes (%(default)s)"},
    "seed": {"type": _whole(0), "metavar": "N", "help": "same seed, same numbers (%(default)s)"},
    "data": {"choices": ["mnist", "digits"], "help": "what to train on (%(default)s)"},
    "save": {"type": _path, "metavar": "FILE", "help": "keep the run in this file"},
    "resume": {"type": _path, "metavar": "FILE", "help": "go on, perhaps to more epochs, with the run in this file"},
    "device": {"type": _device, "metavar": "NAME", "help": "where to run, cpu or cuda (%(default)s)"},
    "plot": {"type": _picture, "metavar": "FILE", "help": "draw what was learned, into this file"},
}


def progress(steps, title):
    """The same steps, behind a bar where standard output is a terminal and tqdm is there."""
    return tqdm(steps, title, leave=False, file=sys.stdout, disable=None) if tqdm else steps


def say(line):
    """Print a line, at once, and above the bar if there is one."""
    if tqdm:
        tqdm.write(line, file=sys.stdout)
    else:
        print(line)
    sys.stdout.flush()


def report(epoch, epochs, examples, seconds, **figures):
    """Say in one line how an epoch went: its figures, by name and ready to print, seconds and examples a second.

    Of many epochs about twenty say so, evenly spaced, the last always.
    """
    if epoch * 20 // epochs == (epoch - 1) * 20 // epochs:
        return
    parts = [f"epoch {epoch:{len(str(epochs))}}/{epochs}", *[f"{name} {figure}" for name, figure in figures.items()]]
    say("   ".join([*parts, f"{seconds:6.2f} s", f"{examples / seconds:7,.0f}/s"]))


def plot_moons(path, score, points, labels):
    """Draw the points of two classes over the score that a network gives to the plane; it decides by the sign.

    `score` takes a list of points and gives a list of numbers, `labels` are −1 and 1.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    xs, ys = ([low + i * (high - low) / 59 for i in range(60)] for low, high in ((-1.75, 2.75), (-1.25, 1.75)))
    scores = score([(x, y) for y in ys for x in xs])
    rows = [scores[i : i + 60] for i in range(0, len(scores), 60)]
    shown = axes.contourf(xs, ys, rows, [-3, -2, -1, 0, 1, 2, 3], cmap="RdBu", extend="both", alpha=0.6)
    axes.contour(xs, ys, rows, [0], colors="black")
    for label, colour in ((-1, "darkred"), (1, "darkblue")):
        x, y = zip(*[point for point, its in zip(points, labels) if its == label])
        axes.scatter(x, y, 18, colour, edgecolors="white", linewidths=0.5, label=f"class {label}".replace("-", "−"))
    axes.set(xlabel="x₁", ylabel="x₂", title="Two moons and where the network tells them apart", aspect="equal")
    axes.legend(loc="upper right")
    figure.colorbar(shown, shrink=0.9, label="score of the network (black line: 0)")
    figure.savefig(path, dpi=150)
    say(f"The decision boundary is in {path}")


def handwritten(choice):
    """The digits that `--data` chose: their name, the training and the test set."""
    if choice == "mnist":
        try:
            return "MNIST", *[TensorDataset(*datasets.mnist(split)) for split in ("train", "test")]
        except ValueError as error:
            sys.exit(f"MNIST can't be used: {error}")
        except OSError as error:
            why = shorten(str(error).rpartition(": ")[2], 36, placeholder=" …")  # datasets.mnist() says it in full
            say(f"No MNIST ({why}): running on the small digits that ship with this package")
    return "UCI digits", *[TensorDataset(*datasets.digits(split)) for split in ("train", "test")]


def warm_up_and_cosine(steps):
    """A factor for the learning rate: up to 1 in the first twentieth of the steps, then down half a cosine to 0."""
    return lambda step: min(1, (step + 1) / (steps / 20 + 1)) * (1 + math.cos(math.pi * step / steps)) / 2


class Checkpoint:
    """What `--save` writes and `--resume` reads: how a run was set up, how far it got, and the state of its parts.

    The parts are what has `state_dict` and `load_state_dict`. A run may be given more epochs when it is resumed: the
    learning rate then is, from its next step on, that of a run which had as many from the start.
    """

    def __init__(self, flags, examples, **parts):
        self.flags, self.parts = flags, parts
        names = "epochs", "batch_size", "lr", "seed"
        self.settings = {"examples": examples, **{name: getattr(flags, name) for name in names}}

    def save(self, done):
        """With `--save`, write the file for a run of which `done` epochs are done."""
        if self.flags.save:
            states = {name: part.state_dict() for name, part in self.parts.items()}
            save({"run": {**self.settings, "done": done}, **states}, self.flags.save)

    def resume(self):
        """How many epochs are done: 0, or with `--resume` as many as in the file, whose state the parts take over."""
        if not self.flags.resume:
            return 0
        try:
            state = load(self.flags.resume)
            for name in ("run", *self.parts):
                if not isinstance(state, dict) or not isinstance(state.get(name), dict):
                    raise ValueError(f"not written by this demo: it holds nothing of the {name}")
            run = state["run"]
            epochs = run.get("epochs")
            if isinstance(epochs, int) and epochs < self.flags.epochs:
                run["epochs"] = self.flags.epochs
                say(f"{self.flags.epochs} epochs instead of {epochs}: the rest at the learning rates of so long a run")
            for name, value in self.settings.items():
                if run.get(name) != value:
                    raise ValueError(f"that run had {name} {run.get(name)}, this one has {value}")
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            return run["done"]
        except (OSError, RuntimeError, ValueError) as error:
            sys.exit(f"--resume {self.flags.resume}: {error}")
