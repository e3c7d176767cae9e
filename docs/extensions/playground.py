"""The page where you type: `{playground}` puts it into a page, and what it runs on beside that page.

Python and Graphviz, compiled for the browser, come from npm: what package.json names, as package-lock.json has it. The
rung comes from its own folder. Without npm, or without a network the first time, the book is built all the same, and
the page says what was missing.
"""

import html
import shutil
import subprocess
import zipfile
from pathlib import Path
from string import Template

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

SOURCE = Path(__file__).resolve().parent.parent / "playground"
RUNG = SOURCE.parent.parent / "stage1_scalar"
PYODIDE = ["pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"]
log = logging.getLogger(__name__)


def install(folder):
    """Install the packages from npm into a folder, unless they are there. What was missing, or None."""
    npm = shutil.which("npm")
    if npm is None:
        return "Node.js and its npm, which were not found"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "installed"
    wanted = (SOURCE / "package-lock.json").read_bytes()
    if done.exists() and done.read_bytes() == wanted:
        return None
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCE / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if run.returncode:
        log.info(run.stderr)
        return "two packages of npm, which could not be installed: is there a network?"
    done.write_bytes(wanted)
    return None


def fill(folder, packages):
    """Put all that the page loads into its folder: its own files, the packages and the rung."""
    for file in SOURCE.iterdir():
        if file.suffix in (".js", ".css"):
            _copy(file, folder / file.name)
    for name in PYODIDE:
        _copy(packages / "node_modules" / "pyodide" / name, folder / "pyodide" / name)
    _copy(packages / "node_modules/@hpcc-js/wasm-graphviz/dist/index.js", folder / "graphviz" / "index.js")
    with zipfile.ZipFile(folder / "rung1.zip", "w", zipfile.ZIP_DEFLATED) as rung:
        rung.write(SOURCE / "runner.py", "runner.py")
        for file in sorted(RUNG.iterdir()):
            if file.suffix in (".py", ".txt"):
                rung.write(file, f"{RUNG.name}/{file.name}")


def _copy(file, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)


def page():
    """The page's HTML, with the examples: each is an option whose value is the program, its first line the title."""
    programs = [file.read_text(encoding="utf-8") for file in sorted((SOURCE / "examples").glob("*.py"))]
    options = []
    for program in programs:
        title, _, code = program.removeprefix("# ").partition("\n")
        options.append(f'<option value="{html.escape(code.strip())}">{html.escape(title)}</option>')
    return Template((SOURCE / "page.html").read_text(encoding="utf-8")).substitute(examples="".join(options))


class Playground(SphinxDirective):
    """`{playground}`: the editor and the graph, or why they aren't there."""

    def run(self):
        self.env.note_reread()  # the next time what is missing may be there
        missing = self.config.playground_missing
        if missing:
            text = f"This page is empty, for want of {missing}. Install it, and build the book again."
            return [nodes.warning("", nodes.paragraph(text=text))]
        return [nodes.raw("", page(), format="html")]


def _install(app):
    app.config.playground_missing = "HTML" if app.builder.format != "html" else install(app.doctreedir / "playground")
    if app.config.playground_missing and app.builder.format == "html":
        log.info(f"The page where you type is left empty, for want of {app.config.playground_missing}")


def _fill(app, error):
    if not error and not app.config.playground_missing:
        fill(Path(app.outdir) / "playground", app.doctreedir / "playground")


def setup(app):
    app.add_config_value("playground_missing", None, "")
    app.add_directive("playground", Playground)
    app.connect("builder-inited", _install)
    app.connect("build-finished", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
