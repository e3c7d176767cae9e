"""Pictures of computation graphs, drawn by Graphviz."""

from shutil import which

try:
    from graphviz import Digraph
except ImportError as error:
    raise ImportError("draw: pictures of graphs need the graphviz package: pip install graphviz") from error

from .engine import topological_order


class Graph(Digraph):
    """A Digraph that says what to install where the Graphviz program itself is missing."""

    def pipe(self, *args, **kwargs):
        _need_graphviz()
        return super().pipe(*args, **kwargs)

    def render(self, *args, **kwargs):
        _need_graphviz()
        return super().render(*args, **kwargs)


def _need_graphviz():
    if not which("dot"):
        raise RuntimeError(
            "draw: the Graphviz program `dot` was not found; install Graphviz: "
            "`apt install graphviz`, `brew install graphviz` or `winget install graphviz`"
        )


def draw(tensor):
    """The graph that made `tensor`, as a `graphviz.Digraph`: a notebook shows it, `.render("graph")` writes a PDF.

    Each box is a tensor: the op that made it, its shape and its dtype. Leaves are blue, constants grey.
    """
    graph = Graph(graph_attr={"rankdir": "LR"}, node_attr={"shape": "record"})
    made = topological_order(tensor)
    for x in dict.fromkeys([x for tensor in made for x in tensor.inputs] + [tensor]):
        graph.node(str(id(x)), _label(x), color="black" if x.op else "blue" if x.requires_grad else "grey")
    for out in made:
        graph.edges((str(id(x)), str(id(out))) for x in out.inputs)
    return graph


def _label(x):
    made_by = x.op or ("leaf" if x.requires_grad else "constant")
    shape = f"{tuple(x.shape)} {x.dtype}" if hasattr(x._data, "shape") else x._data
    return f"{made_by} | {shape}"
