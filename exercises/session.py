"""A session: it says what is wanted, watches the learner's file and judges each save; words can be typed meanwhile."""

import ast
import os
import queue
import threading

from . import screen, source
from .client import Ended, Judge
from .exercise import Hole, Hunt, Prediction
from .screen import say
from .table import EXERCISES

WORDS = {
    "hint": "a hint, and each time one that says more",
    "solution": "the rung's own text",
    "reset": "begin this exercise anew",
    "list": "all exercises, and which are done",
    "next": "go on to the next; this one waits for you as it is",
    "quit": "leave; all is kept",
}


class Session:
    """The exercises of a learner: `workshop` has the files, `progress` is what was done."""

    def __init__(self, workshop, progress):
        self.workshop, self.progress = workshop, progress
        self.judge, self.stamps, self.found = None, {}, False

    def ask(self, question, **more):
        """The judge's answer."""
        if not self.judging().loaded:
            say("(PyTorch is loaded first, once; that takes a few seconds.)", "dim")
        return self.judge.ask(question, **more)

    def judging(self):
        """The judge, started when it is first needed."""
        self.judge = self.judge or Judge()
        return self.judge

    def close(self):
        if self.judge:
            self.judge.close()

    # Which exercise

    @property
    def names(self):
        return [name for name in self.progress.chosen or EXERCISES if name in EXERCISES]

    @property
    def current(self):
        """The exercise that was left, else the first that isn't done; None if all are."""
        name = self.progress.current
        if name in self.names and not self.progress.is_done(name):
            return EXERCISES[name]
        return self.following(name)

    def following(self, name):
        """The first exercise after this one that isn't done, or before it if there is none."""
        i = self.names.index(name) + 1 if name in self.names else 0
        open_ones = [each for each in self.names[i:] + self.names[:i] if not self.progress.is_done(each)]
        return EXERCISES[open_ones[0]] if open_ones else None

    def turn_to(self, exercise):
        """Make an exercise the current one, and say what it wants."""
        last = EXERCISES.get(self.progress.current)
        if last and last is not exercise and not isinstance(last, Prediction):
            self.workshop.leave(last)
        self.progress.current, self.found = exercise.name, False
        if not isinstance(exercise, Prediction):
            self.workshop.open(exercise)
        self.progress.save()
        self.say_what_is_wanted(exercise)

    def say_what_is_wanted(self, exercise):
        place = f"{self.names.index(exercise.name) + 1} of {len(self.names)}" if exercise.name in self.names else "more"
        say()
        say(f"{exercise.name}  ({place}, rung {exercise.rung}: {exercise.stage.adds.replace('`', '')})", "bold")
        say()
        say(exercise.task)
        say()
        if isinstance(exercise, Prediction):
            screen.show(exercise.program)
            say()
            say("What does it print? Type it.")
            return
        try:
            text, line = self.workshop.text(exercise)
        except source.Unreadable as error:
            self.say_unreadable(exercise, error)
            return
        if isinstance(exercise, Hole):
            screen.show(source.heading(text), line)
            say()
            say(f"It is in {shortened(self.workshop.path(exercise))}, line {line}. Write its body there, and save.")
        else:
            say(f"A line of {shortened(self.workshop.path(exercise))} is wrong. Type its number, or mend it and save.")
            say("This is what a test says:")
            self.test(exercise)

    # Tests

    def test(self, exercise):
        """Run the tests on the learner's rung and say what comes of it; whether they pass."""
        try:
            text, line = self.workshop.text(exercise)
        except source.Unreadable as error:
            self.say_unreadable(exercise, error)
            return False
        if isinstance(exercise, Hole) and source.is_hole(text):
            say(f"Nothing is written yet in {exercise.function}, {exercise.file}, line {line}.", "yellow")
            return False
        self.progress.add(exercise.name, "tries")
        if not self.progress.is_done(exercise.name):
            self.progress.about(exercise.name)["text"] = text
        try:
            verdict = self.ask("test", folder=self.workshop.rung(exercise), name=exercise.name)
        except Ended as error:
            say(str(error), "red")
            if error.place:
                say("It was at {}, line {}.".format(*error.place))
            self.progress.save()
            return False
        self.say_verdict(verdict)
        self.progress.save()
        return not verdict["failure"]

    def say_unreadable(self, exercise, error):
        say(str(error), "red")
        path = self.workshop.path(exercise)
        if error.line and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            screen.show("\n".join(lines[max(0, error.line - 3) : error.line]), max(1, error.line - 2))

    def say_verdict(self, verdict):
        if verdict["printed"]:
            say("Your program printed:")
            for line in verdict["printed"]:
                say(f"    {line}")
        failure, passed = verdict["failure"], verdict["passed"]
        if not failure:
            say(f"All {passed} tests pass." if passed > 1 else "The test passes.", "green")
            return
        say(f"{passed} passed, then this one failed:  {failure['test']}" if failure["test"] else "", "red")
        say(failure["headline"])
        for line in failure["lines"]:
            say(f"    {line}")
        if failure["place"]:
            file, line, text = failure["place"]
            say(f"    {file}, line {line}:  {text}")

    def judge_what_is_there(self, exercise):
        """Test, and if all is well, finish the exercise; of a hunt, a question remains. Whether all is well."""
        if not self.test(exercise):
            return False
        if isinstance(exercise, Hunt):
            if not self.found and not self.progress.is_done(exercise.name):
                self.say_found(exercise)
        elif self.progress.is_done(exercise.name):
            self.workshop.finish(exercise)
            self.progress.save()
        else:
            self.done(exercise)
        return True

    def done(self, exercise):
        if not isinstance(exercise, Prediction):
            self.workshop.finish(exercise)
        else:
            self.progress.finish(exercise.name)
        self.stamp(exercise)
        self.progress.save()
        n = sum(map(self.progress.is_done, self.names))
        following = self.following(exercise.name)
        say(f"Done: {n} of {len(self.names)}.", "green")
        more = "" if isinstance(exercise, Prediction) else " Or go on trying things in this file: each save is tested."
        say(f"Enter goes on to {following.name}.{more}" if following else "That was the last one. The ladder is yours.")

    # Faults

    def say_found(self, exercise):
        """The line is found: now, which test noticed?"""
        say(f"Found: it says  {self.workshop.wrong(exercise)}  and should say  {exercise.right}", "green")
        say("Which of these tests notices it?")
        for letter, title in zip("abc", exercise.which):
            say(f"    {letter}  {title}")
        self.found = True

    def guess_line(self, exercise, number):
        """Whether it is the line with the fault: the function begins where the learner's does."""
        first = self.workshop.text(exercise)[1]
        wrong, right = self.workshop.begin(exercise).splitlines(), self.workshop.right(exercise).splitlines()
        if number in [first + i for i, (a, b) in enumerate(zip(wrong, right)) if a != b]:
            self.say_found(exercise)
        else:
            self.progress.add(exercise.name, "tries")
            self.progress.save()
            say(f"Line {number} is as it should be.", "yellow")

    def guess_test(self, exercise, letter):
        self.workshop.put(exercise, self.workshop.begin(exercise))
        noticing = self.ask("noticing", folder=self.workshop.rung(exercise), name=exercise.name)["notice"]
        self.stamp(exercise)
        title = dict(zip("abc", exercise.which))[letter]
        if title in noticing:
            say(f"Yes. {exercise.why}")
            self.done(exercise)
        else:
            self.progress.add(exercise.name, "tries")
            self.progress.save()
            say("That one passes, fault or not. Think again.", "yellow")

    # What is typed

    def obey(self, line):
        """Do what a typed line says; False to leave."""
        try:
            return self._obey(line)
        except (Ended, source.Unreadable) as error:
            say(str(error), "red")
            return True

    def _obey(self, line):
        word, exercise = line.strip(), EXERCISES[self.progress.current]
        if word in ("quit", "q", "exit"):
            return False
        if word == "next" or not word and self.progress.is_done(exercise.name):
            self.go_to(self.following(exercise.name))
        elif word in ("hint", "solution", "reset", "list"):
            getattr(self, word)(*([] if word == "list" else [exercise]))
        elif word in ("help", "?"):
            screen.table([[word, what] for word, what in WORDS.items()])
        elif word in self.names and not (isinstance(exercise, Prediction) and not self.progress.is_done(exercise.name)):
            self.go_to(EXERCISES[word])
        elif isinstance(exercise, Prediction):
            self.predict(exercise, word)
        elif isinstance(exercise, Hunt) and self.found and word in ("a", "b", "c"):
            self.guess_test(exercise, word)
        elif isinstance(exercise, Hunt) and not self.found and word.isdecimal():
            self.guess_line(exercise, int(word))
        elif not word:
            self.judge_what_is_there(exercise)
        else:
            say(f"There is no exercise and no word {word!r}; the words are {', '.join(WORDS)}.", "yellow")
        return True

    def go_to(self, exercise):
        if exercise:
            self.turn_to(exercise)
            if not isinstance(exercise, Prediction):
                self.stamp(exercise)
        else:
            say("All are done.", "green")

    def hint(self, exercise):
        """The next hint; after the last, they begin again."""
        n = self.progress.about(exercise.name).get("hints", 0) % len(exercise.hints)
        self.progress.add(exercise.name, "hints")
        say(f"Hint {n + 1} of {len(exercise.hints)}: {exercise.hints[n]}", "cyan")
        self.progress.save()

    def solution(self, exercise):
        self.progress.about(exercise.name)["solution"] = True
        if isinstance(exercise, Prediction):
            say("It prints:")
            say(self.ask("output", name=exercise.name)["output"].rstrip())
            say(exercise.why)
        else:
            line = source.part(source.read(exercise.stage.folder / exercise.file), exercise.function)[1]
            say(f"So it stands in {exercise.stage.package}/{exercise.file}:")
            screen.show(self.workshop.right(exercise), line)
        self.progress.save()

    def reset(self, exercise):
        """Begin an exercise anew."""
        if exercise.name != self.progress.current:
            self.turn_to(exercise)
        if isinstance(exercise, Prediction):
            self.progress.about(exercise.name).pop("done", None)
        else:
            kept = self.workshop.reset(exercise)
            self.found = False
            self.stamp(exercise)
            if kept:
                say(f"Your file is kept as {shortened(kept)}; what you have solved in it is in the new one too.")
        self.progress.save()
        self.say_what_is_wanted(exercise)

    def list(self):
        rows, styles = [], []
        for name in self.names:
            exercise, about = EXERCISES[name], self.progress.of.get(name, {})
            mark = "done" if "done" in about else "now" if name == self.progress.current else ""
            shown = "solution shown" if about.get("solution") else ""
            kind = {Hole: exercise.__dict__.get("file", ""), Hunt: "find the fault", Prediction: "predict"}[
                type(exercise)
            ]
            rows.append([mark, name, f"rung {exercise.rung}", kind, shown])
            styles.append({"done": "green", "now": "bold"}.get(mark))
        screen.table(rows, styles)
        say(f"{sum(map(self.progress.is_done, self.names))} of {len(self.names)} done.")

    def predict(self, exercise, word):
        if not word:
            return
        output = self.ask("output", name=exercise.name)["output"]
        self.progress.add(exercise.name, "tries")
        if normal(word) == normal(output):
            say(f"Yes. {exercise.why}")
            self.done(exercise)
        else:
            say("It prints something else. Think again, or ask for a hint.", "yellow")
        self.progress.save()

    # Watching

    def stamp(self, exercise):
        """Note when the files of the rung were written: what is written later is the learner's."""
        if not isinstance(exercise, Prediction):
            self.stamps = self.written(exercise)

    def written(self, exercise):
        out = {}
        for path in self.workshop.rung(exercise).rglob("*.py"):
            try:
                out[path] = path.stat().st_mtime_ns
            except FileNotFoundError:  # an editor has just replaced it
                out[path] = None
        return out

    def check(self, exercise):
        """Test once; whether all is well."""
        if isinstance(exercise, Prediction):
            say(f"There is nothing to test: `python -m exercises {exercise.name}` asks what it prints.")
            return self.progress.is_done(exercise.name)
        if exercise.name != self.progress.current:
            self.turn_to(exercise)
        return self.judge_what_is_there(exercise)

    def watch(self, exercise):
        """Go on from an exercise until the learner leaves."""
        from watchfiles import PythonFilter, watch

        self.judging()
        say("The exercises. Type `hint`, `solution`, `reset`, `list`, `next` or `quit`; `help` says what they do.")
        self.go_to(exercise)
        typed = lines_typed()
        self.workshop.folder.mkdir(parents=True, exist_ok=True)
        settings = {"rust_timeout": 200, "yield_on_timeout": True, "raise_interrupt": True, "debounce": 400}
        for changes in watch(self.workshop.folder, watch_filter=PythonFilter(), **settings):
            exercise = EXERCISES[self.progress.current]
            if changes and not isinstance(exercise, Prediction) and self.written(exercise) != self.stamps:
                self.stamp(exercise)
                say()
                self.judge_what_is_there(exercise)
            while not typed.empty():
                line = typed.get()
                if line is None or not self.obey(line):
                    return


def normal(text):
    """What is printed, without what makes no difference: spaces, and 6 for 6.0."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return "".join(text.split())


def shortened(path):
    """A path from where we are, if it is below."""
    try:
        return path.relative_to(os.getcwd())
    except ValueError:
        return path


def lines_typed():
    """A queue of the lines that are typed from now on; None at their end."""
    typed = queue.Queue()

    def read():
        rest = b""
        while chunk := os.read(0, 4096):  # sys.stdin would be locked by this thread when Python ends
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                typed.put(line.decode("utf-8", "replace"))
        typed.put(None)

    threading.Thread(target=read, daemon=True).start()
    return typed
