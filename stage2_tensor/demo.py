"""What the demos share: flags, lines, bars and pictures. Bars need tqdm and pictures matplotlib; both are optional."""

import argparse
import hashlib
import io
import json
import math
import os
import re
import secrets
import signal
import sys
from contextlib import contextmanager, suppress
from errno import EINVAL
from pathlib import Path
from tempfile import TemporaryFile

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None


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
        parser.add_argument("--" + name.replace("_", "-"), default=default, **FLAGS[name])
    file = None
    with _ended_in_a_sentence(parser.prog):
        try:
            flags = parser.parse_args()
            file = vars(flags).get("save")
            if file and os.path.exists(file) and os.path.realpath(file) != os.path.realpath(flags.resume or ""):
                parser.error(f"argument --save: {file} is there already: add --resume {file}, or name another file")
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


FLAGS = {
    "epochs": {"type": _whole(1), "metavar": "N", "help": "how often to go through the training data (%(default)s)"},
    "steps": {"type": _whole(1), "metavar": "N", "help": "how many steps to train for (%(default)s)"},
    "lr": {"type": _rate, "metavar": "RATE", "help": "learning rate, the highest where it changes (%(default)s)"},
    "seed": {"type": _whole(0), "metavar": "N", "help": "same seed, same numbers (%(default)s)"},
    "prompt": {"type": _letters, "metavar": "LETTERS", "help": "what the new names are to begin with"},
    "save": {"type": _to_write, "metavar": "FILE", "help": "keep the run in this file"},
    "resume": {"metavar": "FILE", "help": "go on, perhaps for longer, with the run in this file"},
    "plot": {"type": _picture, "metavar": "FILE", "help": "draw what was learned, into this file"},
}


def progress(steps, title):
    """The same steps, with a progress bar if standard output is a terminal and tqdm is installed."""
    return tqdm(steps, title, leave=False, file=sys.stdout, disable=None) if tqdm else steps


def say(line):
    """Print a line, at once, and above the bar if there is one."""
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


@contextmanager
def whole_file(path):
    """A temporary file to write, moved to `path` when complete, removed if that fails. A link at `path` is kept."""
    path = Path(os.path.realpath(path))
    aside = path.with_name(f"{secrets.token_hex(8)}.tmp")
    try:
        with open(aside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        with suppress(OSError):
            aside.unlink()


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


_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"  # of names.txt


def names():
    """A description of the list of names, and the list, in lowercase letters.

    It is `text/names.txt` in `$GRADUAL_DATA` if that exists, else the eighth of it that ships with this package: from
    https://github.com/karpathy/makemore, MIT license, in `names.LICENSE`.
    """
    folder = os.environ.get("GRADUAL_DATA")
    path = Path(folder or "", "text", "names.txt").expanduser()
    if not (folder and path.is_file()):
        shipped = Path(__file__).with_name("names.txt").read_text(encoding="ascii").split()
        return f"{len(shipped):,} names that ship with this package", shipped
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        sys.exit(f"{path}: damaged or another file: its SHA-256 is {found}, wanted {_SHA256}")
    every = content.decode().split()
    return f"{len(every):,} names", every


class Losses(list):
    """The losses of all steps of a run, with a state for its checkpoint."""

    def state_dict(self):
        return {"losses": list(self)}

    def load_state_dict(self, state):
        self[:] = numbers(state, "losses")


def numbers(state, name, count=None):
    """The finite numbers of a loaded state under this name; ValueError if there are none, or not `count` of them."""
    found = state.get(name)
    if not isinstance(found, list) or not all(type(x) is float and math.isfinite(x) for x in found):
        raise ValueError(f"wanted a list of numbers as {name}")
    if count not in (None, len(found)):
        raise ValueError(f"wanted {count} numbers as {name}, got {len(found)}")
    return found


def save(state, path):
    """Write dicts and lists of numbers as JSON."""
    with whole_file(path) as file:
        file.write(json.dumps(state).encode())


def load(path):
    """Read what `save` wrote."""
    if Path(path).exists() and not Path(path).is_file():
        raise OSError(EINVAL, "a folder, a pipe or a device, no file")
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"is not a whole JSON file: {shown(error)}") from None


def shown(text, most=300):
    """Text from a file for printing: without control characters, and truncated."""
    text = str(text)
    text = text if len(text) <= most else text[:most] + " …"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


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
        try:
            state = load(self.flags.resume)
            for name in ("run", *self.parts):
                if not isinstance(state, dict) or not isinstance(state.get(name), dict):
                    raise ValueError(f"not written by this demo: it holds nothing of the {name}")
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
        except OSError as error:
            sys.exit(f"--resume {shown(self.flags.resume)}: {error.strerror}")
        except (RuntimeError, ValueError) as error:
            sys.exit(f"--resume {self.flags.resume}: {error}")
