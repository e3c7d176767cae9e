"""The exercises: that each can be done, by its own rung alone, on the learner's file; and the sessions of a learner."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from exercises import __main__ as command_line, source
from exercises.client import Ended, Judge
from exercises.exercise import Hole, Hunt, Prediction
from exercises.progress import Progress, summed_up
from exercises.session import Session
from exercises.table import EXERCISES
from exercises.workshop import Workshop
from ladder.stages import ROOT

HOLES = [exercise for exercise in EXERCISES.values() if isinstance(exercise, Hole)]
HUNTS = [exercise for exercise in EXERCISES.values() if isinstance(exercise, Hunt)]
PREDICTIONS = [exercise for exercise in EXERCISES.values() if isinstance(exercise, Prediction)]
RUNGS = sorted({exercise.rung for exercise in HOLES})
RIGHT = "    return x * y, lambda g: (g * y, g * x)\n"  # the body of mul
UNWRITTEN = '    raise NotImplementedError("yours to write")\n'


@pytest.fixture(scope="module")
def judge():
    judge = Judge()
    yield judge
    judge.close()


def rung_of(exercise, folder):
    """A learner's copy of the rung, made once, and the text of the file."""
    copy = folder / exercise.stage.package
    if not copy.exists():
        source.copy_rung(exercise.stage, copy)
    return copy, source.read(exercise.stage.folder / exercise.file)


# Each exercise


@pytest.mark.parametrize("rung", RUNGS)
def test_each_hole_fails_with_a_message_and_the_rungs_own_text_fills_it(rung, judge, tmp_path):
    """So does no text with one of the suite's faults: what is tested is the learner's file, as the rung is right.

    The judge refuses an answer for which anything of a rung was imported from elsewhere, so no other rung is needed.
    """
    wrong = []
    for hole in [hole for hole in HOLES if hole.rung == rung]:
        folder, whole = rung_of(hole, tmp_path)
        right, _ = source.part(whole, hole.function)

        def verdict(text, folder=folder, whole=whole, hole=hole):
            source.write(folder / hole.file, source.replaced(whole, hole.function, text))
            return judge.ask("test", folder=folder, name=hole.name)

        missing = verdict(source.hole(right))["failure"]
        said = f"NotImplementedError: {source.UNWRITTEN}"  # by a compiler, in its own words
        if not missing or missing["headline"] != said and not hole.compiled:
            wrong.append((hole.name, "the hole", missing))
        if missing and missing["place"] and missing["place"][0] != hole.file:
            wrong.append((hole.name, "the place of the hole", missing))
        for old, new in judge.ask("faults", name=hole.name)["faults"]:
            text = right.replace(old, new)
            found = verdict(text)["failure"]
            if not found or not found["headline"] or not found["test"]:
                wrong.append((hole.name, text, found))
        filled = verdict(right)
        if filled["failure"] or not filled["passed"]:
            wrong.append((hole.name, "the rung's own text", filled))
    assert wrong == []


@pytest.mark.parametrize("hunt", HUNTS, ids=lambda hunt: hunt.name)
def test_a_fault_to_find_is_in_one_line_and_one_of_three_tests_notices(hunt, judge, tmp_path):
    folder, whole = rung_of(hunt, tmp_path)
    right, _ = source.part(whole, hunt.function)
    wrong = right.replace(hunt.right, dict(judge.ask("faults", name=hunt.name)["faults"])[hunt.right])
    lines = [pair for pair in zip(right.splitlines(), wrong.splitlines()) if pair[0] != pair[1]]
    assert len(lines) == 1 and len(right.splitlines()) == len(wrong.splitlines())
    source.write(folder / hunt.file, source.replaced(whole, hunt.function, wrong))
    assert judge.ask("test", folder=folder, name=hunt.name)["failure"]
    assert len(judge.ask("noticing", folder=folder, name=hunt.name)["notice"]) == 1
    source.write(folder / hunt.file, whole)
    assert not judge.ask("test", folder=folder, name=hunt.name)["failure"]


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda prediction: prediction.name)
def test_what_is_to_be_predicted_is_one_line(prediction, judge):
    assert judge.ask("output", name=prediction.name)["output"].count("\n") == 1


def test_every_exercise_has_hints_and_a_text_that_can_be_cut():
    """A decorator, a docstring and what comes after stay; a hole is told from what is written."""
    for exercise in EXERCISES.values():
        assert exercise.task and exercise.hints and all(exercise.hints), exercise.name
    for hole in HOLES:
        whole = source.read(hole.stage.folder / hole.file)
        right, line = source.part(whole, hole.function)
        cut = source.hole(right)
        assert source.is_hole(cut) and not source.is_hole(right), hole.name
        assert right.startswith(source.heading(right)) and '"""' in source.heading(right), hole.name
        holed = source.replaced(whole, hole.function, cut)
        assert source.part(holed, hole.function) == (cut, line)
        assert source.replaced(holed, hole.function, right) == whole


# What a learner may write


def mul_in(tmp_path, text):
    """A learner's rung 1 with a text in the place of mul's body."""
    folder, whole = rung_of(EXERCISES["mul"], tmp_path)
    source.write(folder / "ops.py", whole.replace(RIGHT, text))
    return folder


def test_numbers_inputs_and_pytorchs_are_shown(judge, tmp_path):
    folder = mul_in(tmp_path, "    return x * y, lambda g: (g * x, g * y)\n")
    verdict = judge.ask("test", folder=folder, name="mul")
    assert verdict["failure"]["headline"] == "The gradient of x isn't PyTorch's."
    shown = dict(line.split(maxsplit=1) for line in verdict["failure"]["lines"])
    assert shown["of"] == "x * y"
    x, y, g, yours, pytorchs = (float(shown[name]) for name in ("x", "y", "g", "yours", "PyTorch"))
    assert yours == pytest.approx(g * x) and pytorchs == pytest.approx(g * y)


def test_errors_and_prints_of_the_learners_are_said_with_their_place(judge, tmp_path):
    folder = mul_in(tmp_path, '    print("here")\n    return x * z, lambda g: (g * y, g * x)\n')
    verdict = judge.ask("test", folder=folder, name="mul")
    assert verdict["failure"]["headline"] == "NameError: name 'z' is not defined"
    assert verdict["failure"]["place"][0] == "ops.py" and "x * z" in verdict["failure"]["place"][2]
    assert verdict["printed"] == ["here"]
    mul_in(tmp_path, f'    print("line\\n" * 50)\n{RIGHT}')
    printed = judge.ask("test", folder=folder, name="mul")["printed"]
    assert printed[:20] == ["line"] * 20 and re.fullmatch(r"… and \d+ lines more", printed[20])


def test_what_is_in_the_repository_does_not_stand_in_for_a_file_that_is_missing(judge, tmp_path):
    folder = mul_in(tmp_path, RIGHT)
    (folder / "grad_mode.py").unlink()
    failure = judge.ask("test", folder=folder, name="mul")["failure"]
    assert "grad_mode" in failure["headline"]
    shutil.rmtree(folder)
    assert "__init__.py" in judge.ask("test", folder=folder, name="mul")["failure"]["headline"]


# Sessions


class Run:
    """A session at the command line: what it has printed, and what is typed."""

    def __init__(self, *arguments, cwd=ROOT):
        self.printed = ""
        apart = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "exercises", *map(str, arguments)],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONUTF8": "1", "TERM": "dumb"},
            **apart,
        )
        self.reader = Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.printed += line

    def until(self, text, seconds=120):
        """What was printed up to this text; it is forgotten then."""
        end = time.monotonic() + seconds
        while text not in self.printed:
            assert time.monotonic() < end, f"no {text!r} in:\n{self.printed}"
            time.sleep(0.05)
        before, _, self.printed = self.printed.partition(text)
        return before

    def type(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def interrupt(self):
        self.process.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGINT)


@pytest.fixture
def begin():
    """Begins sessions, which end with the test."""
    runs = []

    def begin(*arguments, **options):
        runs.append(Run(*arguments, **options))
        return runs[-1]

    yield begin
    for run in runs:
        run.end()


def save(path, old, new):
    """Save a file as an editor does: aside first, then in its place."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    aside = path.with_suffix(".tmp")
    aside.write_text(text.replace(old, new), encoding="utf-8")
    aside.replace(path)


def at_once(*arguments):
    """A command that doesn't watch: status and what was printed."""
    run = subprocess.run(
        [sys.executable, "-m", "exercises", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    return run.returncode, run.stdout + run.stderr


def test_a_learner_makes_mistakes_asks_for_help_leaves_and_comes_back(begin, tmp_path):
    run, path = begin("--work", tmp_path), tmp_path / "stage1_scalar" / "ops.py"
    assert "x·y;  d/dx = y,  d/dy = x." in run.until(f"It is in {path}, line 24.")
    run.type("")
    run.until("Nothing is written yet in mul, ops.py, line 24.")
    save(path, UNWRITTEN, "    return x * y, lambda g: (g * x, g * y)\n")
    run.until("The gradient of x isn't PyTorch's.")
    save(path, "(g * x, g * y)", "(g * y, g * x")
    run.until("Python can't read ops.py: '(' was never closed.")
    run.until("return x * y, lambda g: (g * y, g * x")
    run.type("hint")
    run.until("Hint 1 of 3")
    run.type("solution")
    run.until("lambda g: (g * y, g * x)")
    run.type("what?")
    run.until("no word 'what?'")
    save(path, "return x * y, lambda g: (g * y, g * x", "while True: pass")
    run.until("is there a loop that never ends?")
    run.until("It was at ops.py, line 26.")
    path.unlink()
    run.until("ops.py is gone. `reset` puts it back")
    run.type("reset")
    run.until("It is in ")
    save(path, UNWRITTEN, f"    # my own\n{RIGHT}")
    run.until("All 26 tests pass.\nDone: 1 of 60.\nEnter goes on to div.")
    run.type("")
    run.until("div  (2 of 60")
    save(path, UNWRITTEN, "    half = 1\n")
    run.until("then this one failed:  arithmetic: div (), ()")
    run.interrupt()
    run.until("Left. All is kept")
    assert run.process.wait() == 130

    again = begin("--work", tmp_path)
    again.until("div  (2 of 60")
    assert "# my own" in path.read_text(encoding="utf-8") and "half = 1" in path.read_text(encoding="utf-8")
    again.type("next")
    again.until("What does it print? Type it.")
    assert "half = 1" not in path.read_text(encoding="utf-8")  # what is left undone is in nobody's way
    again.type("quit")
    again.until("Left. All is kept")
    assert again.process.wait() == 0


@pytest.fixture
def session(judge, tmp_path):
    """Begins a session of which each line is typed here, in this process, with this judge."""

    def begin(*names):
        progress = command_line.progress_in(tmp_path)
        progress.chosen = list(names) or None
        session = Session(Workshop(tmp_path, progress, lambda: judge), progress)
        session.judge = judge
        return session

    return begin


def test_a_prediction_is_compared_with_what_is_printed(session, capsys):
    learner = session("twice", "mul")
    learner.go_to(learner.current)
    assert learner.obey("6.0") and "It prints something else." in capsys.readouterr().out
    assert learner.obey(" 12 ") and "Done: 1 of 2." in capsys.readouterr().out
    assert learner.obey("") and "mul  (2 of 2" in capsys.readouterr().out
    assert not learner.obey("quit")


def test_a_fault_is_found_by_its_line_or_by_mending_it(session, tmp_path, capsys):
    learner, path = session("swapped", "overflow"), tmp_path / "stage1_scalar" / "ops.py"
    reference = (ROOT / "stage1_scalar" / "ops.py").read_text(encoding="utf-8")
    learner.go_to(learner.current)
    assert "then this one failed:" in capsys.readouterr().out
    learner.obey("24")
    assert "Line 24 is as it should be." in capsys.readouterr().out
    learner.obey("26")
    assert "it says  (g * x, g * y)  and should say  (g * y, g * x)" in capsys.readouterr().out
    learner.obey("a")
    assert "That one passes" in capsys.readouterr().out
    learner.obey("b")
    assert "Done: 1 of 2." in capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == reference
    learner.obey("")
    assert "OverflowError" in capsys.readouterr().out
    save(path, "1 / (1 + _exp(-x))", "_exp(_minimum(x, 0)) / (1 + _exp(-_abs(x)))")
    learner.obey("")
    assert "Which of these tests notices it?" in capsys.readouterr().out
    learner.obey("b")
    assert "That was the last one." in capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == reference and learner.current is None


def test_a_draft_waits_until_its_exercise_is_gone_to_again(session, tmp_path):
    learner, path = session(), tmp_path / "stage1_scalar" / "ops.py"
    learner.go_to(learner.current)
    save(path, UNWRITTEN, "    half = 1\n")
    learner.obey("tanh")
    assert path.read_text(encoding="utf-8").count(UNWRITTEN) == 1
    learner.obey("mul")
    text = path.read_text(encoding="utf-8")
    assert "half = 1" in text and UNWRITTEN not in text


def test_a_damaged_file_of_progress_is_kept_and_what_was_written_counts(session, tmp_path, capsys):
    learner = session()
    assert not learner.check(learner.current) and "Nothing is written yet" in capsys.readouterr().out
    save(tmp_path / "stage1_scalar" / "ops.py", UNWRITTEN, RIGHT.replace("y,", "y ,"))
    (tmp_path / "progress.json").write_text('{"current": "mul", "exer', encoding="utf-8")
    again = session()
    assert again.check(again.current)
    printed = capsys.readouterr().out
    assert "progress.json is damaged" in printed and "Done: 1 of 60." in printed
    assert (tmp_path / "progress.damaged1.json").read_text(encoding="utf-8") == '{"current": "mul", "exer'
    assert "y ," in Progress.load(tmp_path / "progress.json").of["mul"]["text"]


def test_a_teachers_choice_is_kept(tmp_path):
    (tmp_path / "chosen.txt").write_text("swapped  # first\n\noverflow\n", encoding="utf-8")
    status, printed = at_once("list", "--work", tmp_path, "--only", tmp_path / "chosen.txt")
    assert status == 0 and [line.split()[0] for line in printed.splitlines()] == ["swapped", "overflow", "0"]
    assert command_line.main(["list", "--work", str(tmp_path)]) == 0
    assert Progress.load(tmp_path / "progress.json").chosen == ["swapped", "overflow"]
    assert command_line.main(["list", "--work", str(tmp_path), "--only", "all"]) == 0
    assert Progress.load(tmp_path / "progress.json").chosen is None


@pytest.mark.parametrize("content", ["[]", '{"current": 1, "chosen": null, "exercises": {}}', "\0", "{"])
def test_what_is_no_progress_is_refused(content, tmp_path):
    (tmp_path / "progress.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="progress.json is damaged"):
        Progress.load(tmp_path / "progress.json")


def test_a_rung_that_is_gone_is_made_anew_with_all_that_was_solved(tmp_path):
    folder, whole = rung_of(EXERCISES["mul"], tmp_path)
    progress = Progress(tmp_path / "progress.json")
    progress.finish("mul", source.part(whole, "mul")[0].replace(RIGHT, f"    # my own\n{RIGHT}"))
    progress.current = "div"
    progress.save()
    shutil.rmtree(folder)
    status, printed = at_once("reset", "--work", tmp_path)
    assert status == 0 and "div" in printed
    text = (folder / "ops.py").read_text(encoding="utf-8")
    assert "# my own" in text and text.count(UNWRITTEN) == 1


def test_a_file_that_is_no_python_any_more_is_kept_beside_the_new_one(tmp_path):
    at_once("reset", "--work", tmp_path)
    path = tmp_path / "stage1_scalar" / "ops.py"
    path.write_text("def mul(x, y:\n", encoding="utf-8")
    status, printed = at_once("reset", "--work", tmp_path)
    assert status == 0 and "Your file is kept as" in printed
    assert path.with_name("ops.py.kept1").read_text(encoding="utf-8") == "def mul(x, y:\n"
    assert path.read_text(encoding="utf-8").count(UNWRITTEN) == 1


def test_a_class_is_summed_up(tmp_path, capsys):
    for name, done in {"ada": ["mul", "div"], "ben": ["mul"]}.items():
        progress = Progress(tmp_path / name / "progress.json")
        for exercise in done:
            progress.add(exercise, "tries", 3)
            progress.finish(exercise, "text")
        progress.add("div", "hints")
        progress.save()
    (tmp_path / "cem.json").write_text("{", encoding="utf-8")
    learners, of_exercises, bad = summed_up([tmp_path], EXERCISES)
    assert [row[:5] for row in learners[1:]] == [["ada", "2", "60", "0", "1"], ["ben", "1", "60", "0", "1"]]
    assert of_exercises[1:] == [["mul", "2", "2", "0", "0", "3"], ["div", "2", "1", "0", "2", "3"]]
    assert len(bad) == 1 and "cem.json is damaged" in bad[0]
    assert command_line.main(["summary", str(tmp_path)]) == 1
    assert "cem.json is damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["mull"], "no exercise 'mull'"),
        (["hint", "mull"], "wanted one exercise at most, as `list` shows them, got mull"),
        (["--only", "mul,mull"], "there is no mull"),
        (["--only", ""], "there is no name in it"),
        (["summary"], "say which files or folders"),
    ],
)
def test_a_wrong_word_is_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        command_line.main(arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_what_is_not_installed_is_named_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(command_line, "find_spec", lambda name: None if name == "torch" else True)
    with pytest.raises(SystemExit) as end:
        command_line.main(["check", "--work", str(tmp_path)])
    assert end.value.code == (
        "Your results are compared with PyTorch's, by the suite, and torch can't be found here: pip install torch"
    )


def test_without_rich_the_same_is_printed_as_plain_text(tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError\n", encoding="utf-8")
    command = [sys.executable, "-m", "exercises", "--work", str(tmp_path), "list"]
    runs = [
        subprocess.run(
            command, cwd=ROOT, capture_output=True, env={**os.environ, "PYTHONPATH": path}, check=True
        ).stdout
        for path in ("", str(tmp_path))
    ]
    assert runs[0] == runs[1] and b"mul" in runs[0]


def test_the_table_names_no_exercise_twice_and_the_readme_counts_them():
    names = re.findall(
        '^name = "(.*)"', Path(ROOT, "exercises", "table.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(names) == len(set(names)) == len(EXERCISES)
    counts = f"{len(HOLES)} holes, {len(HUNTS)} planted faults to find, {len(PREDICTIONS)} programs"
    assert counts in " ".join(Path(ROOT, "exercises", "README.md").read_text(encoding="utf-8").split())


def test_a_program_that_ends_python_is_answered(judge, tmp_path):
    """The last test of this judge, which begins anew then."""
    folder = mul_in(tmp_path, "    raise SystemExit(3)\n")
    assert "SystemExit(3)" in judge.ask("test", folder=folder, name="mul")["failure"]["headline"]
    mul_in(tmp_path, "    def mul2(n): return mul2(n)\n    return mul2(x)\n")
    assert judge.ask("test", folder=folder, name="mul")["failure"]["headline"].startswith("RecursionError")
    mul_in(tmp_path, "    import os\n    os._exit(7)\n")
    with pytest.raises(Ended, match="ended with status 7"):
        judge.ask("test", folder=folder, name="mul")
