"""PyTorch's own sample inputs: what its developers test each operator with, given to a rung and compared.

A sample is passed, refused (an error says what is missing) or wrong. Wrong fails, always. What is known to be refused
stands in `REFUSED` with the reason, and is at most 3 % of all. The samples live in a private part of torch, whose
version is pinned; where they can't be imported, the tests are skipped and say so.
"""

import importlib
import inspect
from collections import Counter, namedtuple
from zlib import crc32

import numpy as np
import pytest

from .capabilities import CAPABILITIES

OPERATORS = {  # by capability
    "samples of arrays": """
        add sub rsub mul div true_divide floor_divide remainder fmod pow neg abs exp exp2 expm1 log log2 log10 log1p
        sqrt rsqrt reciprocal square sign floor ceil round trunc frac sin cos tan asin acos atan sinh cosh tanh asinh
        acosh atanh atan2 erf erfc sigmoid lerp addcmul addcdiv hypot logaddexp xlogy heaviside nan_to_num isnan isinf
        isfinite isclose allclose equal logical_and logical_or logical_not logical_xor bitwise_and bitwise_or
        bitwise_xor bitwise_not eq ne lt le gt ge clamp clamp_min clamp_max maximum minimum where masked_fill matmul
        mm bmm mv dot vdot outer addmm addmv addbmm baddbmm einsum sum mean amax amin max min aminmax var std var_mean
        std_mean prod cumsum cumprod norm dist softmax log_softmax logsumexp argmax argmin topk sort argsort msort
        kthvalue median all any count_nonzero nonzero bincount reshape view view_as reshape_as flatten squeeze
        unsqueeze transpose permute t expand expand_as broadcast_to repeat tile repeat_interleave flip fliplr flipud
        roll rot90 movedim unfold __getitem__ index_select index_add index_copy index_fill gather scatter scatter_add
        take_along_dim take masked_select cat stack hstack vstack split split_with_sizes chunk tensor_split unbind
        narrow select tril triu diag diagonal diag_embed trace meshgrid clone contiguous zeros_like ones_like
        full_like T mT ravel sgn
        isposinf isneginf unique histc bucketize cdist eye full zeros ones arange linspace bool double float int long
        short to item new_zeros new_ones new_full
    """,
    "samples of networks": """
        linear relu gelu leaky_relu elu silu softplus logsigmoid relu6 hardtanh embedding layer_norm batch_norm
        group_norm mse_loss l1_loss smooth_l1_loss huber_loss nll_loss cross_entropy binary_cross_entropy
        binary_cross_entropy_with_logits kl_div dropout one_hot normalize cosine_similarity pad softmin softshrink
        hardshrink hardswish hardsigmoid mish softsign tanhshrink threshold celu selu glu prelu bilinear dropout2d
        instance_norm soft_margin_loss margin_ranking_loss triplet_margin_loss cosine_embedding_loss gaussian_nll_loss
        hinge_embedding_loss poisson_nll_loss pairwise_distance
    """,
    "samples of images": """
        conv1d conv2d conv_transpose2d max_pool2d avg_pool2d adaptive_avg_pool2d unfold adaptive_avg_pool1d
        adaptive_max_pool1d adaptive_max_pool2d avg_pool1d max_pool1d conv_transpose1d interpolate pixel_shuffle
        pixel_unshuffle
    """,
}
REFUSED = {  # operator -> (how many samples at most, why)
    "nn.functional.batch_norm": (2, "PyTorch takes one dim, if it is empty"),
    "nn.functional.instance_norm": (8, "running statistics of single examples aren't kept"),
    "norm": (2, "p='nuc' adds up singular values, which no rung has"),
}
PER_OPERATOR, AGAIN = 64, 4  # of more samples, so many evenly spread; again, where the same rules have kernels

Outcome = namedtuple("Outcome", "passed refused wrong errors")


@pytest.fixture(scope="session")
def op_infos():
    """Name -> PyTorch's descriptions of an operator, one for each variant."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    try:
        module = importlib.import_module("torch.testing._internal.common_methods_invocations")
    except ImportError as error:
        pytest.skip(f"PyTorch's samples can't be imported: {error}")
    found = {}
    for info in module.op_db:
        found.setdefault(info.name, []).append(info)
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")  # some samples are what PyTorch, and so this, warns of
@pytest.mark.host
@pytest.mark.parametrize("kind", [pytest.param(x, marks=pytest.mark.capability(x), id=x) for x in OPERATORS])
def test_no_sample_of_pytorchs_gives_something_else(kind, stage, engine, op_infos, monkeypatch):
    """On the rung where they arrive and on that of the kernels: the others have the same files."""
    if stage.foreign:
        pytest.skip("not there: PyTorch's samples are for the names of the ladder's rungs")
    if stage.number not in (CAPABILITIES[kind], CAPABILITIES["compiled kernels"]):
        pytest.skip(f"run on stage {CAPABILITIES[kind]}, whose files these are")
    torch = importlib.import_module("torch")
    # Torch seeds before each sample: the CPU alone, as to seed GPUs takes longer than the sample. And it searches the
    # stack for a test of its own, which takes longer than all else, and of which there is none.
    monkeypatch.setattr(torch, "manual_seed", torch.default_generator.manual_seed)
    monkeypatch.setattr(inspect, "stack", list)
    most = PER_OPERATOR if stage.number == CAPABILITIES[kind] else AGAIN
    outcomes = {name: run_samples(name, engine, op_infos[name], most) for name in operators(kind)}
    print(table(outcomes))
    errors = [error for name, x in outcomes.items() if x.wrong or x.refused > _allowed(name) for error in x.errors]
    assert not errors, "\n".join(errors)
    total = sum(x.passed + x.refused for x in outcomes.values())
    assert sum(x.refused for x in outcomes.values()) <= 0.03 * total


def operators(kind):
    """The names of the operators of a capability, as PyTorch's descriptions have them."""
    return [name if kind == "samples of arrays" else f"nn.functional.{name}" for name in OPERATORS[kind].split()]


def _allowed(name):
    return REFUSED.get(name, (0, ""))[0]


def table(outcomes):
    """How many samples of each operator passed, were refused and gave something else; the last row adds them up."""
    rows = [(name, *outcome[:3]) for name, outcome in outcomes.items()]
    rows.append(("all", *(sum(row[i] for row in rows) for i in (1, 2, 3))))
    return "\n".join(
        f"{name:50} {passed:5} passed {refused:4} refused {wrong:4} wrong" for name, passed, refused, wrong in rows
    )


def run_samples(name, engine, infos, most):
    """What becomes of at most so many samples of each variant of one operator."""
    counts, errors = Counter(), []
    for info in infos:
        for sample in _samples(info, most):
            counts[_outcome(name, engine, info, sample, errors)] += 1
    return Outcome(counts["passed"], counts["refused"], counts["wrong"], errors)


def _samples(info, most):
    import torch

    torch.manual_seed(crc32(info.name.encode()))
    dtypes = [dtype for dtype in (torch.float32, torch.int64) if dtype in info.dtypes]
    if not dtypes:
        return []  # a variant for complex numbers, or for another device
    wants_grad = info.supports_autograd and dtypes[0].is_floating_point
    samples = [x for x in info.sample_inputs("cpu", dtypes[0], requires_grad=wants_grad) if not _is_random(info, x)]
    return samples[:: -(-len(samples) // most)]


def _is_random(info, sample):
    """Whether the result is drawn, so that there is nothing to compare."""
    return "dropout" in info.name and sample.kwargs.get("training", True) and 0 < sample.kwargs.get("p", 0.5) < 1


def _outcome(name, engine, info, sample, errors):
    import torch

    label = f"{name} {info.variant_test_name} {_shown(sample.input)} {_shown(sample.args)} {_shown(sample.kwargs)}"
    given = (sample.input, sample.args, sample.kwargs)
    theirs = _mapped(given, torch.Tensor, lambda x: x.detach().clone().requires_grad_(x.requires_grad))
    wanted = info.op(theirs[0], *theirs[1], **theirs[2])
    package, leaves = engine.package, []
    try:
        ours = _ours(given, engine, leaves)
        got = _function(name, package)(ours[0], *ours[1], **ours[2])
    except Exception as error:  # any of them is a refusal
        errors.append(f"refused: {label}: {type(error).__name__}: {error}")
        return "refused"
    try:
        _compare(wanted, got, _leaves(theirs, torch.Tensor), leaves, engine)
    except AssertionError as error:
        errors.append(f"WRONG: {label}: {error}")
        return "wrong"
    return "passed"


# Between PyTorch and the rung


def _function(name, package):
    """The rung's function, or method, of that name."""
    place, _, last = name.rpartition(".")
    for part in place.split(".") if place else ():
        package = getattr(package, part)
    if last in SPECIAL:
        return SPECIAL[last](package)
    found = getattr(package, last, None)
    return found if callable(found) else getattr(package.Tensor, last)


SPECIAL = {  # what PyTorch's descriptions call otherwise than a program does
    "einsum": lambda package: lambda tensors, equation: package.einsum(equation, *tensors),
    "embedding": lambda package: lambda weight, index, **options: package.embedding(index, weight, **options),
    "T": lambda package: lambda x: x.T,
    "mT": lambda package: lambda x: x.mT,
    "rsub": lambda package: lambda x, y, alpha=1: y - alpha * x,
    "where": lambda package: lambda x, condition, y: package.where(condition, x, y),
}


def _mapped(value, kind, change):
    """The value with `change(x)` in the place of each x of a kind in it."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(part, kind, change) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(_mapped(part, kind, change) for part in (value.start, value.stop, value.step)))
    if isinstance(value, tuple | list):
        parts = [_mapped(part, kind, change) for part in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    return value


def _leaves(value, kind):
    found = []
    _mapped(value, kind, found.append)
    return found


def _ours(value, engine, leaves):
    import torch

    def tensor(x):
        leaves.append(engine.Tensor(x.detach().numpy().copy(), requires_grad=x.requires_grad))
        return leaves[-1]

    value = _mapped(value, torch.Tensor, tensor)
    return _mapped(value, torch.dtype, lambda dtype: getattr(engine.package, str(dtype).removeprefix("torch.")))


def _compare(wanted, got, their_leaves, our_leaves, engine):
    """AssertionError unless the outputs agree, and all inputs' gradients under random gradients of the outputs."""
    import torch

    wanted, got = (tuple(x) if isinstance(x, tuple | list) else (x,) for x in (wanted, got))
    assert len(got) == len(wanted), f"{len(got)} outputs, wanted {len(wanted)}"
    theirs, ours = [], []
    rng = np.random.default_rng(0)
    for i, (x, y) in enumerate(zip(wanted, got)):
        if not isinstance(x, torch.Tensor):
            assert type(y) is type(x) and y == x, f"output {i} is {y!r}, wanted {x!r}"
            continue
        assert isinstance(y, engine.package.Tensor), f"output {i} is a {type(y).__name__}, wanted a Tensor"
        _agree(f"output {i}", np.asarray(engine.value(y)), x.detach().numpy())
        assert y.requires_grad == x.requires_grad, f"output {i} has requires_grad={y.requires_grad}"
        if x.requires_grad:
            gradient = np.asarray(rng.standard_normal(tuple(x.shape)), np.float32)
            theirs.append((x * torch.from_numpy(gradient)).sum())
            ours.append((y * engine.constant(gradient)).sum())
    if theirs:
        sum(theirs).backward()
        sum(ours).backward()
        for i, (x, y) in enumerate(zip(their_leaves, our_leaves, strict=True)):
            if x.requires_grad:
                zeros = torch.zeros_like(x) if x.grad is None else x.grad
                _agree(f"gradient of input {i}", engine.grad(y), zeros.numpy(force=True))


def _agree(name, got, wanted):
    """AssertionError unless shape and dtype are the same, and the numbers but for what cancels in float32."""
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), (
        f"{name} is {got.dtype} of {got.shape}, wanted {wanted.dtype} of {wanted.shape}"
    )
    largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * largest, err_msg=name)


def _shown(value):
    import torch

    return _mapped(value, torch.Tensor, lambda x: f"{str(x.dtype)[6:]}{list(x.shape)}")
