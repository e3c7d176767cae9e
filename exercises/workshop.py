"""A learner's own rungs: copies in a folder, in which the exercise that is open has its hole or its fault.

A rung's copy is made once and kept, so that it becomes the learner's own, function by function. An exercise that is
left undone gives way to what stood there before, and comes back as it was left.
"""

from . import source
from .exercise import Hunt
from .table import EXERCISES


class Workshop:
    """The rungs in `folder`, and the progress that belongs to them. `judge()` knows the faults."""

    def __init__(self, folder, progress, judge):
        self.folder, self.progress, self.judge = folder.resolve(), progress, judge

    def rung(self, exercise):
        return self.folder / exercise.stage.package

    def path(self, exercise):
        """The learner's file."""
        return self.rung(exercise) / exercise.file

    def text(self, exercise):
        """The learner's text of the function, and the line on which it begins."""
        return source.part(source.read(self.path(exercise)), exercise.function)

    def right(self, exercise):
        """The rung's own text of the function."""
        return source.part(source.read(exercise.stage.folder / exercise.file), exercise.function)[0]

    def begin(self, exercise):
        """The text with which the exercise begins: a hole, or a fault."""
        if isinstance(exercise, Hunt):
            return self.right(exercise).replace(exercise.right, self.wrong(exercise))
        return source.hole(self.right(exercise))

    def wrong(self, hunt):
        """What is put in the place of the right text in a hunt."""
        return dict(self.judge().ask("faults", name=hunt.name)["faults"])[hunt.right]

    def open(self, exercise):
        """Make the exercise what is open in its rung: as it was left or, if it is new, as it begins."""
        folder, path = self.rung(exercise), self.path(exercise)
        if not (folder / "__init__.py").exists():
            source.copy_rung(exercise.stage, folder)
            self._with_all_that_is_done(exercise.stage)
        elif not path.exists():
            self._anew(exercise)
        about = self.progress.about(exercise.name)
        if "before" in about or self.progress.is_done(exercise.name) and not isinstance(exercise, Hunt):
            return
        there, right = self.text(exercise)[0], self.right(exercise)
        if there == right or isinstance(exercise, Hunt):
            begin = self.begin(exercise)
            about["before"] = right if there == begin else there
            self.put(exercise, about.get("text") or begin)
        else:  # it was written before, and the progress was lost
            about["before"] = right

    def leave(self, exercise):
        """Put back what stood in the place of an exercise that isn't done, and keep the learner's text."""
        about = self.progress.about(exercise.name)
        if "before" not in about:
            return
        try:
            about["text"] = self.text(exercise)[0]
            self.put(exercise, about["before"])
        except source.Unreadable:
            self._aside(exercise)
            self._anew(exercise)
        del about["before"]

    def finish(self, exercise):
        """The exercise is done: keep the learner's text, or put back what a fault was planted into."""
        about = self.progress.about(exercise.name)
        if isinstance(exercise, Hunt):
            if "before" in about:
                self.put(exercise, about["before"])
            about.pop("text", None)
            self.progress.finish(exercise.name)
        else:
            self.progress.finish(exercise.name, self.text(exercise)[0])

    def reset(self, exercise):
        """The exercise as it begins. A file that can't be used is kept under another name, which is given back."""
        kept, about = None, self.progress.about(exercise.name)
        for name in ("text", "done"):
            about.pop(name, None)
        self.open(exercise)
        try:
            self.put(exercise, self.begin(exercise))
        except source.Unreadable:
            kept = self._aside(exercise)
            self._anew(exercise)
            self.put(exercise, self.begin(exercise))
        about.setdefault("before", self.right(exercise))
        return kept

    def put(self, exercise, text):
        """Write another text of the function into the learner's file."""
        path = self.path(exercise)
        source.write(path, source.replaced(source.read(path), exercise.function, text))

    def _aside(self, exercise):
        path, n = self.path(exercise), 1
        if not path.exists():
            return None
        while (aside := path.with_name(f"{path.name}.kept{n}")).exists():
            n += 1
        return path.rename(aside)

    def _anew(self, exercise):
        """The learner's file as the rung has it, with all that was solved in it."""
        source.write(self.path(exercise), source.read(exercise.stage.folder / exercise.file))
        self._with_all_that_is_done(exercise.stage, exercise.file)

    def _with_all_that_is_done(self, stage, file=None):
        for name, about in self.progress.of.items():
            other = EXERCISES.get(name)
            if other and other.rung == stage.number and file in (None, getattr(other, "file", None)):
                about.pop("before", None)
                if "done" in about and "text" in about:
                    self.put(other, about["text"])
