"""Write the pages of the book as notebooks, and run one with the Python that runs this: `nox -s notebooks` does both.

python docs/notebooks.py write build/notebooks
python docs/notebooks.py run build/notebooks/rung1.ipynb
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))


def write(folder):
    """The notebooks of all pages that have code, in a folder; prints their paths."""
    from notebooks import write

    for path in write(Path(folder)):
        print(path)


def run(path):
    """Run a notebook from top to bottom and write its output into it; an error in a cell ends this with that error."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(Path(path).parent)}}).execute()
    nbformat.write(book, path)
    print(f"{path}: ran")


if __name__ == "__main__":
    {"write": write, "run": run}[sys.argv[1]](*sys.argv[2:])
