"""The suite itself is tested: mistakes are planted in a copy of the rung, and each must be caught.

A fault names a function, what stands in it and what is put there instead; the copy is imported under another name, and
the function gets the edited text's code for as long as the fault is there. Where the text is no longer there, that is
an error: the fault has to follow the code.
"""

import ast
import gc
import importlib
import inspect
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from ladder.source import lines_of
from ladder.stages import STAGES, says_the_same

from . import (
    test_arrays,
    test_as_pytorch,
    test_devices,
    test_engine,
    test_images,
    test_inplace,
    test_modules,
    test_optim,
    test_schedulers,
)
from .cases import CASES
from .check import check
from .engines import Target, make_engine, torch_engine

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Fault:
    """In `function`, `old` becomes `new`; the cases of a capability, or a test function of an engine, must notice.

    Rungs above `until` have another text there.
    """

    function: str
    old: str
    new: str
    caught_by: object
    until: float = float("inf")


names_the_op = test_engine.test_a_failing_op_names_itself_and_its_numbers
grows_where_it_is = test_arrays.test_a_gradient_that_is_held_goes_on_growing_as_in_pytorch


def parts_add_up(engine):
    test_arrays.test_parts_add_up_beside_other_gradients(engine.Tensor)


def parts_overlap(engine):
    for places in test_arrays.PARTS.values():
        for leaf in (True, False):
            test_arrays.test_gradients_of_parts_add_up_where_they_overlap(engine.Tensor, places, leaf)


def views_of_columns(engine, torch):
    test_inplace.test_a_view_of_a_view_shares_its_memory_where_pytorchs_does(engine, torch, "its first columns", "view")


def sums_of_integers(engine):
    test_arrays.test_functions_of_integers_have_pytorchs_dtype_and_values(engine, "sum")


def infinite_gradients(engine):
    test_images.test_an_infinite_gradient_goes_through_max_pooling_to_the_largest_alone(engine, (2,), float("inf"))


def _steps(name):
    """The steps of an optimizer beside PyTorch's."""
    test = test_optim.test_every_step_is_pytorchs
    return lambda engine, stage, torch: test(engine, stage, torch, name, "float64")


def _rates(test, *arguments):
    """A test of schedulers beside PyTorch's."""
    return lambda sides: test(sides, *arguments)


FAULTS = {  # by the rung on which the text arrives
    1: [
        Fault("add", "(g, g)", "(g, 2 * g)", "arithmetic"),
        Fault("sub", "(g, -g)", "(g, g)", "arithmetic"),
        Fault("mul", "(g * y, g * x)", "(g * x, g * y)", "arithmetic", until=1),
        Fault("div", "-g * out / y", "-g * out", "arithmetic"),
        Fault("pow", "g * y * _pow", "g * _pow", "arithmetic"),
        Fault("pow", "g * out * _log", "g * _log", "arithmetic"),
        Fault("pow", "y - (y != 0)", "y - 1", "arithmetic", until=1),  # x**0 at 0
        Fault("neg", "(-g,)", "(g,)", "arithmetic"),
        Fault("exp", "(g * out,)", "(g * x,)", "elementary functions"),
        Fault("log", "g / x", "g * x", "elementary functions"),
        Fault("tanh", "1 - out * out", "1 - out", "elementary functions"),
        Fault("sigmoid", "g * out * (1 - out)", "g * out", "elementary functions"),
        Fault(
            "sigmoid",
            "_exp(_minimum(x, 0)) / (1 + _exp(-_abs(x)))",
            "1 / (1 + _exp(-x))",
            "elementary functions",
            until=1,
        ),
        Fault("relu", "lambda g: (", "lambda g: (2 * ", "elementary functions"),
        Fault("dot", "(*y, *x)", "(*x, *y)", test_engine.test_dot_is_a_sum_of_products, until=1),
        Fault(
            "topological_order", "elif tensor not in seen:", "else:", test_engine.test_work_grows_with_diamonds, until=1
        ),
        Fault("topological_order", "order.append(stack.pop())", "order.insert(0, stack.pop())", "arithmetic", until=1),
        Fault(
            "Tensor.backward", "tensor.grad = None", "pass", test_engine.test_a_second_backward_exactly_doubles, until=1
        ),
    ],
    2: [
        Fault("rectify", "_maximum(x, 0)", "_maximum(x, 1)", "elementary functions"),
        Fault("rectify_gradient", "where(out,", "where(out >= 0,", "elementary functions"),
        Fault("rectify_gradient", "g * (out != 0)", "g * (out >= 0)", "more elementwise functions"),
        Fault("rectify_gradient", "np.isfinite(g).all()", "True", "infinities and NaN"),
        Fault("Tensor.backward", "tensor._grad = None", "pass", test_engine.test_a_second_backward_exactly_doubles),
        Fault("topological_order", " and x not in found", "", test_engine.test_work_grows_with_diamonds),
        Fault("topological_order", "key=_when_made", "key=_when_made, reverse=True", "arithmetic"),
        Fault("_accumulate", "g = x._grad + g", "pass", "arithmetic"),
        Fault("_accumulate", "x._grad += g", "pass", grows_where_it_is),
        Fault("_accumulate", "g = g.copy()", "pass", "arithmetic"),
        Fault("mul", "(g * y, lambda: g * x)", "(g * x, lambda: g * y)", "arithmetic"),
        Fault(
            "Tensor.backward",
            "if parts and tensor in parts:",
            "if tensor in parts and tensor._grad is None:",
            parts_add_up,
        ),
        Fault("Tensor.backward", "for x in [*parts]:", "for x in ():", "indexing"),
        Fault("Tensor.backward", "if not uses[x] and x in parts:", "if x in ():", parts_overlap),
        Fault("joined", "or _disjoint(parts)", "or True", parts_overlap),
        Fault("joined", "covered = apart and", "covered = apart or", "indexing"),
        Fault("_disjoint", " and all([(item.step or 1) > 0 for item in items])", "", parts_overlap),
        Fault("_disjoint", "bounds = [0, *chain", "bounds = [*chain", parts_overlap),
        Fault("_accumulate", "x._grad += g", "x._grad = x._grad + g", grows_where_it_is),
        Fault("_array", "np.array(data,", "np.asarray(data,", test_arrays.test_a_callers_array_is_never_changed),
        Fault("unbroadcast", "total(g,", "np.add.reduce(1 + g,", "broadcasting"),
        Fault("unbroadcast", "missing + i for i", "i for i", "broadcasting"),
        Fault("sqrt", "(2 * out)", "out", "more elementwise functions"),
        Fault("abs", "signs(x)", "(x > 0)", "more elementwise functions"),
        Fault("maximum", "x < y, y < x", "x <= y, y < x", "more elementwise functions"),
        Fault("minimum", "x > y, y > x", "x > y, y >= x", "more elementwise functions"),
        Fault("where", "np.where(condition, 0, g)", "np.where(condition, g, 0)", "comparisons and where"),
        Fault("sum", "_to_all(g,", "_to_all(2 * g,", "sum and mean"),
        Fault("total", "> 256", "> 1e9", test_arrays.test_sums_of_many_numbers_keep_their_digits),
        Fault("float64_total", "np.float64", "None", test_arrays.test_sums_of_many_numbers_keep_their_digits),
        Fault("total", "np.int64", "np.int8", sums_of_integers),
        Fault("mean", "_to_all(g / n", "_to_all(g", "sum and mean"),
        Fault("average", "_count(x, dim)", "x.size", "reductions"),
        Fault("_restored", "keepdim or ", "", "reductions"),
        Fault("_extreme", " / count", "", "reductions"),
        Fault("var", "* 2 * centred", "* centred", "reductions"),
        Fault("var", "int(unbiased) if", "0 if", "reductions"),
        Fault("dims_of", "return normalize_axis_tuple(dim, x.ndim)", "return 0", "reductions"),
        Fault("std", "(2 * out + (out == 0))", "(out + (out == 0))", "reductions"),
        Fault("expit", "1 + _exp(-_abs(x))", "1 + _exp(-x)", "elementary functions"),
        Fault("softmax_gradient", "(g * out).sum(", "g.sum(", "softmax"),
        Fault("softmax_values", "x - _top(x, dim)", "x", "softmax"),
        Fault("log_softmax_values", "out -= _log(", "out -= (", "softmax"),
        Fault("log_softmax_gradient", "_exp(out) * g.sum", "out * g.sum", "softmax"),
        Fault("logsumexp", "_exp(x - kept)", "_exp(x)", "softmax"),
        Fault("matmul", "product(g, columns.swapaxes(-1, -2))", "product(g, columns)", "matmul"),
        Fault("matmul", "product(rows.swapaxes(-1, -2), g)", "product(g.swapaxes(-1, -2), rows)", "matmul"),
        Fault("product", "x @ y\n", "2 * x @ y\n", "matmul"),
        Fault("matmul", "gradient[..., 0] if y.ndim == 1 else gradient", "gradient", "matmul"),
        Fault("reshape", "return x.reshape", "return x.copy().reshape", views_of_columns, until=4),
        Fault("clone", "(g,)", "(2 * g,)", "updates in place"),
        Fault("astype", "(g,)", "(2 * g,)", "dtypes"),
        Fault("reshape", "(g.reshape(before),)", "(g.reshape(before[::-1]).T,)", "shapes"),
        Fault("unsqueeze", "(g.reshape(before),)", "(g,)", "shapes"),
        Fault("transpose", "(g.swapaxes(*dims),)", "(g,)", "shapes"),
        Fault("permute", "np.argsort(dims)", "dims", "shapes"),
        Fault("expand", "lambda g: (g,)", "lambda g: (2 * g,)", "shapes"),
        Fault("add_at", "np.add.at(x, index, g)", "x[index] = g", "indexing", until=4),
        Fault("getitem", "Part(g, parts, shape)", "Part(g * g, parts, shape)", "indexing"),
        Fault("new_zeros", "np.zeros_like(", "np.ones_like(", "indexing"),
        Fault("getitem", "add_at(gradient[parts], chosen, g)", "gradient[parts][chosen] = g", "indexing"),
        Fault("split_index", "isinstance(item, int)", "False", "indexing"),
        Fault("setitem", "kept[parts][chosen] = 0", "pass", "updates in place"),
        Fault("setitem", "g[parts][chosen]", "2 * g[parts][chosen]", "updates in place"),
        Fault("update", "x._data.copy()", "x._data", "updates in place"),
        Fault("then", "x._made > made", "False", "updates in place"),
        Fault(
            "_release", "then(before, y._made) if z is x else z", "z", test_inplace.test_no_cycle_keeps_a_graph_alive
        ),
        Fault("_of_view", "place.of(gradient)[...] = g", "pass", "updates in place"),
        Fault("_through_view", "backward(view.copy())", "backward(2 * view)", "updates in place"),
        Fault("check", "cells and _depend(", "cells and not _depend(", "updates in place"),
        Fault("cat", "np.split(g, ends[:-1], axis=dim)", "np.split(g, ends[:-1], dim)[::-1]", "joining and padding"),
        Fault("stack", "np.moveaxis(g, dim, 0)", "g", "joining and padding"),
        Fault("pad", "g[inside]", "g[tuple(slice(n) for n in x.shape)]", "joining and padding"),
        Fault("sin", "np.cos(x)", "-np.cos(x)", "trigonometry and powers"),
        Fault("cos", "-np.sin(x)", "np.sin(x)", "trigonometry and powers"),
        Fault("tan", "1 + out", "1 - out", "trigonometry and powers"),
        Fault("asin", "g / np.sqrt", "-g / np.sqrt", "trigonometry and powers"),
        Fault("acos", "-g /", "g /", "trigonometry and powers"),
        Fault("atan", "g / (1 + x * x)", "g / (1 - x * x)", "trigonometry and powers"),
        Fault("atan2", "g * -y", "g * y", "trigonometry and powers"),
        Fault("sinh", "np.cosh(x)", "np.sinh(x)", "trigonometry and powers"),
        Fault("cosh", "g * np.sinh(x)", "g * np.cosh(x)", "trigonometry and powers"),
        Fault("asinh", "x * x + 1", "x * x - 1", "trigonometry and powers"),
        Fault("acosh", "x * x - 1", "x * x + 1", "trigonometry and powers"),
        Fault("atanh", "1 - x", "1 + x", "trigonometry and powers"),
        Fault("hypot", "g * (y / out)", "g * (x / out)", "trigonometry and powers"),
        Fault("exp2", " * math.log(2)", "", "trigonometry and powers"),
        Fault("expm1", "out + 1", "out", "trigonometry and powers"),
        Fault("log2", "g / (x * math.log(2))", "g / x", "trigonometry and powers"),
        Fault("log10", "g / (x * math.log(10))", "g / x", "trigonometry and powers"),
        Fault("log1p", "g / (1 + x)", "g / x", "trigonometry and powers"),
        Fault("logaddexp", "np.exp(x - y)", "np.exp(x)", "trigonometry and powers"),
        Fault("xlogy", "nothing | ", "", "infinities and NaN"),
        Fault("atan2", " + ((x == 0) & (y == 0))", "", "infinities and NaN"),
        Fault("_to_chosen", "equal, g / 2, g", "True, g / 2, g", "infinities and NaN"),
        Fault("_where", "np.where(condition, g, 0)", "condition * g", "infinities and NaN"),
        Fault(
            "_again",
            "isinstance(error, FloatingPointError)",
            "False",
            names_the_op,
        ),
        Fault("_again", 'np.errstate(all="ignore")', "np.errstate()", names_the_op),
        Fault("xlogy", "g * x / y", "g / y", "trigonometry and powers"),
        Fault("xlogy", "(x == 0) & (y <= 0)", "x != x", "trigonometry and powers"),
        Fault("square", "g * 2 * x", "g * x", "trigonometry and powers"),
        Fault("rsqrt", "-0.5", "0.5", "trigonometry and powers"),
        Fault("reciprocal", "g * -out * out", "g * -out", "trigonometry and powers"),
        Fault("erf", "error_function_gradient(g, x)", "2 * error_function_gradient(g, x)", "trigonometry and powers"),
        Fault("erfc", "-error_function_gradient", "error_function_gradient", "trigonometry and powers"),
        Fault("erfc", "size < 4", "size < 40", "trigonometry and powers"),
        Fault("_bell", "np.exp((coarse - x) * (coarse + x))", "1", "trigonometry and powers"),
        Fault("error_function", "size <= _NEAR, near", "size <= 4, near", "trigonometry and powers"),
        Fault("error_function_gradient", "-x * x", "x * x", "trigonometry and powers"),
        Fault("sign", "signs(x)", "np.ceil(x)", "rounding"),
        Fault("signs", "x < 0", "x < -1", "rounding"),
        Fault("_flat", "np.zeros_like", "np.ones_like", "rounding"),
        Fault("floor", "np.floor", "np.ceil", "rounding"),
        Fault("ceil", "np.ceil", "np.floor", "rounding"),
        Fault("trunc", "np.trunc", "np.floor", "rounding"),
        Fault("round", "np.rint(x / scale) * scale", "np.rint(x / scale)", "rounding"),
        Fault("frac", "(g,)", "(0 * g,)", "rounding"),
        Fault("fmod", "-g * np.trunc(x / y)", "-g * np.floor(x / y)", "rounding"),
        Fault("remainder", "-g * _floor_quotient(x, y)", "g * _floor_quotient(x, y)", "rounding"),
        Fault("remainder", "np.where(_beyond(rest, y), rest + y, rest)", "rest", "rounding"),
        Fault("floor_divide", "_floor_quotient(x, y)", "x / y", "rounding"),
        Fault("_floor_quotient", " - _beyond(rest, y)", "", "rounding"),
        Fault("trunc_divide", "np.trunc(x / y)", "np.floor(x / y)", "rounding"),
        Fault("lerp", "g * (1 - weight)", "g * weight", "trigonometry and powers"),
        Fault("addcmul", "value * z", "z", "trigonometry and powers"),
        Fault("addcdiv", "-g * (value", "g * (value", "trigonometry and powers"),
        Fault("clamp_min", "np.where(x < low, g, 0)", "g", "rounding"),
        Fault("clamp_max", "np.where(x > high, g, 0)", "g", "rounding"),
        Fault("clamp", "(low < high)", "(low <= high)", "rounding"),
        Fault("clamp", "np.where(inside, g, 0)", "g * inside", "rounding"),
        Fault("masked_fill", "filled(g, mask, 0)", "g * ~mask", "rounding"),
        Fault("filled", "(mask, value, x)", "(mask, x, value)", "rounding"),
        Fault("nan_to_num", "np.where(np.isfinite(x), g, 0)", "g", "rounding"),
        Fault("order", 'kind="stable"), dim)', 'kind="stable"))', "order and places"),
        Fault("argmax", "np.argmax", "np.argmin", "order and places"),
        Fault("argmin", "np.argmin", "np.argmax", "order and places"),
        Fault("_extreme_place", "np.expand_dims(place, dim) if keepdim else place", "place", "order and places"),
        Fault("middle", "- 1) // 2", ") // 2", "order and places"),
        Fault("middle", "np.isnan(x)", "np.isinf(x)", "order and places"),
        Fault("middle", "nan.argmax(axis=dim)", "nan.argmin(axis=dim)", "infinities and NaN"),
        Fault("gather", "add_at(gradient, places, g)", "gradient[places] = g", "order and places"),
        Fault(
            "index_select",
            "add_at(gradient, (*(slice(None),) * dim, index), g)",
            "np.moveaxis(gradient, dim, 0)[index] = np.moveaxis(g, dim, 0)",
            "order and places",
        ),
        Fault("take", ".reshape(shape)", ".reshape(shape)[::-1]", "order and places"),
        Fault("counted", "places + size", "places", "order and places"),
        Fault("masked_select", "gradient[mask] = g", "gradient[mask] = g[::-1]", "order and places"),
        Fault("_one_of", "g / chosen.sum()", "g", "order and places"),
        Fault("_one_of", " | ((x != x) & (out != out))", "", "infinities and NaN"),
        Fault("smallest", "x.min()", "x.max()", "infinities and NaN"),
        Fault("scatter", "_without(g, places)", "g", "order and places"),
        Fault("scatter_add", "g[places], source", "g[places] * 2, source", "order and places"),
        Fault("index_copy", "_without(g, places)", "g", "order and places"),
        Fault("index_add", "g[places] * alpha", "g[places]", "order and places"),
        Fault(
            "cumsum",
            "np.flip(np.cumsum(np.flip(g, dim), axis=dim), dim)",
            "np.cumsum(g, axis=dim)",
            "sums and products along a dim",
        ),
        Fault("cumprod", "numbers[i + 1] * ", "numbers[i] * ", "sums and products along a dim"),
        Fault("cumprod", "before == 0", "False", "infinities and NaN"),
        Fault(
            "prod",
            "np.where(none, 0, _restored(g, dim, keepdim) * others)",
            "_restored(g, dim, keepdim) * others",
            "infinities and NaN",
        ),
        Fault("prod", " * np.flip(_products_before(np.flip(x, dim), dim), dim)", "", "sums and products along a dim"),
        Fault("_products_before", "n - 1", "n - 1 or 1", "sums and products along a dim"),
        Fault("norm", "** (p - 1)", "** p", "sums and products along a dim"),
        Fault("norm", "g / chosen.sum(axis=dim, keepdims=True)", "g", "sums and products along a dim"),
        Fault("flip", "np.flip(g, dims)", "g", "rearranging"),
        Fault("roll", "np.roll(g, back, axis)", "np.roll(g, there, axis)", "rearranging"),
        Fault("rot90", "np.rot90(g, -k, dims)", "np.rot90(g, k, dims)", "rearranging"),
        Fault("tril", "np.tril(g, diagonal)", "np.tril(g)", "rearranging"),
        Fault("triu", "np.triu(g, diagonal)", "np.triu(g)", "rearranging"),
        Fault("diagonal", "gradient, (dim1, dim2)", "gradient, (dim2, dim1)", "rearranging"),
        Fault("diag_embed", "np.diagonal(g, offset", "np.diagonal(g, -offset", "rearranging"),
        Fault("repeat", "range(0, len(pairs), 2)", "range(1, len(pairs), 2)", "rearranging"),
        Fault("unfold", "np.moveaxis(g, -1, dim + 1)", "g", "rearranging"),
        Fault("outer", "x @ g)", "-x @ g)", "einsum and related"),
        Fault("addmm", "backward(g * alpha)", "backward(g)", "einsum and related"),
        Fault("addmm", "product if beta == 0 else ", "", "einsum and related"),
        Fault("einsum", "[result, *terms", "[result[::-1], *terms", "einsum and related"),
        Fault("subscripts", "left.count(label) == 1", "left.count(label) >= 1", "einsum and related"),
        Fault("heaviside", "x > 0", "x >= 2", "rounding"),
        Fault("isclose", "rtol * np.abs(y)", "rtol", "rounding"),
        Fault("one_dim", "ndim or 1", "ndim", "order and places"),
        Fault("places_of", "one_dim(dim, ndim)", "0", "order and places"),
        Fault("part", "start + length", "length", "order and places"),
        Fault("_spread", "labels == term", "True", "einsum and related"),
    ],
    3: [
        Fault("affine", "out += bias", "out -= bias", "modules"),
        Fault("affine_to_x", "_rows(g).dot", "2 * _rows(g).dot", "modules"),
        Fault("affine_to_weight", "_rows(g)", "_rows(g)[::-1]", "modules"),
        Fault("affine_to_bias", "= 1", "= 0", "modules"),
        Fault("normal_cdf", "0.5 * _erf", "_erf", "modules"),
        Fault("gelu_gradient", "x * _exp(", "_exp(", "modules"),
        Fault("log_expit", "_exp(-_abs(x))", "_exp(_abs(x))", "losses"),
        Fault("logsigmoid", "expit(-x)", "expit(x)", "losses"),
        Fault("nll", "x - x.max(axis=1, keepdims=True)", "x", "losses"),
        Fault("nll", "_log(total) - x[", "_log(total) + x[", "losses"),
        Fault("nll_gradient", "g[:, None] * probabilities", "1 * probabilities", "losses"),
        Fault("nll_gradient", "-= g", "-= 1", "losses"),
        Fault("moments", "np.square(", "np.abs(", "modules"),
        Fault("normalized", "var + eps", "var", "modules"),
        Fault("normalized_gradient", " - unit * average(to_unit * unit, dim)", "", "modules"),
        Fault("normalized_gradient", "g * unit, weight.shape", "to_unit * unit, weight.shape", "modules"),
        Fault("normalized_gradient", "unbroadcast(g, weight.shape)", "unbroadcast(to_unit, weight.shape)", "modules"),
        Fault("_reduced", "getattr(loss, reduction)()", "loss.sum()", "losses"),
        Fault("hinge_loss", "1 - target * input", "1 - input", "losses"),
        Fault("batch_norm", "var * (n / (n - 1))", "var", "modules"),
        Fault("batch_norm", "weight * scale", "weight.detach() * scale", "modules"),
        Fault("batch_norm", "input - array_of", "input + array_of", "modules"),
        Fault("BatchNorm1d.forward", "1 / self", "0.1 + 0 * self", "modules"),
        Fault("group_norm", "out * weight", "out + weight", "modules"),
        Fault("embedding", "(rows.detach(), rows)", "(rows, rows)", "modules"),
        Fault("bilinear", "input2.unsqueeze(-2)", "input1.unsqueeze(-2)", "modules"),
        Fault("cosine_similarity", "normalize(x2, 2.0, dim, eps)", "x2", "modules"),
        Fault("pairwise_distance", "x1 - x2 + eps", "x1 - x2", "modules"),
        Fault("leaky_relu", "(x > 0, g, slope * g)", "(x > 0, g, g)", "activations"),
        Fault("leaky_relu", "np.where(x > 0, g, slope * g)", "g * (x > 0) + slope * g * (x <= 0)", "activations"),
        Fault("prelu", "(x > 0, g, weight * g)", "(x > 0, g, g)", "activations"),
        Fault("prelu", "0, g * x", "0, g", "activations"),
        Fault("threshold", "(x <= least, 0, g)", "(x < least, 0, g)", "activations"),
        Fault("hardtanh", "x < high", "x > high", "activations"),
        Fault("hardsigmoid", "g / 6", "g", lambda engine: test_as_pytorch.check("hardsigmoid", engine.package)),
        Fault("hardswish", "g * (x / 3 + 0.5)", "g * (x / 3)", "activations"),
        Fault("elu_values", "np.expm1", "np.exp", "activations"),
        Fault("elu_gradient", "scale * alpha * stretch * np.exp", "scale * alpha * np.exp", "activations"),
        Fault("silu_values", "x * expit", "expit", "activations"),
        Fault("silu_gradient", "1 + x * (1 - out)", "1 + x", "activations"),
        Fault("mish_values", "x * np.tanh", "np.tanh", "activations"),
        Fault("mish_gradient", "1 - t * t", "1 - t", "activations"),
        Fault("softplus_values", "/ beta", "* beta", "activations"),
        Fault("softplus_gradient", "expit(x * beta)", "expit(x)", "activations"),
        Fault("softshrink", "> size, g, 0)", "> size, 0, g)", "activations"),
        Fault("hardshrink", "> size, g, 0)", "> size, 0, g)", "activations"),
        Fault("gelu_tanh_values", "_CUBE * x * x * x", "_CUBE * x * x", "activations"),
        Fault("gelu_tanh_gradient", "3 * _CUBE * x * x", "_CUBE * x * x", "activations"),
        Fault("negative_log_likelihood", "= -g", "= g", "losses"),
        Fault("huber", "(g * kept,)", "(g * x,)", "losses"),
        Fault("binary_cross_entropy", "g * (x - target)", "g * (x + target)", "losses"),
        Fault("binary_cross_entropy", "g * (no - yes)", "g * (yes - no)", "losses"),
        Fault("_of_classes", "share.sum()", "len(share)", "losses"),
        Fault("_of_classes", "where(kept, loss, 0.0)", "loss", "losses"),
        Fault("_of_classes", "smoothing / classes", "smoothing", "losses"),
        Fault("_by_class", "(x.ndim - 1 - dim)", "0", "losses"),
        Fault("binary_cross_entropy_with_logits", "(pos_weight - 1) * target", "pos_weight * target", "losses"),
        Fault("binary_cross_entropy_with_logits", "1 - target - share", "1 - share", "losses"),
        Fault("margin_ranking_loss", ".clamp(min=0)", ".relu()", "losses"),
        Fault("kl_div", "target.exp() * (target - input)", "target.exp() * input", "losses"),
        Fault("hinge_embedding_loss", "target != -1, input", "target != 1, input", "losses"),
        Fault("cosine_embedding_loss", "1 - cosine", "cosine", "losses"),
        Fault("triplet_margin_loss", "far.minimum", "far.maximum", "losses"),
        Fault("gaussian_nll_loss", "math.log(2 * math.pi)", "math.log(math.pi)", "losses"),
        Fault("repeated", "to[i] += of[place]", "to[i] = of[place]", "padding"),
        Fault("_cropped", "max(0, -before)", "0", "padding"),
        Fault("sgd", "(1 - dampening) * g", "g", _steps("SGD, dampening")),
        Fault("sgd", "g + momentum * buffer if nesterov", "buffer if nesterov", _steps("SGD, nesterov")),
        Fault("SGD._update", "buffer[...], dampening = 0, 0", "pass", _steps("SGD, dampening")),
        Fault("adam", "(1 - beta2**t) ** -0.5", "1", _steps("Adam")),
        Fault("adam", "np.maximum(top, v, out=top)", "top[...] = v", _steps("Adam, amsgrad")),
        Fault("adam", "p *= 1 - lr * weight_decay", "pass", _steps("AdamW")),
        Fault("rmsprop", "v - m * m", "v", _steps("RMSprop, centered")),
        Fault("adagrad", "(t - 1) *", "t *", _steps("Adagrad, all settings")),
        Fault("adadelta", "u += (1 - rho) * (d * d)", "pass", _steps("Adadelta")),
        Fault("Optimizer.step", '-g if group["maximize"] else g', "g", _steps("SGD, maximize")),
        Fault(
            "Optimizer.step",
            "changed(*[p._data for p, _ in begins])",
            "pass",
            lambda engine, stage: test_optim.test_a_step_ends_the_graphs_before_it(engine, stage, "SGD"),
        ),
        Fault(
            "Optimizer.state_dict",
            "copy.deepcopy(state)",
            "state",
            lambda engine, stage: test_optim.test_a_state_that_was_taken_stays_as_it_was(engine, stage, "Adam"),
        ),
        Fault(
            "Optimizer._loaded",
            "array.copy()",
            "array",
            lambda engine, stage: test_optim.test_a_state_that_was_taken_stays_as_it_was(engine, stage, "Adam"),
        ),
        Fault(
            "StepLR._factor",
            "self.last_epoch and ",
            "",
            _rates(test_schedulers.test_every_rate_is_pytorchs, "StepLR", "SGD"),
        ),
        Fault(
            "CosineAnnealingLR.get_lr",
            "now / before",
            "now",
            _rates(test_schedulers.test_every_rate_is_pytorchs, "CosineAnnealingLR", "SGD"),
        ),
        Fault(
            "LRScheduler._restart",
            "_set_lr(group, lr)",
            "pass",
            _rates(test_schedulers.test_a_sequence_of_schedulers_is_pytorchs, ("ConstantLR", "ExponentialLR")),
        ),
    ],
    4: [
        Fault("convolve", "out += bias", "out -= bias", "convolution"),
        Fault("convolve_to_bias", "g.sum(", "g.mean(", "convolution"),
        Fault("convolve_to_weight", ".swapaxes(1, 2)", ".swapaxes(1, 2)[:, ::-1]", "convolution"),
        Fault("convolve_to_x", "kernels.swapaxes(1, 2)", "kernels[:, ::-1].swapaxes(1, 2)", "convolution"),
        Fault("col2im", "view += column", "view[...] = column", "convolution"),
        Fault("transposed_convolution", "bias[:, None, None]", "2 * bias[:, None, None]", "convolution"),
        Fault("transposed_convolution", "convolved()[0]", "2 * convolved()[0]", "convolution"),
        Fault("transposed_convolution", "convolve_to_weight(x, ", "convolve_to_weight(2 * x, ", "convolution"),
        Fault("unfolding", "g.transpose(1, 2, 0)", "g[:, ::-1].transpose(1, 2, 0)", "convolution"),
        Fault("folding", "x.transpose(1, 2, 0)", "x[:, ::-1].transpose(1, 2, 0)", "convolution"),
        Fault("folding", "_unfolded(im2col(g,", "_unfolded(im2col(2 * g,", "convolution"),
        Fault("_borders", "(n // 2, n - n // 2)", "(n - n // 2, n // 2)", "convolution"),
        Fault("max_pool_gradient", "targets[k] += ", "targets[k][...] = ", "pooling"),
        Fault("max_pool_gradient", " if finite else np.where(chosen, g, 0)", "", infinite_gradients),
        Fault("_chosen", "chosen &= free", "pass", "pooling"),
        Fault("_chosen", "outside = np.nan", "outside = -np.inf", "pooling"),
        Fault("_chosen", "reversed(range(len(views)))", "range(len(views))", "pooling"),
        Fault("max_pool_indices", "pixels[k]", "k", "pooling"),
        Fault("avg_pool_gradient", "view += share", "view[...] = share", "pooling"),
        Fault("_numbers_under", "n + 2 * p", "n", "pooling"),
        Fault("_numbers_under", "not any(more) and ", "", "pooling"),
        Fault("overhang", "begin < n + p", "True", "pooling"),
        Fault("overhang", "begin < n + p", "begin < n", "pooling"),
        Fault("adaptive_averaging", "target += ", "target[...] = ", "pooling"),
        Fault("_parts", "-(-(i + 1) * n // m)", "(i + 1) * n // m", "pooling"),
        Fault("_first_largest", "x.shape[-1] - 1 - nan.argmax(axis=-1)", "nan.argmax(axis=-1)", "pooling"),
        Fault("picked", "add_at(gradient, rows, g.reshape(rows[1].shape))", "gradient[rows] = 1", "pooling"),
        Fault("_linear", "1 - (at - first)", "at - first", "scaling of images"),
        Fault("_cubic", "far(2 - t)", "far(t + 2)", "scaling of images"),
        Fault("_between", "if align_corners", "if not align_corners", "scaling of images"),
    ],
    5: [
        Fault("reshaped", "return x.reshape", "return x.copy().reshape", views_of_columns),
        Fault("gelu_values", "x * below, below", "x * below, x", "modules"),
        Fault("add_at", "_add_at(x, index, g)", "x[index] = g", "indexing"),
        Fault(
            "affine_relu",
            "rectify(affine(x, weight, bias))",
            "affine(x, weight, bias)",
            test_modules.test_a_sequential_is_its_modules_one_by_one,
        ),
        Fault(
            "linear_relu",
            "backward(rectify_gradient(g, out))",
            "backward(g)",
            test_modules.test_a_sequential_is_its_modules_one_by_one,
        ),
        Fault(
            "max_pool_relu_gradient",
            "rectify_gradient(g, out)",
            "g",
            lambda engine: test_modules.test_a_sequential_with_relu_and_pooling_is_its_modules_one_by_one(engine, 0),
        ),
        Fault("to", "device_of(x)", "device", test_devices.test_a_gradient_comes_back_to_where_its_tensor_is),
    ],
    6: [
        Fault("rnn_states", "np.tanh(h)", "np.tanh(2 * h)", "recurrent layers"),
        Fault("rnn_gradient", "(1 - h * h)", "(1 - h)", "recurrent layers"),
        Fault("rnn_gradient", "to_h + g[t]", "g[t]", "recurrent layers"),
        Fault("lstm_states", "f * cells[t] + i * m", "cells[t] + i * m", "recurrent layers"),
        Fault("lstm_gradient", "to_c = to_c * f", "pass", "recurrent layers"),
        Fault("lstm_gradient", "to_c * m * i * (1 - i)", "to_c * m * i", "recurrent layers"),
        Fault("lstm_gradient", "to_h * o * (1 - tanh_c * tanh_c)", "to_h * o", "recurrent layers"),
        Fault("gru_states", "r * kept_m", "kept_m", "recurrent layers"),
        Fault("gru_gradient", "to_h * z + ", "", "recurrent layers"),
        Fault("gru_gradient", "(states[t] - m)", "states[t]", "recurrent layers"),
        Fault("gru_gradient", "to_m * r", "to_m", "recurrent layers"),
        Fault("rnn", "states[:-1]", "states[1:]", "recurrent layers"),
        Fault("lstm", "states[:-2]", "states[1:-1]", "recurrent layers"),
        Fault("gru", "_to_inputs(to_shares, to_kept", "_to_inputs(to_shares, to_shares", "recurrent layers"),
        Fault("run", "out[steps]]", "out[steps - 1]]", "recurrent layers"),
        Fault("attend", "total * shrink", "total", "attention"),
        Fault("attend", "sums * shrink", "sums", "attention"),
        Fault("attend", "np.where(new == -np.inf, 0, new)", "new", "attention"),
        Fault("attend_gradient", " - mean", "", "attention"),
        Fault("attend_gradient", "to_q[here] +=", "to_q[here] =", "attention"),
        Fault("_tiles", "min(i + rows.shape[-2],", "min(i,", "attention"),
        Fault("_scores", "queries[:, None] >= keys", "queries[:, None] > keys", "attention"),
        Fault("attention", "np.broadcast_to(mask,", "np.zeros_like(mask, shape=", "attention"),
        Fault("scaled_dot_product_attention", "1 / math.sqrt", "math.sqrt", "attention"),
        Fault("_with_all_weights", "scores + mask", "scores - mask", "attention"),
        Fault("multi_head_attention_forward", "scores + mask", "scores - mask", "attention"),
        Fault("multi_head_attention_forward", "more + 1", "more", "attention"),
        Fault("_merged", "masked_fill(mask, -math.inf)", "masked_fill(mask, -1.0)", "attention"),
        Fault("normalize_rms", " - unit * (to_unit * unit).mean(axis=dim, keepdims=True)", "", "attention"),
        Fault("rms_norm", "if eps is None else eps", "if eps is None else 0.0", "attention"),
    ],
}
FILES = (
    "ops",
    "pointwise",
    "selection",
    "activations",
    "losses",
    "padding",
    "conv",
    "pooling",
    "resize",
    "recurrent",
    "attention",
    "rms_norm",
    "nn/functional",
    "nn/normalization",
    "engine",
    "inplace",
    *[f"optim/{name}" for name in ("sgd", "adam", "rmsprop", "adagrad", "adadelta", "optimizer", "lr_scheduler")],
)  # where a function is looked for, rules first
MADE_OF = {  # rules that have no derivative of their own
    "amax": "_extreme",
    "amin": "_extreme",
    "largest": "_one_of",
    "median": "_one_of",
    "flatten": "reshape",
    "squeeze": "reshape",
    "linear": "affine_to_x",
    "cross_entropy": "nll_gradient",
    **{rule: f"{rule}_gradient" for rule in ("elu", "gelu", "gelu_tanh", "log_softmax", "mish", "silu", "softmax")},
    "softplus": "softplus_gradient",
    "normalize": "normalized_gradient",
}


def _planted():
    for rung, faults in FAULTS.items():
        for fault in faults:
            name = f"{fault.function}: {fault.old} -> {fault.new or 'nothing'}"
            yield pytest.param(rung, fault, id=name)


@pytest.mark.capability("planted faults")
@pytest.mark.host
@pytest.mark.parametrize("rung, fault", [*_planted()])
def test_a_planted_fault_is_caught(rung, fault, stage, copies, monkeypatch, request):
    if stage.foreign:
        pytest.skip("not there: the faults are written into the text of the ladder's own rungs")
    if rung > stage.number:
        pytest.skip(f"arrives in stage {rung}")
    if stage.number > fault.until:
        pytest.skip(f"the text of stage {fault.until}")
    if rung < stage.number and not request.config.getoption("whole") and (below := same_below(fault, stage)):
        pytest.skip(f"as on {below}: the text is the same")
    monkeypatch.setenv("GRADUAL_KERNELS", "numpy")  # rung 5: the text is that of NumPy's bodies
    engine = make_engine(copies(stage))
    with planted(fault, engine.package):
        noticed = next(filter(fails, noticing(fault, engine)), None)
    assert noticed, "no test of the suite notices this fault"
    assert not fails(noticed), "it isn't the fault that fails this test"


@pytest.mark.capability("planted faults")
def test_every_rule_has_a_fault(stage):
    """A new rule without one would be a rule that the suite might not test at all."""
    arrived = {"ops": 1, "pointwise": 2, "selection": 2, "activations": 3, "losses": 3}
    arrived |= dict.fromkeys(("attention", "recurrent", "rms_norm"), 6)
    modules = [stage.part(name) for name, number in arrived.items() if number <= stage.number]
    rules = {
        name
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    planted = {fault.function for faults in FAULTS.values() for fault in faults}
    assert {MADE_OF.get(rule, rule) for rule in rules} - planted == set()


@pytest.fixture(scope="session")
def copies(tmp_path_factory):
    """Stage -> a copy of its package, imported under a name of its own; all faults share it, as that takes a while."""
    folder = tmp_path_factory.mktemp("faulty")

    @cache
    def copy(stage):
        name = f"faulty_{stage.name}"
        # With what Python compiled of it; but without what Numba did.
        shutil.copytree(Path(stage.package.__file__).parent, folder / name, ignore=shutil.ignore_patterns("*.nb?"))
        return importlib.import_module(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield copy


@contextmanager
def planted(fault, package):
    """Put the fault into the package: into each function, however it is wrapped, that was made of the text."""
    path = file_of(fault, Path(package.__file__).parent)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (start, end), (first, last) = (span(path, name) for name in (fault.function.split(".")[0], fault.function))
    text = "".join(lines[first:last])
    assert text.count(fault.old) == 1, f"{fault.function} has {fault.old!r} {text.count(fault.old)} times"
    changed = "\n" * start + "".join(lines[start:first]) + text.replace(fault.old, fault.new) + "".join(lines[last:end])
    wrong = compile(changed, path, "exec")
    for name in fault.function.split("."):
        wrong = next(each for each in wrong.co_consts if isinstance(each, CodeType) and each.co_name == name)
    place = wrong.co_name, first + 1
    right = {f: code for f, code in made_of(path).items() if (code.co_name, code.co_firstlineno) == place}
    assert right, f"nothing is made of {fault.function} in {path}"
    for function in right:
        function.__code__ = wrong
    try:
        yield
    finally:
        for function, code in right.items():
            function.__code__ = code


@cache
def made_of(path):
    """All functions that were made of a file, each with its code."""
    functions = (each for each in gc.get_objects() if type(each) is FunctionType)
    return {function: function.__code__ for function in functions if function.__code__.co_filename == str(path)}


def file_of(fault, folder):
    """The file of a package in which the function of a fault stands, None if it has none."""
    return next((path for path in (folder / f"{module}.py" for module in FILES) if span(path, fault.function)), None)


def same_below(fault, stage):
    """The rung below, if the file with the fault has the same text there."""
    below = next(other for other in STAGES if other.number == stage.number - 1)
    here, there = (file_of(fault, folder) for folder in (ROOT / stage.name, below.folder))
    return below.package if there and same_text(there, here) else None


same_text = cache(says_the_same)


@cache
def parsed(path):
    """What stands at the top of a file, if there is one."""
    return ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else []


def span(path, function):
    """The lines, counted from 0, on which a function or class stands at the top of a file or of a class, or None."""
    return lines_of(parsed(path), function)


def noticing(fault, engine):
    """The tests that should notice the fault."""
    if not callable(fault.caught_by):
        cases = [case for case in CASES if case.capability == fault.caught_by]
        cases.sort(key=lambda case: fault.function not in case.name)  # the first to notice it is enough
        return [partial(check, case, engine) for case in cases]
    names = inspect.signature(fault.caught_by).parameters
    torch = torch_engine().torch if names.keys() & {"torch", "sides"} else None
    target = Target(engine.package.__name__, 0, engine.package)
    arguments = {"engine": engine, "Tensor": engine.Tensor, "stage": target, "torch": torch}
    arguments["sides"] = test_schedulers.make_sides(engine, target, torch)
    return [partial(fault.caught_by, **{name: arguments[name] for name in names})]


def fails(test):
    """Whether the test fails; a rule that crashes is noticed too."""
    try:
        test()
    except (Exception, pytest.fail.Exception):  # any of them would have failed the suite
        return True
    return False
