"""Each page that runs, as a notebook: a link on the page, and files that `nox -s notebooks` runs elsewhere.

A notebook knows no directives. Code that a page shows from a rung's own file becomes a block of code in its text, a
remark a quotation, and a picture is put into it.
"""

import ast
import re
import textwrap
from base64 import b64encode
from pathlib import Path

import jupytext
import nbformat

DOCS = Path(__file__).resolve().parent.parent


def executed(page):
    """Whether a page's text has code to run."""
    return "file_format: mystnb" in page.read_text(encoding="utf-8")[:200]


def notebook(page):
    """The notebook of a page, a path."""
    book = jupytext.reads(page.read_text(encoding="utf-8").split("---\n", 2)[2], fmt="md:myst")  # without its header
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = _plain(cell.source)
    book.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.validate(book)
    return book


def _plain(text):
    text = re.sub(r"```\{literalinclude\} (\S+)\n(.*?)```", _code, text, flags=re.DOTALL)
    text = re.sub(r"\{download\}`([^`<]*) <[^`]*>`", r"`\1`", text)
    text = re.sub(r":::\{(\w+)\} ?(.*?)\n(.*?):::", _quotation, text, flags=re.DOTALL)
    text = re.sub(r"!\[(.*?)\]\(([\w./]+\.png)\)", _picture, text, flags=re.DOTALL)
    return re.sub(r"\[([^]]*)\]\([\w./-]*\.md(?:#[\w-]*)?\)", r"\1", text)  # pages that aren't beside it


def _code(found):
    path, options = DOCS / found[1], dict(re.findall(r":([\w-]+): *(.*)", found[2]))
    source = path.read_text(encoding="utf-8")
    for name in filter(None, options.get("pyobject", "").split(".")):
        body = ast.parse(textwrap.dedent(source)).body
        body = body[0].body if len(body) == 1 and isinstance(body[0], ast.ClassDef) else body
        (node,) = [node for node in body if getattr(node, "name", None) == name]
        first = min([node.lineno, *[decorator.lineno for decorator in node.decorator_list]])
        source = "\n".join(textwrap.dedent(source).splitlines()[first - 1 : node.end_lineno])
    return f"```python\n{textwrap.dedent(source).strip()}\n```"


def _quotation(found):
    title = found[2].strip() or found[1].capitalize()
    return "\n".join(f"> {line}".rstrip() for line in [f"**{title}.**", *found[3].strip().splitlines()])


def _picture(found):
    data = b64encode((DOCS / found[2]).read_bytes()).decode()
    return f"![{' '.join(found[1].split())}](data:image/png;base64,{data})"


def write(folder):
    """Write the notebooks of all pages into a folder; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{page.stem}.ipynb" for page in sorted(DOCS.glob("*.md")) if executed(page)]
    for path in written:
        nbformat.write(notebook(DOCS / f"{path.stem}.md"), path)
    for beside in (DOCS / "strided.py", DOCS.parent / "benchmarks" / "gpu.json"):  # which pages read
        (folder / beside.name).write_bytes(beside.read_bytes())
    return written


def _link(app, name, template, context, doctree):
    page = DOCS / f"{name}.md"
    if page.parent == DOCS and page.exists() and executed(page):
        link = f'<a href="notebooks/{name}.ipynb" download>This page as a notebook</a>'
        context["body"] = context["body"].replace("</h1>", f'</h1>\n<p class="notebook-link">{link}</p>', 1)


def _write(app, error):
    if not error and app.builder.format == "html":
        write(Path(app.outdir) / "notebooks")


def setup(app):
    app.connect("html-page-context", _link)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
