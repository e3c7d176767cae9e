"""A learner's progress, in a file: what is done, and the texts of it, from which a lost rung is made anew."""

import json
import os
from datetime import datetime
from pathlib import Path

NAME = "progress.json"


class Progress:
    """What a file of progress holds. `chosen` are the names of the exercises to do, or None for all.

    `of` has a dict for each exercise that was begun: `done` (when), `tries`, `hints`, `solution` (whether it was
    shown), the learner's `text`, and, for one that isn't done, what stood in the rung `before`.
    """

    def __init__(self, path):
        self.path, self.current, self.chosen, self.of = Path(path), None, None, {}

    @classmethod
    def load(cls, path):
        """The progress in a file, new if there is none. ValueError if the file is damaged."""
        self = cls(path)
        if not self.path.exists():
            return self
        try:
            state = json.loads(self.path.read_text(encoding="utf-8"))
            self.current, self.chosen, self.of = state["current"], state["chosen"], state["exercises"]
            kinds = {"done": str, "tries": int, "hints": int, "solution": bool, "text": str, "before": str}
            right = isinstance(self.current, str | None) and isinstance(self.chosen, list | None)
            for each in self.of.values():
                right = right and all(isinstance(value, kinds[name]) for name, value in each.items())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from None
        if not right:
            raise ValueError(f"{path} is damaged: it holds something else than progress")
        return self

    def save(self):
        """Write the file, whole or not at all."""
        state = {"current": self.current, "chosen": self.chosen, "exercises": self.of}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".new")
        aside.write_text(json.dumps(state, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(aside, self.path)

    def about(self, name):
        """The dict of an exercise."""
        return self.of.setdefault(name, {})

    def add(self, name, what, n=1):
        self.about(name)[what] = self.about(name).get(what, 0) + n

    def is_done(self, name):
        return "done" in self.of.get(name, {})

    def finish(self, name, text=None):
        """The exercise is done, by this text."""
        about = self.about(name)
        about.setdefault("done", datetime.now().isoformat(" ", "minutes"))
        about.pop("before", None)
        if text is not None:
            about["text"] = text


def set_aside(path):
    """Rename a damaged file, so that a new one can begin; gives its new name."""
    path = Path(path)
    n = 1
    while (aside := path.with_name(f"{path.stem}.damaged{n}{path.suffix}")).exists():
        n += 1
    return path.rename(aside)


def learner(path):
    """Whose progress a file is: its own name or, if it has the usual one, that of its folder."""
    path = Path(path)
    return path.resolve().parent.name if path.name == NAME else path.stem


def files(paths):
    """The files of progress among files and folders, at any depth."""
    found = []
    for path in map(Path, paths):
        found += sorted(path.rglob("*.json")) if path.is_dir() else [path]
    return [path for path in found if ".damaged" not in path.name]


def summed_up(paths, exercises):
    """A class's files as two tables, of learners and of exercises; and a line for each file that can't be read."""
    learners, bad = {}, []
    for path in files(paths):
        try:
            if not path.exists():
                raise ValueError(f"{path}: there is no such file")
            learners[path] = Progress.load(path)
        except ValueError as error:
            bad.append(str(error))
    rows = [["learner", "done", "of", "solutions shown", "hints", "last"]]
    for path, progress in learners.items():
        names = [name for name in progress.chosen or exercises if name in exercises]
        about = [progress.of.get(name, {}) for name in names]
        last = max([each["done"] for each in about if "done" in each], default="–")
        counts = (len([each for each in about if "done" in each]), len(names))
        counts += (sum(each.get("solution", False) for each in about), sum(each.get("hints", 0) for each in about))
        rows.append([learner(path), *map(str, counts), last])
    of_exercises = [["exercise", "begun", "done", "solutions shown", "hints", "tries until done"]]
    for name in exercises:
        about = [progress.of[name] for progress in learners.values() if name in progress.of]
        done = [each for each in about if "done" in each]
        if not about:
            continue
        tries = sorted(each.get("tries", 0) for each in done)
        counts = (len(about), len(done), sum(each.get("solution", False) for each in about))
        counts += (sum(each.get("hints", 0) for each in about),)
        of_exercises.append([name, *map(str, counts), str(tries[len(tries) // 2]) if tries else "–"])
    return rows, of_exercises, bad
