"""The directive `exercises`: a list of all exercises, rung by rung, from their own table."""

from itertools import groupby

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

KINDS = {"Hole": "write", "Hunt": "find the fault", "Prediction": "predict"}


class Exercises(SphinxDirective):
    """Name and kind of each, and what it asks for."""

    def run(self):
        from exercises.table import EXERCISES

        found = []
        for rung, on_it in groupby(EXERCISES.values(), lambda exercise: exercise.rung):
            listed = nodes.bullet_list()
            listed += [self._item(exercise) for exercise in on_it]
            found += [nodes.rubric("", f"Rung {rung}"), listed]
        return found

    def _item(self, exercise):
        text = nodes.paragraph()
        text += [nodes.literal("", exercise.name), nodes.Text(f" ({KINDS[type(exercise).__name__]}) ")]
        text += self.parse_inline(exercise.task)[0]
        return nodes.list_item("", text)


def setup(app):
    app.add_directive("exercises", Exercises)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
