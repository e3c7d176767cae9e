"""How the book is built: `nox -s book`, then open build/book/index.html."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "extensions")]

# The pages run in processes of their own, which import the rungs from here.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(DOCS)])
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"

project = "Gradual"
author = "the authors of Gradual"
copyright = "MIT license"
html_title = "Gradual"

extensions = [
    "myst_nb",
    "sphinx_copybutton",
    "mathml",
    "notebooks",
    "ladder_diff",
    "exercise_list",
    "playground",
    "functions",
]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "remove"  # what compiles, and bars; warnings are errors:
os.environ["PYTHONWARNINGS"] = "error::UserWarning,error::RuntimeWarning"

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True, "footer_icons": []}
# Legible on the tints of the diffs too, at 4.5:1 or more.
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
