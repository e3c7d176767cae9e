"""More elementwise rules, besides those of `ops.py`. Their inputs broadcast, which the engine undoes.

What has no derivative, such as isnan, is a function of arrays, not a rule: its results are constants.
"""

import math

import numpy as np

from .device import elementwise, kernel, special_functions

# Trigonometry


def sin(x):
    """sin x;  d/dx = cos x."""
    return np.sin(x), lambda g: (g * np.cos(x),)


def cos(x):
    """cos x;  d/dx = −sin x."""
    return np.cos(x), lambda g: (g * -np.sin(x),)


def tan(x):
    """tan x;  d/dx = 1 + tan² x."""
    out = np.tan(x)
    return out, lambda g: (g * (1 + out * out),)


def asin(x):
    """arcsin x;  d/dx = 1/√(1 − x²)."""
    return np.arcsin(x), lambda g: (g / np.sqrt(1 - x * x),)


def acos(x):
    """arccos x;  d/dx = −1/√(1 − x²)."""
    return np.arccos(x), lambda g: (-g / np.sqrt(1 - x * x),)


def atan(x):
    """arctan x;  d/dx = 1/(1 + x²)."""
    return np.arctan(x), lambda g: (g / (1 + x * x),)


def atan2(y, x):
    """The angle of the point (x, y), from −π to π;  d/dy = x/(x² + y²),  d/dx = −y/(x² + y²)."""
    square = x * x + y * y + ((x == 0) & (y == 0))
    return np.arctan2(y, x), lambda g: (g * x / square, g * -y / square)


def sinh(x):
    """sinh x = (eˣ − e⁻ˣ)/2;  d/dx = cosh x."""
    return np.sinh(x), lambda g: (g * np.cosh(x),)


def cosh(x):
    """cosh x = (eˣ + e⁻ˣ)/2;  d/dx = sinh x."""
    return np.cosh(x), lambda g: (g * np.sinh(x),)


def asinh(x):
    """The number whose sinh is x;  d/dx = 1/√(x² + 1)."""
    return np.arcsinh(x), lambda g: (g / np.sqrt(x * x + 1),)


def acosh(x):
    """The number from 0 on whose cosh is x;  d/dx = 1/√(x² − 1)."""
    return np.arccosh(x), lambda g: (g / np.sqrt(x * x - 1),)


def atanh(x):
    """The number whose tanh is x;  d/dx = 1/(1 − x²)."""
    return np.arctanh(x), lambda g: (g / (1 - x * x),)


def hypot(x, y):
    """r = √(x² + y²);  d/dx = x/r,  d/dy = y/r."""
    out = np.hypot(x, y)
    return out, lambda g: (g * (x / out), g * (y / out))


# Exponentials, logarithms and powers


def exp2(x):
    """2ˣ;  d/dx = 2ˣ·log 2."""
    out = np.exp2(x)
    return out, lambda g: (g * out * math.log(2),)


def expm1(x):
    """eˣ − 1, exact near 0;  d/dx = eˣ."""
    out = np.expm1(x)
    return out, lambda g: (g * (out + 1),)


def log2(x):
    """log x / log 2;  d/dx = 1/(x·log 2)."""
    return np.log2(x), lambda g: (g / (x * math.log(2)),)


def log10(x):
    """log x / log 10;  d/dx = 1/(x·log 10)."""
    return np.log10(x), lambda g: (g / (x * math.log(10)),)


def log1p(x):
    """log(1 + x), exact near 0;  d/dx = 1/(1 + x)."""
    return np.log1p(x), lambda g: (g / (1 + x),)


def logaddexp(x, y):
    """log(eˣ + eʸ);  d/dx = 1/(1 + eʸ⁻ˣ),  d/dy = 1/(1 + eˣ⁻ʸ)."""
    return np.logaddexp(x, y), lambda g: (g / (1 + np.exp(y - x)), g / (1 + np.exp(x - y)))


def xlogy(x, y):
    """x·log y, and 0 where x = 0;  d/dx = log y, and 0 where x = 0 and y ≤ 0;  d/dy = x/y."""
    log, nothing = np.log(y), (x == 0) & (y <= 0)
    return np.where((x == 0) & (y == y), 0, x * log), lambda g: (
        np.where(nothing | ((g == 0) & (y == y)), 0, g * log),
        g * x / y,
    )


def square(x):
    """x²;  d/dx = 2x."""
    return x * x, lambda g: (g * 2 * x,)


def rsqrt(x):
    """1/√x;  d/dx = −1/(2·√x³)."""
    out = 1 / np.sqrt(x)
    return out, lambda g: (g * -0.5 * out * out * out,)


def reciprocal(x):
    """1/x;  d/dx = −1/x²."""
    out = 1 / x
    return out, lambda g: (g * -out * out,)


# The error function: rational approximations for |x| near 0, up to 4 and above 4 (Cody 1969, Math. Comp. 23)

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
_NEAR = 0.46875
_ERF_NEAR = (
    (0.185777706184603153, 3.16112374387056560, 113.864154151050156, 377.485237685302021, 3209.37758913846947),
    (1.0, 23.6012909523441209, 244.024637934444173, 1282.61652607737228, 2844.23683343917062),
)
_ERFC_MIDDLE = (
    (2.15311535474403846e-8, 0.564188496988670089, 8.88314979438837594, 66.1191906371416295, 298.635138197400131)
    + (881.952221241769090, 1712.04761263407058, 2051.07837782607147, 1230.33935479799725),
    (1.0, 15.7449261107098347, 117.693950891312499, 537.181101862009858, 1621.38957456669019, 3290.79923573345963)
    + (4362.61909014324716, 3439.36767414372164, 1230.33935480374942),
)
_ERFC_FAR = (
    (0.0163153871373020978, 0.305326634961232344, 0.360344899949804439, 0.125781726111229246)
    + (0.0160837851487422766, 0.000658749161529837803),
    (1.0, 2.56852019228982242, 1.87295284992346047, 0.527905102951428412, 0.0605183413124413191)
    + (0.00233520497626869185,),
)


def erf(x):
    """2/√π·∫₀ˣ e^(−t²) dt;  d/dx = 2/√π·e^(−x²)."""
    return error_function(x), lambda g: (error_function_gradient(g, x),)


def erfc(x):
    """1 − erf x, exact where it is small;  d/dx = −2/√π·e^(−x²)."""
    size = np.abs(x)
    tail = np.where(size < 4, _erfc_middle(np.clip(size, _NEAR, 4)), _erfc_far(np.clip(size, 4, 30)))
    out = np.where(size <= _NEAR, 1 - error_function(x), np.where(x > 0, tail, 2 - tail))
    return out, lambda g: (-error_function_gradient(g, x),)


@elementwise
def error_function(x):
    """erf of each number, which NumPy doesn't have."""
    if special := special_functions(x):
        return special.erf(x)
    size = np.abs(x)
    small = np.minimum(size, _NEAR)
    near = small * _rational(small * small, _ERF_NEAR)
    return np.copysign(np.where(size <= _NEAR, near, 1 - _erfc_middle(np.clip(size, _NEAR, 6))), x)


@elementwise
def error_function_gradient(g, x):
    """g·2/√π·e^(−x²)."""
    return g * np.exp(-x * x) * _TWO_OVER_ROOT_PI


def _erfc_middle(x):
    return _bell(x) * _rational(x, _ERFC_MIDDLE)


def _erfc_far(x):
    inverse = 1 / (x * x)
    return _bell(x) / x * (1 / math.sqrt(math.pi) - inverse * _rational(inverse, _ERFC_FAR))


def _bell(x):
    """e^(−x²), with x² in two parts, as the exponential would multiply the rounding error of one."""
    coarse = np.trunc(x * 16) / 16
    return np.exp(-coarse * coarse) * np.exp((coarse - x) * (coarse + x))


def _rational(x, polynomials):
    """The quotient of two polynomials in x, by Horner's rule; coefficients from the highest power down."""
    wide = x.astype(np.float32) if x.dtype == np.float16 else x  # where float16 is too small for them
    above, below = (np.full_like(wide, highest) for highest, *_ in polynomials)
    for out, (_, *coefficients) in zip((above, below), polynomials):
        for coefficient in coefficients:
            out *= wide
            out += coefficient
    return above / below if wide is x else (above / below).astype(x.dtype)


# Step functions


def _flat(g):
    return (np.zeros_like(g),)


def sign(x):
    """−1, 0 or 1;  d/dx = 0."""
    return signs(x), _flat


def signs(x):
    """−1, 0 or 1 for each number and, as in PyTorch, 0 for NaN."""
    return np.subtract(x > 0, x < 0, dtype=x.dtype)


def floor(x):
    """The largest integer ≤ x;  d/dx = 0."""
    return np.floor(x), _flat


def ceil(x):
    """The smallest integer ≥ x;  d/dx = 0."""
    return np.ceil(x), _flat


def trunc(x):
    """x without its fraction;  d/dx = 0."""
    return np.trunc(x), _flat


def round(x, *, decimals=0):
    """The nearest number with so many decimals, of two the even one;  d/dx = 0."""
    if x.dtype.kind != "f":
        return x.copy(), _flat
    scale = 10.0 ** abs(decimals)
    return (np.rint(x * scale) / scale if decimals >= 0 else np.rint(x / scale) * scale), _flat


def frac(x):
    """x − trunc x, its fraction;  d/dx = 1."""
    return x - np.trunc(x), lambda g: (g,)


def fmod(x, y):
    """x − y·trunc(x/y), which has the sign of x;  d/dx = 1,  d/dy = −trunc(x/y)."""
    return np.fmod(x, y), lambda g: (g, lambda: -g * np.trunc(x / y))


def remainder(x, y):
    """x − y·floor(x/y), which has the sign of y;  d/dx = 1,  d/dy = −floor(x/y)."""
    rest = np.fmod(x, y)
    out = np.where(_beyond(rest, y), rest + y, rest)
    return out, lambda g: (g, lambda: -g * _floor_quotient(x, y))


def floor_divide(x, y):
    """floor(x/y);  d/dx = d/dy = 0."""
    return _floor_quotient(x, y), lambda g: (np.zeros_like(g), np.zeros_like(g))


def _floor_quotient(x, y):
    """floor(x/y), exact where x/y would be rounded up to an integer; of numbers it is x/0 where y = 0."""
    rest = np.fmod(x, y)
    if rest.dtype.kind != "f":
        return x // y
    out = np.rint((x - rest) / y) - _beyond(rest, y)
    return np.where((rest != rest) & (y == 0), x / y, out)


def _beyond(rest, y):
    """Whether the remainder of a division towards 0 is that of the next integer when it goes down."""
    return (rest != 0) & ((rest < 0) != (y < 0))


def trunc_divide(x, y):
    """trunc(x/y);  d/dx = d/dy = 0."""
    rest = np.fmod(x, y)
    out = np.trunc(x / y) if rest.dtype.kind == "f" else (x - rest) // y
    return out, lambda g: (np.zeros_like(g), np.zeros_like(g))


# Several numbers into one


def lerp(x, end, weight):
    """x + w·(end − x);  d/dx = 1 − w,  d/dend = w,  d/dw = end − x."""
    step = end - x
    near = (np.abs(weight) < 0.5) & (step == step)  # an array, also where the weight is a number
    out = np.where(near, x + weight * step, end - step * (1 - weight))  # infinities stay, as in PyTorch
    return out, lambda g: (g * (1 - weight), g * weight, lambda: g * step)


def addcmul(x, y, z, *, value=1):
    """x + v·y·z;  d/dx = 1,  d/dy = v·z,  d/dz = v·y."""
    return x + value * y * z, lambda g: (g, lambda: g * (value * z), lambda: g * (value * y))


def addcdiv(x, y, z, *, value=1):
    """x + v·y/z;  d/dx = 1,  d/dy = v/z,  d/dz = −v·y/z²."""
    return x + value * y / z, lambda g: (g, lambda: g * (value / z), lambda: -g * (value * y / (z * z)))


def clamp_min(x, low):
    """max(x, low);  the gradient goes to the larger, to x where they are equal."""
    return np.maximum(x, low), lambda g: (np.where(x >= low, g, 0), np.where(x < low, g, 0))


def clamp_max(x, high):
    """min(x, high);  the gradient goes to the smaller, to x where they are equal."""
    return np.minimum(x, high), lambda g: (np.where(x <= high, g, 0), np.where(x > high, g, 0))


def clamp(x, low, high):
    """min(max(x, low), high);  the gradient goes to the one chosen, to x where it equals a bound."""
    out = np.minimum(np.maximum(x, low), high)
    below, above = (x < low) & (low < high), (x > high) | (low > high)
    inside = (x >= low) & (x <= high)
    return out, lambda g: (np.where(inside, g, 0), np.where(below, g, 0), np.where(above, g, 0))


def masked_fill(x, value, mask):
    """x, with `value` where the mask is true;  the gradient goes to the one chosen."""
    if x.dtype.kind in "iu" and not np.isfinite(value).all():
        raise ValueError(f"{value} doesn't fit into {x.dtype}")
    return filled(x, mask, value), lambda g: (lambda: filled(g, mask, 0), lambda: np.where(mask, g, 0))


@kernel
def filled(x, mask, value):
    """x, with `value` where the mask is true, apart from the rule."""
    return np.where(mask, value, x).astype(x.dtype, copy=False)


def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    """x with NaN, ∞ and −∞ replaced, by default by 0 and the largest finite numbers;  d/dx = 1 elsewhere."""
    out = np.nan_to_num(x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)
    return out, lambda g: (np.where(np.isfinite(x), g, 0),)


# No derivative: functions of arrays


def heaviside(x, values):
    """0 below 0, 1 above it, and `values` at 0."""
    return np.where(x == 0, values, x > 0)


def isclose(x, y, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether |x − y| ≤ atol + rtol·|y|, and equal infinities."""
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        away = np.abs(x + 0.0 - y)  # of floating-point numbers, as booleans have no difference and uint8 wraps
        close = (x == y) | (np.isfinite(y) & (away <= atol + rtol * np.abs(y)))
    return close | ((x != x) & (y != y)) if equal_nan else close
