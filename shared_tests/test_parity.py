"""Every case, on PyTorch and on the engine, in float64 and in float32."""

from collections import Counter

import pytest

from .capabilities import CAPABILITIES
from .cases import CASES
from .check import check

FLOAT32 = pytest.mark.capability("float32")


def _parameters():
    for case in CASES:
        name, own = f"{case.capability}: {case.name}", [pytest.mark.capability(case.capability)]
        own += [pytest.mark.host] if case.host else []
        first = [*own, pytest.mark.whole_on_standin] if case.float32 else own
        yield pytest.param(case, "float64", marks=first, id=name)
        if case.float32:
            yield pytest.param(case, "float32", marks=[FLOAT32, *own], id=f"{name} float32")


@pytest.mark.parametrize("case, dtype", [*_parameters()])
def test_output_and_gradients_are_pytorchs(case, dtype, engine):
    check(case, engine, dtype)


def test_every_case_has_a_capability_and_a_name_of_its_own():
    """The name seeds the case's numbers, the capability says on which rung it must pass."""
    assert [case.name for case in CASES if case.capability not in CAPABILITIES] == []
    names = Counter((type(case), case.capability, case.name) for case in CASES)
    assert [name for name, n in names.items() if n > 1] == []
