"""Pictures of computation graphs, drawn by Graphviz, which comes with the pygraphviz package."""

from .engine import topological_order


def draw(tensor):
    """The graph that made `tensor`, as a `pygraphviz.AGraph`: a notebook shows it, `.draw("graph.pdf")` writes a file.

    Each box is a tensor: the op that made it, its shape and its dtype. Leaves are blue, constants grey.
    """
    try:
        from pygraphviz import AGraph
    except ImportError as error:
        raise ImportError("draw: pictures of graphs need the pygraphviz package: pip install pygraphviz") from error
    graph = AGraph(source(tensor))
    graph.layout("dot")
    return graph


def source(tensor):
    """The graph that made `tensor`, in Graphviz's own language."""
    made, lines = topological_order(tensor), []
    for x in dict.fromkeys([x for tensor in made for x in tensor.inputs] + [tensor]):
        color = "black" if x.op else "blue" if x.requires_grad else "grey"
        lines.append(f'{id(x)} [label="{_label(x)}", color={color}]')
    for out in made:
        lines += [f"{id(x)} -> {id(out)}" for x in out.inputs]
    return "\n".join(["digraph {", "rankdir=LR", "node [shape=record]", *lines, "}"])


def _label(x):
    made_by = x.op or ("leaf" if x.requires_grad else "constant")
    shape = f"{tuple(x.shape)} {x.dtype}" if hasattr(x._data, "shape") else x._data
    return f"{made_by} | {shape}"
