"""The command line: `python -m exercises`, and one command at a time."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from .client import Ended
from .progress import NAME, Progress, set_aside, summed_up
from .screen import say, table
from .session import Session
from .source import Unreadable
from .table import EXERCISES
from .workshop import Workshop

COMMANDS = """commands:
  (none), or NAME   go on, or go to an exercise: its file is watched, and each save is tested
  check [NAME]      test once, without watching
  hint, solution, reset [NAME]
  list              all exercises, and which are done
  summary PATH …    sum up the files of progress of a class, in folders or one by one
"""
NEEDED = "numpy", "pytest", "hypothesis", "torch"
NEEDED_FROM_5_ON = "numba", "threadpoolctl"


def need(names, why):
    """End with a sentence where one of the packages isn't installed."""
    if missing := [name for name in names if find_spec(name) is None]:
        sys.exit(f"{why}, and {' and '.join(missing)} can't be found here: pip install {' '.join(missing)}")


def chosen(text):
    """The names that --only gives: a text file with one on each line, or names with commas between; None for all."""
    if text == "all":
        return None
    path = Path(text)
    words = path.read_text(encoding="utf-8").splitlines() if path.is_file() else text.split(",")
    names = [word.partition("#")[0].strip() for word in words]
    names = list(dict.fromkeys(filter(None, names)))
    unknown = [name for name in names if name not in EXERCISES]
    if unknown or not names:
        wanted = "a file of names, or names with commas between, as `list` shows them"
        raise argparse.ArgumentTypeError(f"wanted {wanted}; there is no {', '.join(unknown) or 'name in it'}")
    return names


def progress_in(folder):
    """The progress in a folder; a damaged file is put aside, and a new one begins."""
    path = folder / NAME
    try:
        return Progress.load(path)
    except ValueError as error:
        say(f"{error}. It is kept as {set_aside(path).name}, and a new one begins;", "red")
        say("what you have written in your rungs is still there, and counts when it is tested.")
        return Progress.load(path)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m exercises",
        description=__doc__.partition(":")[0] + " of the exercises.",
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="see below")
    work, only = "where your rungs and your progress are (exercises/work)", "these exercises, in this order: names with"
    only += " commas, or a text file with one on each line; kept until `--only all`"
    parser.add_argument("--work", type=Path, default=Path(__file__).with_name("work"), metavar="FOLDER", help=work)
    parser.add_argument("--only", type=chosen, default=False, metavar="NAMES", help=only)
    flags = parser.parse_args(arguments)
    command, *names = flags.words or ["go"]
    if command in EXERCISES:
        command, names = "go", [command]
    if command not in ("go", "check", "hint", "solution", "reset", "list", "summary"):
        parser.error(f"there is no command and no exercise {command!r}; `list` shows the exercises")
    if command == "summary":
        return summary(names or parser.error("summary: say which files or folders"))
    if len(names) > 1 or names and (command == "list" or names[0] not in EXERCISES):
        parser.error(f"{command}: wanted one exercise at most, as `list` shows them, got {' '.join(names)}")
    progress = progress_in(flags.work)
    if flags.only is not False:
        progress.chosen = flags.only
        progress.save()
    return run(command, EXERCISES[names[0]] if names else None, flags.work, progress)


def run(command, exercise, folder, progress):
    """Do a command; the exit status."""
    session = Session(Workshop(folder, progress, lambda: session.judging()), progress)
    if command == "list":
        session.list()
        return 0
    exercise = exercise or session.current
    if exercise is None:
        say("All are done. `python -m exercises NAME` takes you back to one of them.", "green")
        return 0
    if command in ("go", "check"):
        need(NEEDED, "Your results are compared with PyTorch's, by the suite")
        need(["watchfiles"] if command == "go" else [], "To see when you save takes watchfiles")
        need(NEEDED_FROM_5_ON if exercise.rung >= 5 else [], f"{exercise.stage.package} is compiled by Numba")
    try:
        if command == "go":
            session.watch(exercise)
            say("Left. All is kept: `python -m exercises` goes on here.")
        elif command == "check":
            return 0 if session.check(exercise) else 1
        else:
            getattr(session, command)(exercise)
    except KeyboardInterrupt:
        say("\nLeft. All is kept: `python -m exercises` goes on here.")
        return 130
    except (Ended, Unreadable) as error:
        say(str(error), "red")
        return 1
    finally:
        session.close()
    return 0


def summary(paths):
    learners, exercises, bad = summed_up(paths, EXERCISES)
    table(learners)
    if len(exercises) > 1:
        say()
        table(exercises)
    for line in bad:
        say(line, "red")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
