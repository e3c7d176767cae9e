"""What is printed: in colour where rich is installed and there is a terminal for it, else as plain text."""

import sys

try:
    from rich.console import Console
    from rich.syntax import Syntax
except ImportError:
    Console = None

for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # a terminal may have no sign for ᵀ
console = Console(highlight=False) if Console else None


def say(text="", style=None):
    """Print a line or more; the style is rich's, such as "bold" or "red"."""
    if console:
        console.print(text, style=style, markup=False, soft_wrap=True)
    else:
        print(text, flush=True)


def show(text, first=1):
    """Print Python, with the numbers of its lines from `first` on."""
    if console and console.is_terminal:
        style = {"theme": "ansi_dark", "background_color": "default", "line_numbers": True, "start_line": first}
        console.print(Syntax(text.rstrip("\n"), "python", **style))
        return
    for i, line in enumerate(text.rstrip("\n").splitlines(), first):
        say(f"{i:5}  {line}".rstrip())


def table(rows, styles=()):
    """Print rows in columns; `styles` has one for each row."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row, style in zip(rows, styles or [None] * len(rows)):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip(), style)
