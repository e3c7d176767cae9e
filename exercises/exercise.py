"""What an exercise is: a hole to fill, a fault to find, or a program whose output to predict."""

from dataclasses import dataclass

from ladder.stages import STAGES


@dataclass(frozen=True)
class Exercise:
    """One exercise on a rung; `hints` go from a nudge to almost the answer."""

    name: str
    rung: int
    task: str
    hints: tuple[str, ...]

    @property
    def stage(self):
        return next(stage for stage in STAGES if stage.number == self.rung)


@dataclass(frozen=True)
class Hole(Exercise):
    """A function whose body the learner writes: `function` in `file`, a method as `Class.method`.

    `tests` are those of the suite that belong to it: cases as "capability: name", or test functions as
    "file::function" or "file::function: parameters"; in all of these * stands for anything. They run in the dtypes,
    on rung 5 and above on NumPy's bodies unless the hole is in a compiled kernel.
    """

    file: str
    function: str
    tests: tuple[str, ...]
    dtypes: tuple[str, ...] = ("float64", "float32")
    compiled: bool = False


@dataclass(frozen=True)
class Hunt(Exercise):
    """A planted fault to find: that of the suite which is in `function`, in the place of `right`.

    Of the tests in `which`, one notices it; `why` says why that one does and the others don't.
    """

    file: str
    function: str
    right: str
    tests: tuple[str, ...]
    which: tuple[str, ...]
    why: str
    dtypes: tuple[str, ...] = ("float64",)
    compiled: bool = False


@dataclass(frozen=True)
class Prediction(Exercise):
    """A program whose output the learner predicts; `why` explains it. The output itself is found by running it."""

    program: str
    why: str
