"""Pictures of graphs: a node for each tensor, an edge for each input, and help where Graphviz is missing."""

import shutil

import pytest

capability = pytest.mark.capability


@pytest.fixture
def draw(stage):
    pytest.importorskip("graphviz", reason="the graphviz package is not installed")
    return stage.part("draw").draw


def lines(graph):
    """The nodes and the edges of a Digraph, as its source has them."""
    source = [line.strip() for line in graph.source.splitlines()]
    return [line for line in source if "label=" in line], [line for line in source if "->" in line]


@capability("pictures of graphs")
def test_a_node_for_each_tensor_and_an_edge_for_each_input(engine, draw):
    a, b = engine.number(2.0), engine.number(-3.0)
    c = a * b
    nodes, edges = lines(draw((c + a).tanh() * c))
    assert len(nodes) == 6  # a, b, c, c + a, tanh, the product: each once, however often it is used
    assert len(edges) == 7
    assert f"{id(a)} -> {id(c)}" in edges


@capability("pictures of graphs")
def test_a_tensor_used_twice_by_one_op_has_two_edges(engine, draw):
    x = engine.number(2.0)
    nodes, edges = lines(draw(x * x))
    assert (len(nodes), len(edges)) == (2, 2)


@capability("pictures of graphs")
def test_a_leaf_alone_is_a_picture_too(engine, draw):
    nodes, edges = lines(draw(engine.number(2.0)))
    assert (len(nodes), len(edges)) == (1, 0)


@capability("pictures of graphs")
def test_labels_name_the_op_and_what_it_holds(engine, draw):
    x = engine.number(2.0)
    y = (x * 3.0).tanh()
    y.backward()
    nodes, _ = lines(draw(y))
    text = "\n".join(nodes)
    for word in ("tanh", "mul", "leaf", "constant"):
        assert word in text
    assert ("grad 1" if type(x.data) is float else "() float64") in text


@capability("pictures of graphs")
def test_a_long_chain_is_drawn_without_recursion(engine, draw):
    y = engine.number(1.0)
    for _ in range(3000):
        y = y + 1.0
    assert len(lines(draw(y))[1]) == 6000


@capability("pictures of graphs")
def test_it_renders(engine, draw, tmp_path):
    if not shutil.which("dot"):
        pytest.skip("the Graphviz program `dot` is not installed")
    x = engine.number(2.0)
    graph = draw((x * x).tanh())
    assert graph._repr_mimebundle_(include=["image/svg+xml"])["image/svg+xml"].count("<polygon") >= 3
    written = graph.render(tmp_path / "graph", format="png")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG") and written.endswith("graph.png")


@capability("pictures of graphs")
def test_without_the_program_the_error_says_what_to_install(engine, draw, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    graph = draw(engine.number(2.0) * 2.0)
    for show in (lambda: graph.render(tmp_path / "graph"), lambda: graph.pipe(), lambda: graph._repr_mimebundle_()):
        with pytest.raises(RuntimeError, match="Graphviz.*install Graphviz: `apt install graphviz`"):
            show()
    assert list(tmp_path.iterdir()) == []
