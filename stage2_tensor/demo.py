"""What the demos share: flags, lines, bars and pictures. Bars need tqdm and pictures matplotlib; both are optional."""

import argparse
import io
import math
import os
import secrets
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None


def run(main, description, **defaults):
    """Run `main(flags)` with the flags that `defaults` names, read from the command line.

    A wrong flag ends the program with a sentence and status 2 before anything has begun, Ctrl-C or SIGTERM with one and
    130. Where a disk or a terminal takes no more, it ends with one and 1; where nobody reads on, as `head -1`, with
    none and 141.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - to the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may have no sign for ×
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    for name, default in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), default=default, **FLAGS[name])
    with _ended_in_a_sentence(parser.prog):
        try:
            main(parser.parse_args())
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
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
    """A path where a file can be written: what is in the way is said now, not after training."""
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


FLAGS = {
    "epochs": {"type": _whole(1), "metavar": "N", "help": "how often to go through the training data (%(default)s)"},
    "lr": {"type": _rate, "metavar": "RATE", "help": "learning rate, the highest where it changes (%(default)s)"},
    "seed": {"type": _whole(0), "metavar": "N", "help": "same seed, same numbers (%(default)s)"},
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


def check_finite(epoch, loss, weights):
    """End the program with a sentence, and status 1, if the loss of an epoch or the sum of all weights is no number."""
    if not math.isfinite(loss + weights):
        sys.exit(f"Stopped in epoch {epoch}: the loss or a weight has become infinite or NaN; a lower --lr may help")


def write_picture(figure, path):
    """Draw a figure into a file; what was there stays until all of it is drawn, and if that fails."""
    place = Path(os.path.realpath(path))
    aside = place.with_name(f"{secrets.token_hex(8)}{place.suffix}")
    try:
        figure.savefig(aside, dpi=150)
        os.replace(aside, place)
    except OSError as error:
        sys.exit(f"--plot {path}: {error.strerror}")
    finally:
        aside.unlink(missing_ok=True)


def draw_moons(score, points, labels):
    """A picture of the points of two classes, on the score that a network gives to the plane; it decides by the sign.

    `score` takes a list of points and gives a list of numbers, `labels` are −1 and 1.
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
    axes.set(xlabel="x₁", ylabel="x₂", title="Two moons and where the network tells them apart", aspect="equal")
    axes.legend(loc="upper right")
    figure.colorbar(shown, shrink=0.9, label="score of the network (black line: 0)", extend="both")
    return figure
