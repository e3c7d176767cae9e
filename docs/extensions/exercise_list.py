"""The directive `exercises`: a table of all exercises, from their own table."""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

KINDS = {"Hole": "write", "Hunt": "find the fault", "Prediction": "predict"}


class Exercises(SphinxDirective):
    """Rung, name and kind of each, and what it asks for."""

    def run(self):
        from exercises.table import EXERCISES

        table, group = nodes.table(classes=["colwidths-auto"]), nodes.tgroup(cols=4)
        group += [nodes.colspec() for _ in range(4)]
        head, body = nodes.thead(), nodes.tbody()
        head += self._row(*[nodes.Text(title) for title in ("rung", "name", "kind", "what it asks")])
        for name, exercise in EXERCISES.items():
            kind = KINDS[type(exercise).__name__]
            body += self._row(nodes.Text(str(exercise.rung)), nodes.literal("", name), nodes.Text(kind), exercise.task)
        group += [head, body]
        table += group
        return [table]

    def _row(self, *cells):
        row = nodes.row()
        for cell in cells:
            entry, paragraph = nodes.entry(), nodes.paragraph()
            paragraph += self.parse_inline(cell)[0] if isinstance(cell, str) else cell
            entry += paragraph
            row += entry
        return row


def setup(app):
    app.add_directive("exercises", Exercises)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
