"""What the demos share: flags, lines, bars and pictures. Bars need tqdm and pictures matplotlib; both are optional."""

import argparse
import io
import math
import os
import re
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from textwrap import shorten

import numpy as np

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None

from . import datasets
from .capture import capture
from .checkpoint import load, save
from .device import COMPILED, moved
from .distributed import get_rank, get_world_size, launched
from .files import shown, whole_file
from .reporters import reporter
from .scan import scan
from .together import begin_together, ended_together, same_data
from .utils.data import TensorDataset


def run(main, description, **defaults):
    """Run `main(flags)` with the flags that `defaults` names, read from the command line.

    A wrong flag ends the program with a sentence and status 2 before anything is done, Ctrl-C or SIGTERM with one and
    130, a full disk with one and 1, and a closed pipe, as after `head -1`, silently with 141.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - to the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may have no sign for ×
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    for name, default in defaults.items():
        other = "shakespeare" if default == "names" else "digits"
        choices = {"choices": [default, other]} if name == "data" else {}
        parser.add_argument("--" + name.replace("_", "-"), default=default, **FLAGS[name], **choices)
    file = None
    with ended_together(), _ended_in_a_sentence(parser.prog):
        try:
            flags = parser.parse_args()
            if launched() > 1:
                begin_together(parser, flags)
            file = vars(flags).get("save")
            if file and os.path.exists(file) and os.path.realpath(file) != os.path.realpath(flags.resume or ""):
                parser.error(f"argument --save: {file} is there already: add --resume {file}, or name another file")
            if vars(flags).get("image") and not flags.resume:
                parser.error("argument --image: a trained network is asked: add --resume and the file of its --save")
            main(flags)
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            if file and os.path.exists(file):
                last = "last line" if "steps" in defaults else "last whole epoch"
                print(f"{file} holds the run up to its {last}: add --resume {file}", file=sys.stderr)
            sys.exit(130)
        finally:
            sys.stdout.flush()


@contextmanager
def _ended_in_a_sentence(name):
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries once more at the end
        sys.exit(141 if isinstance(error, BrokenPipeError) else f"{name}: {error}")


def _whole(least):
    def whole(text):
        if text.isdecimal() and len(text) > 18:
            raise argparse.ArgumentTypeError(f"wanted a whole number of at most 18 digits, got {_short(text)}")
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"wanted a whole number of at least {least}, got {_short(text)}")
        return int(text)

    return whole


def _rate(text):
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"wanted a number above 0, got {_short(text)}")
    return rate


def _short(text):
    return text if len(text) <= 100 else f"{text[:100]}…"


def _to_write(text):
    """A path where a file can be written, which is checked before training, not after it."""
    try:
        path = Path(os.path.realpath(text))
        if path.exists() and not path.is_file():
            raise argparse.ArgumentTypeError(f"{_short(text)} is a folder, a pipe or a device, no file")
        if not path.parent.is_dir():
            raise argparse.ArgumentTypeError(f"there is no folder {_short(str(Path(text).parent))}")
        TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{_short(text)}: {error.strerror}") from None
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
    figure, kind = Figure(), Path(text).suffix[1:]
    kinds = figure.canvas.get_supported_filetypes()
    if kind not in kinds:
        raise argparse.ArgumentTypeError(f"wanted a file ending in one of {', '.join(kinds)}, got {_short(text)}")
    figure.text(0, 0, "a word")
    try:
        figure.savefig(io.BytesIO(), format=kind)
    except Exception as error:  # some kinds need other programs, such as LaTeX
        why = str(error).partition("\n")[0]
        raise argparse.ArgumentTypeError(f"matplotlib draws no .{kind} here: {why}") from None
    return _to_write(text)


def _letters(text):
    if not re.fullmatch("[a-z]{0,15}", text):  # with what begins a name, 16 tokens, as many as the network takes
        raise argparse.ArgumentTypeError(f"wanted at most 15 letters, each from a to z, got {_short(text)}")
    return text


def _reporter(text):
    try:
        return reporter(text)
    except (ImportError, ValueError) as error:
        raise argparse.ArgumentTypeError(_short(str(error))) from None


def _image(text):
    try:
        scan(text)
        return text
    except ImportError:
        raise argparse.ArgumentTypeError("to read pictures needs Pillow: pip install pillow") from None
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{_short(text)}: {getattr(error, 'strerror', None) or error}") from None


FLAGS = {
    "epochs": {"type": _whole(1), "metavar": "N", "help": "how often to go through the training data (%(default)s)"},
    "steps": {"type": _whole(1), "metavar": "N", "help": "how many steps to train for (%(default)s)"},
    "batch_size": {"type": _whole(1), "metavar": "N", "help": "how many examples a step takes (%(default)s)"},
    "lr": {"type": _rate, "metavar": "RATE", "help": "learning rate, the highest where it changes (%(default)s)"},
    "seed": {"type": _whole(0), "metavar": "N", "help": "same seed, same numbers (%(default)s)"},
    "data": {"help": "what to train on (%(default)s)"},
    "prompt": {"type": _letters, "metavar": "LETTERS", "help": "what the new names are to begin with"},
    "save": {"type": _to_write, "metavar": "FILE", "help": "keep the run in this file"},
    "resume": {"metavar": "FILE", "help": "go on, perhaps for longer, with the run in this file"},
    "device": {"type": _device, "metavar": "NAME", "help": "where to run, cpu or cuda (%(default)s)"},
    "log": {"type": _reporter, "metavar": "WHERE", "help": "send the figures to FILE.csv, tensorboard:FOLDER, …"},
    "timeout": {"type": _rate, "metavar": "SECONDS", "help": "how long ranks wait for each other (%(default)s)"},
    "image": {"type": _image, "metavar": "FILE", "help": "train nothing, but say which digit is in this picture"},
    "capture": {"action": "store_true", "help": "make one compiled thing of a training step, and repeat that"},
    "plot": {"type": _picture, "metavar": "FILE", "help": "draw what was learned, into this file"},
}


def progress(steps, title):
    """The same steps, with a progress bar if standard output is a terminal and tqdm is installed."""
    return tqdm(steps, title, leave=False, file=sys.stdout, disable=None) if tqdm and not get_rank() else steps


def say(line):
    """Print a line, at once, and above the bar if there is one; of many ranks the first does."""
    if get_rank():
        return
    if tqdm:
        tqdm.write(line, file=sys.stdout)
    else:
        print(line)
    sys.stdout.flush()


def due(done, whole, unit="epoch"):
    """Whether to report an epoch or step: about twenty in all, evenly spaced, with the last, and the first 5 steps."""
    return done * 20 // whole != (done - 1) * 20 // whole or unit == "step" and done <= 5


def report(done, whole, examples, seconds, unit="epoch", **figures):
    """Print a line about an epoch or step, if it is due: its figures, formatted, by name, and its speed.

    The speed is the seconds it took, and examples a second.
    """
    if not due(done, whole, unit):
        return
    parts = [f"{unit} {done:{len(str(whole))}}/{whole}", *[f"{name} {figure}" for name, figure in figures.items()]]
    say("   ".join([*parts, f"{seconds:6.2f} s", f"{examples / seconds:7,.0f}/s"]))


def check_finite(done, loss, weights, unit="epoch"):
    """End the program with a sentence, and status 1, if the loss or the sum of all weights is infinite or NaN."""
    if not math.isfinite(loss + weights):
        sys.exit(f"Stopped in {unit} {done}: the loss or a weight has become infinite or NaN; a lower --lr may help")


def write_picture(figure, path):
    """Write a figure to a file. An older file is replaced only if that succeeds."""
    try:
        with whole_file(Path(path)) as file:
            figure.savefig(file, format=Path(path).suffix[1:], dpi=150)
    except OSError as error:
        sys.exit(f"--plot {path}: {error.strerror}")


def draw_moons(score, points, labels):
    """A picture of the points of two classes, and of a network's score, whose sign is the class, over the plane.

    `score` takes a list of points and returns a list of numbers; `labels` are −1 and 1.
    """
    from matplotlib.figure import Figure

    def scores(places):
        return zip(places, score([(x / 40, y / 40) for x, y in places]))

    # A grid of tenths, and one four times as fine where the sign changes.
    coarse = dict(scores([(x, y) for y in range(-50, 71, 4) for x in range(-70, 111, 4)]))
    signs = {(x, y): {coarse.get((x + i, y + j), 0) > 0 for i in (0, 4) for j in (0, 4)} for x, y in coarse}
    cells = [place for place in coarse if len(signs[place]) == 2]
    fine = {(x + i, y + j) for x, y in cells for i in range(5) for j in range(5) if x + i <= 110 and y + j <= 70}
    known = coarse | dict(scores(sorted(fine - coarse.keys())))
    xs, ys = ([place[i] / 40 for place in known] for i in (0, 1))

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    shown = axes.tripcolor(xs, ys, list(known.values()), cmap="Blues", vmin=-3, vmax=3, shading="gouraud")
    axes.tricontour(xs, ys, list(known.values()), [0], colors="black")
    for label, marker, colour in ((-1, "o", "white"), (1, "^", "black")):
        x, y = zip(*[point for point, its in zip(points, labels) if its == label])
        edge = {"edgecolors": "black" if colour == "white" else "white", "linewidths": 0.7}
        axes.scatter(x, y, 24, colour, marker, **edge, label=f"class {label}".replace("-", "−"))
    axes.set(xlabel="x₁", ylabel="x₂", title="Two moons and the decision boundary", aspect="equal")
    axes.legend(loc="upper right")
    figure.colorbar(shown, shrink=0.9, label="score (black line: 0)", extend="both")
    return figure


def draw_gpt(losses, name, attention):
    """A picture of the loss of each step, with its mean, and of the letters of a name that each head attends to.

    `attention` has for each head a row of weights for each token: that which begins the name, then its letters.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    above, below = figure.subfigures(2, height_ratios=[1, 0.9])
    axes = above.subplots()
    smooth = losses[:1]
    for loss in losses[1:]:
        smooth.append(smooth[-1] + (loss - smooth[-1]) / 50)
    steps = range(1, len(losses) + 1)
    axes.plot(steps, losses, color="lightgrey", linewidth=0.8, label="one name")
    axes.plot(steps, smooth, color="darkblue", label="moving average")
    axes.set(xlabel="step", ylabel="loss", title="Training loss")
    axes.legend()
    letters = ["·", *name]
    for i, (axes, rows) in enumerate(zip(below.subplots(1, len(attention)), attention), 1):
        square = [[*row, *[0.0] * (len(letters) - len(row))] for row in rows]
        axes.imshow(square, cmap="Blues", vmin=0, vmax=1)
        axes.set(xticks=range(len(letters)), xticklabels=letters, yticks=range(len(letters)), yticklabels=letters)
        axes.set(title=f"head {i}", xlabel="key: attends to", ylabel="query: has read up to" if i == 1 else "")
    below.suptitle(f"Attention of the heads in “{name}”; · begins the name")
    return figure


def names():
    """A description of the list of names, and the list, in lowercase letters.

    It is the one that `datasets.text` finds, else the eighth of it that ships with this package: from
    https://github.com/karpathy/makemore, MIT license, in `names.LICENSE`.
    """
    try:
        every = datasets.text("names").split()
        return f"{len(every):,} names", every
    except ValueError as error:
        sys.exit(str(error))
    except OSError as error:
        shipped = Path(__file__).with_name("names.txt").read_text(encoding="ascii").split()
        return f"{len(shipped):,} names that ship with this package (no full list: {_why(error)})", shipped


def _why(error):
    """The last words of an error, which the data set says in full."""
    last = str(error).rpartition(": ")[2]
    return shorten(re.sub(r"\[Errno .*?\] ", "", last), 30, placeholder=" …")


def shakespeare():
    """What to call the text, and the text: Shakespeare's or, where it can't be had, `names`, a line each."""
    try:
        return "Shakespeare", datasets.text("tinyshakespeare")
    except ValueError as error:
        sys.exit(f"Shakespeare can't be used: {error}")
    except OSError as error:
        say(f"No Shakespeare ({_why(error)}): running on names")
        what, every = names()
        return what, "\n".join(every)


class Losses(list):
    """The losses of all steps of a run, with a state for its checkpoint."""

    def state_dict(self):
        return {"losses": list(self)}

    def load_state_dict(self, state):
        losses = state.get("losses")
        if not isinstance(losses, list) or not all(type(x) is float and math.isfinite(x) for x in losses):
            raise ValueError("wanted a list of numbers as losses")
        self[:] = losses


def image_sets(choice):
    """The name of the images that `--data` chose, the training set and the test set, the same on every rank."""
    name, *sets = _image_sets(choice)
    arrays = [x.numpy() for dataset in sets for x in dataset.tensors]
    same_data(*arrays, name=name, examples=[len(dataset) for dataset in sets])
    return name, *sets


def _image_sets(choice):
    if choice != "digits":
        name, load = {"mnist": ("MNIST", datasets.mnist), "cifar10": ("CIFAR-10", datasets.cifar10)}[choice]
        try:
            return name, *[TensorDataset(*load(split)) for split in ("train", "test")]
        except ValueError as error:
            sys.exit(f"{name} can't be used: {error}")
        except OSError as error:
            say(f"No {name} ({_why(error)}): running on the small digits that ship with this package")
    return "UCI digits", *[TensorDataset(*datasets.digits(split)) for split in ("train", "test")]


def captured(step, flags):
    """The step, captured with `--capture`."""
    if not flags.capture:
        return step
    if COMPILED:
        nth = "second" if flags.device == "cpu" else "fourth"
        say(f"The {nth} step is recorded and compiled, which takes seconds the first time; from then on it is repeated")
    return capture(step)


def warm_up_and_cosine(steps):
    """A factor for the learning rate: half a cosine from 1 to 0, after a linear warm-up in a twentieth of the steps."""
    return lambda step: min(1, (step + 1) / (steps / 20 + 1)) * (1 + math.cos(math.pi * step / steps)) / 2


def show(flags, log, name, draw, *arguments):
    """Draw a picture, `draw(*arguments)`, for the file of `--plot` and, if matplotlib is installed, for the log."""
    pictures = {}
    if flags.plot or flags.log:
        with suppress(ImportError):  # --plot has checked for matplotlib; a log may lack the picture
            pictures[name] = draw(*arguments)
    log.end(pictures)
    if flags.plot:
        write_picture(pictures[name], flags.plot)
        say(f"A picture of the {name} is in {flags.plot}")


class Checkpoint:
    """What `--save` writes and `--resume` reads: the settings of a run, its progress, and the states of its parts.

    Parts have `state_dict` and `load_state_dict`. A run may get more epochs or steps when it is resumed. Its next step
    has the learning rate in the file, later ones that of a run which had as many from the start.
    """

    def __init__(self, flags, examples, **parts):
        self.flags, self.parts = flags, parts
        self.unit = "steps" if "steps" in flags else "epochs"
        names = [name for name in (self.unit, "batch_size", "lr", "seed") if name in flags]
        self.settings = {"examples": examples, **{name: getattr(flags, name) for name in names}}
        if "batch_size" in self.settings:
            self.settings["batch_size"] *= get_world_size()  # of all ranks together, which may be others next time

    def save(self, done):
        """With `--save`, write the file after `done` epochs or steps."""
        if self.flags.save:
            states = {name: part.state_dict() for name, part in self.parts.items()}
            try:
                save({"run": {**self.settings, "done": done}, **states}, self.flags.save)
            except OSError as error:
                sys.exit(f"--save {self.flags.save}: {error.strerror}; what was there is there still")

    def resume(self):
        """The number of epochs or steps done: 0 or, with `--resume`, that of the file, whose states the parts load."""
        if not self.flags.resume:
            return 0
        with _resumed(self.flags.resume, "run", *self.parts) as state:
            run, unit, whole = state["run"], self.unit, self.settings[self.unit]
            before = run.get(unit)
            if isinstance(before, int) and before < whole:
                run[unit] = whole
                say(f"{whole} {unit} instead of {before}: the rest at the learning rates of so long a run")
            for name, value in self.settings.items():
                if run.get(name) != value:
                    raise ValueError(f"that run had {name} {shown(run.get(name), 60)}, this one has {value}")
            done = run.get("done")
            if type(done) is not int or not 0 <= done <= whole:
                raise ValueError(f"of that run's {whole} {unit} {shown(done, 60)} are done")
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            return done


def load_trained(path, model):
    """Load a model's weights from the file of a run. If that fails the program ends with a sentence."""
    with _resumed(path, "model") as state:
        model.load_state_dict(state["model"])


@contextmanager
def _resumed(path, *parts):
    """The contents of the file of `--resume`, which must have these parts, else the program ends with a sentence."""
    try:
        state = load(path)
        for name in parts:
            if not isinstance(state, dict) or not isinstance(state.get(name), dict):
                raise ValueError(f"not written by this demo: it holds nothing of the {name}")
        yield state
    except OSError as error:
        sys.exit(f"--resume {shown(path)}: {error.strerror}")
    except (RuntimeError, ValueError) as error:
        sys.exit(f"--resume {path}: {error}")
