"""Draw docs/graph.png, the picture in the README: python docs/graph.py"""

import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent))

from stage1_scalar import Tensor  # noqa: E402
from stage1_scalar.draw import draw  # noqa: E402

a, b, c = Tensor(2.0), Tensor(-0.5), Tensor(1.5)
out = (a * b + c).tanh()
out.backward()
draw(out).draw(here / "graph.png")
