"""Formulas as MathML, which browsers draw themselves: no script, no fonts, nothing fetched from elsewhere."""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError


def _mathml(node, block):
    try:
        return tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        raise ExtensionError(f"{node.source}, line {node.line}: {node.astext()}: {error}") from None


def inline(self, node):
    self.body.append(_mathml(node, block=False))
    raise nodes.SkipNode


def block(self, node):
    self.body.append(_mathml(node, block=True))
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
