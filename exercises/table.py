"""The exercises by name, in order, read from table.toml."""

from pathlib import Path

from .exercise import Hole, Hunt, Prediction

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11; pytest brings it
    import tomli as tomllib

KINDS = {"hole": Hole, "fault": Hunt, "prediction": Prediction}


def read(path):
    """The exercises in a file."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["exercise"]
    rows = [{name: tuple(x) if isinstance(x, list) else x for name, x in row.items()} for row in rows]
    return {row["name"]: KINDS[row.pop("kind")](**row) for row in rows}


EXERCISES = read(Path(__file__).with_name("table.toml"))
