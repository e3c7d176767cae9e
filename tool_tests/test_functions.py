"""What the book's table of public names says is so: in the rungs, in PyTorch, and where something is refused."""

import re
import sys
import warnings
from importlib import import_module

import pytest

from ladder.stages import ROOT, STAGES

torch = pytest.importorskip("torch")
pytest.importorskip("sphinx")
TOP = STAGES[-1].package


@pytest.fixture(scope="module")
def table():
    sys.path.insert(0, str(ROOT / "docs" / "extensions"))
    try:
        return import_module("functions").table()
    finally:
        del sys.path[0]


def there(rung, name):
    """Whether a rung has what PyTorch's programs call by this name, or what is there besides, in the package itself."""
    first, *rest = name.removeprefix("torch.").split(".")
    package = import_module(rung)
    places = [package, import_module(f"{rung}.torch")] if hasattr(package, "nn") else [package]
    found = [getattr(place, first) for place in places if hasattr(place, first)]
    for part in rest:
        found = [getattr(x, part) for x in found if hasattr(x, part)]
    return bool(found)


def test_a_name_is_on_its_rung_and_not_below(table):
    for place, name, rung, *_ in table:
        on = [there(stage.package, f"{place}.{name}") for stage in STAGES]
        assert on == [stage.number >= rung for stage in STAGES], f"{place}.{name}"


def test_what_some_names_say(table):
    facts = {f"{place}.{name}": (rung, link, refused) for place, name, rung, link, refused in table}
    assert facts["torch.Tensor.tanh"][0] == 1
    assert facts["torch.nn.functional.scaled_dot_product_attention"][0] == 6
    rung, link, refused = facts["torch.nn.Conv2d"]
    assert (rung, refused) == (4, []) and link.endswith("/generated/torch.nn.Conv2d.html")
    assert facts["torch.capture"][:2] == (5, None), "PyTorch hasn't got it"
    assert "out=" in facts["torch.cat"][2] and "out=" not in facts["torch.maximum"][2]


def test_a_link_leads_to_what_pytorch_has(table):
    links = [link for *_, link, _ in table if link]
    assert len(links) > 700
    for link in links:
        (name,) = re.findall(r"(torch\.[\w.]+?)(?:\.html)?$", link)
        found = torch
        for part in name.split(".")[1:]:
            found = getattr(found, part)


def test_an_argument_that_is_refused_raises_an_error(table):
    package = import_module(TOP)
    x, tried = package.ones(2, 2), 0
    for place, name, _, _, refused in table:
        for argument in [text[:-1] for text in refused if text.endswith("=")]:
            if place in ("torch", "torch.Tensor") and hasattr(package if place == "torch" else x, name):
                with pytest.raises((TypeError, NotImplementedError), match=argument):
                    getattr(package if place == "torch" else package.Tensor, name)(x, **{argument: object()})
                tried += 1
    assert tried > 50


def test_what_the_suite_knows_to_be_refused_is_in_the_table(table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the suite's marks, which pytest knows there
        from shared_tests.test_signatures import REFUSED
    said = " ".join(text for *_, refused in table for text in refused)
    assert [argument for argument in REFUSED if not re.search(rf"\b{argument}\b", said)] == []
