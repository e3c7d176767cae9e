"""Pictures of graphs: a node for each tensor, an edge for each input."""

import pytest

capability = pytest.mark.capability


@pytest.fixture
def lines(stage):
    """A function that gives the nodes and the edges of a tensor's graph, as its source has them."""

    def of(tensor):
        source = stage.part("draw").source(tensor).splitlines()
        return [line for line in source if "label=" in line], [line for line in source if "->" in line]

    return of


@capability("pictures of graphs")
def test_a_node_for_each_tensor_and_an_edge_for_each_input(engine, lines):
    a, b = engine.number(2.0), engine.number(-3.0)
    c = a * b
    nodes, edges = lines((c + a).tanh() * c)
    assert len(nodes) == 6  # a, b, c, c + a, tanh, the product: each once, however often it is used
    assert len(edges) == 7
    assert f"{id(a)} -> {id(c)}" in edges


@capability("pictures of graphs")
def test_a_tensor_used_twice_by_one_op_has_two_edges(engine, lines):
    x = engine.number(2.0)
    nodes, edges = lines(x * x)
    assert (len(nodes), len(edges)) == (2, 2)


@capability("pictures of graphs")
def test_a_leaf_alone_is_a_picture_too(engine, lines):
    nodes, edges = lines(engine.number(2.0))
    assert (len(nodes), len(edges)) == (1, 0)


@capability("pictures of graphs")
def test_labels_name_the_op_and_what_it_holds(engine, lines):
    x = engine.number(2.0)
    y = (x * 3.0).tanh()
    y.backward()
    nodes, _ = lines(y)
    text = "\n".join(nodes)
    for word in ("tanh", "mul", "leaf", "constant"):
        assert word in text
    assert ("grad 1" if type(x.data) is float else "() float64") in text


@capability("pictures of graphs")
def test_a_long_chain_is_drawn_without_recursion(engine, lines):
    y = engine.number(1.0)
    for _ in range(3000):
        y = y + 1.0
    assert len(lines(y)[1]) == 6000


@capability("pictures of graphs")
def test_it_is_drawn(engine, stage):
    pytest.importorskip("pygraphviz", reason="the pygraphviz package is not installed")
    x = engine.number(2.0)
    graph = stage.part("draw").draw((x * x).tanh())
    assert (len(graph.nodes()), len(graph.edges())) == (3, 3)  # that is how Graphviz reads the source
    assert graph._repr_mimebundle_()["image/svg+xml"].count("<polygon") >= 3  # what a notebook asks for
    assert graph.draw(format="png").startswith(b"\x89PNG")
