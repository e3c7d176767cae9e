"""Elementary functions of one number without branches, so that the compiler can vectorize loops over them.

Numba calls the C library for them, number by number. Here they are polynomials, to the accuracy of the dtype: Taylor's
around 0, to which the argument is reduced (Muller, Elementary Functions), and for erf Cody's rational ones or, in
float32, minimax polynomials. They are plain Python, which `specialized` compiles for float32 or for float64: a float, a
tuple of floats or a dict from dtypes to them, or to functions, is replaced by that of the dtype.
"""

import math
from decimal import Decimal
from functools import cache, partial
from types import FunctionType, ModuleType

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, overload

from ..pointwise import _ERF_NEAR, _ERFC_MIDDLE, _NEAR

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
LOG2_E, ROOT_2 = 1 / math.log(2), math.sqrt(2)
# log 2 in two parts, of which the first has zeros at its end, so that its product with a small integer is exact
LOG_2 = Decimal("0.693147180559945309417232121458176568")
LOG_2_HIGH = {FLOAT32: 0.693359375, FLOAT64: float.fromhex("0x1.62e42fefap-1")}
LOG_2_LOW = {dtype: float(LOG_2 - Decimal(high)) for dtype, high in LOG_2_HIGH.items()}
EXP = {
    FLOAT32: tuple(1 / math.factorial(k) for k in range(7, 1, -1)),
    FLOAT64: tuple(1 / math.factorial(k) for k in range(14, 1, -1)),
}
ATANH = {
    FLOAT32: tuple(1 / (2 * k + 1) for k in range(5, 0, -1)),
    FLOAT64: tuple(1 / (2 * k + 1) for k in range(11, 0, -1)),
}
# erf x = x·p(x²) up to NEAR, then 1 − e^(−x²)·q(x). In float32 p and q are polynomials; least squares with Lawson's
# weights gave them for a relative error of erf of 1.2e-8 and 5.3e-9.
NEAR = {FLOAT32: 0.9, FLOAT64: _NEAR}
ERF_NEAR = {
    FLOAT32: (-6.09048716e-4, 5.01199172e-3, -2.67789328e-2, 1.12821417e-1, -3.76125234e-1, 1.12837915),
    FLOAT64: _ERF_NEAR,
}
ERFC_MIDDLE = {
    FLOAT32: (1.37060974e-4, -2.35170469e-3, 1.80433737e-2, -8.23097365e-2, 2.50927602e-1, -5.46051909e-1)
    + (8.84959474e-1, -1.09003203, 9.94261437e-1),
    FLOAT64: _ERFC_MIDDLE,
}
WITHIN = dict(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)  # of what kernels call
LEAST, MOST = {FLOAT32: -104.0, FLOAT64: -746.0}, {FLOAT32: 89.0, FLOAT64: 710.0}  # where eˣ is 0, and infinite
NORMAL = {FLOAT32: -87.0, FLOAT64: -708.0}  # above which eˣ isn't denormal


@cache
def specialized(function, dtype):
    """The function compiled for numbers of the dtype, with all functions of this file that it calls."""
    return numba.njit(of_dtype(function, dtype, FUNCTIONS, specialized), **WITHIN, forceinline=True)


def of_dtype(function, dtype, functions, specialize):
    """A copy of the function with constants of the dtype, which calls `functions` by their names in NumPy.

    What else it calls is specialized too.
    """

    def of(value):
        if isinstance(value, dict):
            return of(value[dtype])
        if isinstance(value, tuple):
            return tuple(map(of, value))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return dtype.type(value)
        if value is np:
            module = ModuleType("numpy")
            vars(module).update({name: of(function) for name, function in functions.items()})
            return module
        value = functions.get(getattr(value, "__name__", None), value)
        return specialize(getattr(value, "numpy", value), dtype) if isinstance(value, FunctionType) else value

    names = {name: of(value) for name, value in constants_of(function).items()}
    names["__name__"] = __name__  # by which compilation is reported as a kernel's
    code = function.__code__.replace(co_consts=tuple(map(of, function.__code__.co_consts)))
    return FunctionType(code, names, function.__name__)


def constants_of(function):
    """The global names that a function uses, with their values."""
    names = function.__globals__
    return {name: names[name] for name in function.__code__.co_names if name in names}


# Functions that are one instruction


def _instruction(name):
    """The function of LLVM's intrinsic of that name, of numbers of one type."""

    def generate(context, builder, signature, arguments):
        real = context.get_value_type(signature.return_type)
        function = ir.FunctionType(real, [real] * len(arguments))
        bits = signature.return_type.bitwidth
        return builder.call(get_or_insert_function(builder.module, function, f"llvm.{name}.f{bits}"), arguments)

    return generate


@intrinsic
def fma(typing, x, y, z):
    """x·y + z, rounded once where the processor can."""
    return x(x, x, x), _instruction("fmuladd")


@intrinsic
def rint(typing, x):
    """The nearest whole number, of two the even one."""
    return x(x), _instruction("rint")


@intrinsic
def larger(typing, x, y):
    """The larger of two numbers; NaN, if one is."""
    return x(x, x), _instruction("maximum")


@intrinsic
def abs(typing, x):
    return x(x), _instruction("fabs")


@intrinsic
def copysign(typing, x, y):
    """|x| with the sign of y."""
    return x(x, x), _instruction("copysign")


def _bits(real):
    """The integer type with as many bits as the float, those of its fraction, and the bias of its exponent."""
    return (ir.IntType(32), 23, 127) if real.bitwidth == 32 else (ir.IntType(64), 52, 1023)


@intrinsic
def power_of_2(typing, n):
    """2ⁿ of a whole number n, which is in the last bits of n + 1.5·2²³, or 2⁵²; they become the exponent."""

    def generate(context, builder, signature, arguments):
        (integer, fraction, bias), real = _bits(n), context.get_value_type(n)
        shifted = builder.fadd(arguments[0], real(1.5 * 2**fraction + bias))
        return builder.bitcast(builder.shl(builder.bitcast(shifted, integer), integer(fraction)), real)

    return n(n), generate


@intrinsic
def exponent_of(typing, x):
    """The whole number n with 2ⁿ ≤ x < 2ⁿ⁺¹, of a normal x above 0."""

    def generate(context, builder, signature, arguments):
        (integer, fraction, bias), real = _bits(x), context.get_value_type(x)
        exponent = builder.lshr(builder.bitcast(arguments[0], integer), integer(fraction))
        beside = builder.or_(exponent, builder.bitcast(real(2.0**fraction), integer))
        return builder.fsub(builder.bitcast(beside, real), real(2.0**fraction + bias))

    return x(x), generate


# Choices, in which both sides are computed


def where(condition, x, y):
    return x if condition else y


def maximum(x, y):
    return x if x > y or x != x else y


def minimum(x, y):
    return x if x < y or x != x else y


# Functions


def polynomial(x, coefficients):
    """By Horner's rule; coefficients from the highest power down."""
    out = 0.0
    for coefficient in coefficients:
        out = fma(out, x, coefficient)
    return out


def quotient(x, polynomials):
    above, below = polynomials
    return polynomial(x, above) / polynomial(x, below)


RATIONAL = {FLOAT32: polynomial, FLOAT64: quotient}


def _reduced(x):
    """n and p with eˣ = 2ⁿ·(1 + p), where |p| < 1/2, of an x at which eˣ is neither 0 nor infinite."""
    n = rint(x * LOG2_E)
    r = fma(n, -LOG_2_LOW, fma(n, -LOG_2_HIGH, x))
    return n, fma(polynomial(r, EXP) * r, r, r)


def _clamped(x):
    """x between LEAST and MOST; comparisons in this order are one instruction each, and keep NaN."""
    x = LEAST if x < LEAST else x
    return MOST if x > MOST else x


def exp(x):
    n, p = _reduced(_clamped(x))
    half = rint(n * 0.5)  # 2ⁿ itself may be more or less than a float can be
    scale = power_of_2(half)
    return fma(p, scale, scale) * power_of_2(n - half)


def exp_below_0(x):
    """eˣ of x ≤ 0, in three quarters of the time; 0 where it would be denormal."""
    n, p = _reduced(x)
    scale = power_of_2(n)
    return 0.0 if x < NORMAL else fma(p, scale, scale)


def expm1(x):
    n, p = _reduced(_clamped(x))
    half = rint(n * 0.5)
    scale = power_of_2(half)
    out = fma(p, scale, scale - power_of_2(half - n)) * power_of_2(n - half)
    return copysign(out if n else p, x)


def tanh(x):
    """By t = e⁻²ˣ − 1 of |x|, in which 2ⁿ is never too small."""
    y = -2.0 * abs(x)
    n, p = _reduced(NORMAL if y < NORMAL else y)
    scale = power_of_2(n)
    t = fma(p, scale, scale - 1.0)
    return copysign(t / (t + 2.0), x)


def log1p(x):
    y = x + 1.0
    n = exponent_of(y)
    m = y * power_of_2(-n)
    n, m = (n + 1.0, m * 0.5) if m > ROOT_2 else (n, m)
    s = (m - 1.0) / (m + 1.0)
    tail = s * s * s * polynomial(s * s, ATANH)
    log = fma(n, LOG_2_HIGH, fma(n, LOG_2_LOW, 2.0 * (s + tail)))
    out = x if y == math.inf else copysign(log + (x - (y - 1.0)) / y, x)
    return out if y > 0.0 else (-math.inf if y == 0.0 else math.nan)


def erf(x):
    """As in pointwise.py."""
    size = abs(x)
    near = size * RATIONAL(size * size, ERF_NEAR)
    far = 6.0 if size > 6.0 else size
    far = 1.0 - exp_below_0(-far * far) * RATIONAL(far, ERFC_MIDDLE)
    return copysign(near if size <= NEAR else far, x)


FUNCTIONS = {f.__name__: f for f in (copysign, erf, exp, expm1, log1p, maximum, minimum, tanh, where)}
FUNCTIONS |= {"abs": abs, "absolute": abs, "error_function": erf}  # by the names that they have in NumPy and here


def in_kernels(function):
    """What kernels call for such a function of one number; it is compiled for each dtype."""

    def of_number(x):
        raise NotImplementedError  # in Python

    overload(of_number, jit_options={"error_model": "numpy", "forceinline": True})(
        lambda x: specialized(function, FLOAT32 if x == types.float32 else FLOAT64).py_func
    )
    return of_number


exponential, exponential_below_0, hyperbolic_tangent = in_kernels(exp), in_kernels(exp_below_0), in_kernels(tanh)


# Reductions of a row. The order of the sums fits vectors, and depends on the number of terms alone


@partial(numba.njit, **WITHIN, fastmath={"reassoc"})
def sum_of(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@partial(numba.njit, **WITHIN, fastmath={"reassoc"})
def dot(x, y):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@partial(numba.njit, **WITHIN, fastmath={"nsz"})
def largest(x):
    """NaN, where one is. Of 0 and −0 it is either one: to tell them apart would take longer than the rest."""
    top = x.dtype.type(-np.inf)
    for i in range(x.size):
        top = larger(top, x[i])
    return top
