"""Where `--log` sends the figures of a run: a CSV file, TensorBoard, Weights & Biases, or a class of your own.

A reporter has three methods: `start(settings)`, a dict; `report(unit, number, figures)`, after each "epoch" or "step"
with a dict of floats; and `end(pictures)`, matplotlib's figures by their names. It is made from the text after the
colon of `--log`.
"""

import csv
import io
import sys
from importlib import import_module
from pathlib import Path
from time import time

from .files import plain


class CSV:
    """A row for each epoch or step: the settings of the run, then its figures. Another run's rows are appended.

    Pictures are written to the same folder. ValueError if the file has other columns.
    """

    def __init__(self, path):
        self.path = Path(path)

    def start(self, settings):
        self.settings = settings
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def report(self, unit, number, figures):
        row = self.settings | {unit: number} | figures
        with open(plain(self.path), "a+", newline="", encoding="utf-8") as file:
            file.seek(0)
            columns = next(csv.reader(file), None)
            if columns not in (None, list(row)):
                raise ValueError(f"its columns are {', '.join(columns)}, and this run's {', '.join(row)}")
            writer = csv.DictWriter(file, row)
            if columns is None:
                writer.writeheader()
            writer.writerow(row)

    def end(self, pictures):
        for name, figure in pictures.items():
            figure.savefig(self.path.with_name(f"{self.path.stem}-{name}.png"), dpi=150)


class TensorBoard:
    """Files of events in a folder, a new one for each run: `tensorboard --logdir` that folder shows them."""

    def __init__(self, folder):
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.folder, self.event, self.summary, self.text = folder, event_pb2.Event, summary_pb2.Summary, text_pb
        self.writer = EventFileWriter

    def start(self, settings):
        self.writer, self.last = self.writer(self.folder), 0
        table = "|setting|value|\n|-|-|\n" + "".join([f"|{name}|{value}|\n" for name, value in settings.items()])
        self._write(self.text("settings", table), 0)

    def report(self, unit, number, figures):
        self.last = number
        self._write(
            self.summary(value=[self.summary.Value(tag=name, simple_value=x) for name, x in figures.items()]), number
        )

    def end(self, pictures):
        for name, figure in pictures.items():
            width, height = (round(inches * 150) for inches in figure.get_size_inches())
            image = self.summary.Image(height=height, width=width, encoded_image_string=_png(figure).getvalue())
            self._write(self.summary(value=[self.summary.Value(tag=name, image=image)]), self.last)
        self.writer.close()

    def _write(self, summary, step):
        self.writer.add_event(self.event(wall_time=time(), step=step, summary=summary))
        self.writer.flush()


class WandB:
    """A run in a project of Weights & Biases; with `WANDB_MODE=offline` in files, for `wandb sync` to send later."""

    def __init__(self, project):
        import wandb

        self.project, self.wandb = project, wandb

    def start(self, settings):
        quiet = self.wandb.Settings(silent=True)
        self.run = self.wandb.init(project=self.project, config=settings, settings=quiet)

    def report(self, unit, number, figures):
        self.run.log(figures, step=number)

    def end(self, pictures):
        from PIL import Image

        self.run.log({name: self.wandb.Image(Image.open(_png(figure))) for name, figure in pictures.items()})
        self.run.finish()


def _png(figure):
    """A picture as a PNG file in memory."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    file.seek(0)
    return file


KINDS = {"tensorboard": TensorBoard, "wandb": WandB}


def reporter(text):
    """The reporter that `--log` names: FILE.csv, tensorboard:FOLDER, wandb:PROJECT or package.module.Class:TEXT.

    ValueError if it names nothing, ImportError if that isn't installed.
    """
    if text.endswith(".csv"):
        return CSV(text)
    kind, _, rest = text.partition(":")
    if not rest or kind not in KINDS and "." not in kind:
        raise ValueError(f"wanted FILE.csv, tensorboard:FOLDER, wandb:PROJECT or module.Class:TEXT, got {text}")
    if kind in KINDS:
        try:
            return KINDS[kind](rest)
        except ImportError as error:
            raise ImportError(f"{kind} is not installed here ({error}): pip install {kind}") from None
    module, _, name = kind.rpartition(".")
    try:
        return getattr(import_module(module), name)(rest)
    except AttributeError:
        raise ValueError(f"{module} has no {name}") from None


class Log:
    """Passes the figures of a run to the reporter of `--log`, if there is one.

    If the reporter fails, this is one warning and nothing more is logged; training goes on.
    """

    def __init__(self, flags, **settings):
        self.reporter, self.unit = flags.log, "step" if hasattr(flags, "steps") else "epoch"
        names = "epochs", "steps", "batch_size", "lr", "seed", "device"
        self._tell("start", settings | {name: getattr(flags, name) for name in names if hasattr(flags, name)})

    def report(self, number, examples, seconds, **figures):
        """The figures of an epoch or step, with how long it took and how many examples a second that was."""
        self._tell(
            "report", self.unit, number, figures | {"seconds": seconds, "examples_per_second": examples / seconds}
        )

    def end(self, pictures):
        self._tell("end", pictures)

    def _tell(self, method, *arguments):
        if self.reporter:
            try:
                getattr(self.reporter, method)(*arguments)
            except Exception as error:
                self.reporter = None
                why = " ".join(str(error).split()) or type(error).__name__
                print(f"--log: {why}; from here on nothing is logged", file=sys.stderr)
