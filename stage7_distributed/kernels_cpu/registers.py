"""A tile of vector registers as a value in Python.

A vector register holds several numbers, its lanes, and one fused multiply-add instruction processes all of them. Numba
has no type for vector registers; this file adds one. A tile is an immutable value like a number: rows of one or two
registers, which stay in the processor while a loop adds products to them.

                     w[j]  w[j + 1]  …             one row of a matrix, in the lanes of two registers
    x[offsets[p]]    [====|====|==  …  ==]  ┐
    x[offsets[p + 1]][====|====|==  …  ==]  │      the tile: at row r, the number of x at offsets[p + r]
    …                [====|====|==  …  ==]  ┘      times that row is added

A step loads two registers of w and broadcasts one number for each row; each row takes two multiply-adds.

Arrays are 1-D here, and indices are positions in them. Under NUMBA_BOUNDSCHECK=1 each is checked, as Numba's are.
"""

from functools import reduce

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import config, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, models, register_model

FEATURES = get_host_cpu_features().flatten() if config.CPU_FEATURES is None else config.CPU_FEATURES
BYTES = 64 if "+avx512f" in FEATURES else 32 if "+avx2" in FEATURES else 16  # of a register
REGISTERS = 32 if "+avx512f" in FEATURES or "+neon" in FEATURES else 16
ROWS = REGISTERS // 2 - 2  # of two registers; two more are for a row of w, and two for numbers of x
PRODUCT_ROWS = min(ROWS, 13)  # in matrix products, where batches of 64, 128 or 256 leave a smaller remainder
NARROW_ROWS = 9  # of one register; more rows would need more address registers than there are

# How many columns of registers a tile has, and what it accumulates: products or the maximum. Kernels take both as
# arguments, and Numba specializes them for each combination of their types.
ONE, TWO, PRODUCT = np.int8(1), np.int16(2), np.int32(2)
OUTER, LANEWISE, LARGEST = np.int8(0), np.int16(1), np.int32(2)
COLUMNS = {types.int8: (1, NARROW_ROWS), types.int16: (2, ROWS), types.int32: (2, PRODUCT_ROWS)}
KINDS = {types.int8: "outer", types.int16: "lanewise", types.int32: "largest"}

INT, SHORT = ir.IntType(64), ir.IntType(32)


def lanes(dtype):
    """The number of lanes of a register, for a NumPy dtype."""
    return BYTES // dtype.itemsize


class Tile(types.Type):
    """The Numba type of a tile."""

    def __init__(self, dtype, columns, kind):
        self.dtype, self.kind, (self.columns, self.rows) = dtype, KINDS[kind], COLUMNS[columns]
        self.lanes = BYTES * 8 // dtype.bitwidth
        self.registers = [(r, c * self.lanes) for r in range(self.rows) for c in range(self.columns)]
        super().__init__(f"Tile({dtype}, {columns}, {self.kind})")

    @property
    def register(self):
        return ir.VectorType(ir.FloatType() if self.dtype == types.float32 else ir.DoubleType(), self.lanes)


@register_model(Tile)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, ir.ArrayType(tile.register, len(tile.registers)))


class Memory:
    """An array within an intrinsic, which loads and stores numbers and the registers of a tile."""

    def __init__(self, tile, context, builder, array, value):
        self.tile, self.context, self.builder = tile, context, builder
        self.array = context.make_array(array)(context, builder, value)

    def number(self, *position):
        return self.builder.load(self._pointer(INT(1), *position))

    def register(self, *position):
        pointer = self._pointer(INT(self.tile.lanes), *position)
        pointer = self.builder.bitcast(pointer, self.tile.register.as_pointer())
        return self.builder.load(pointer, align=self.tile.dtype.bitwidth // 8)

    def first(self, position, n):
        """A register with n numbers from a position on, and 0 in the other lanes."""
        nothing = ir.Constant(self.tile.register, None)
        return self._masked("load", self.tile.register, (), position, n, (nothing,))

    def store(self, register, position, n):
        """Write the first n lanes of a register; all of them at once, as processors take long over a mask."""
        builder, lanes = self.builder, INT(self.tile.lanes)
        with builder.if_else(builder.icmp_signed(">=", n, lanes)) as (whole, part):
            with whole:
                pointer = builder.bitcast(self._pointer(lanes, position), self.tile.register.as_pointer())
                builder.store(register, pointer, align=self.tile.dtype.bitwidth // 8)
            with part:
                self._masked("store", ir.VoidType(), (register,), position, n, ())

    def _masked(self, name, result, before, position, n, after):
        builder, tile = self.builder, self.tile
        indices = ir.VectorType(INT, tile.lanes)
        used = builder.icmp_signed("<", ir.Constant(indices, list(range(tile.lanes))), spread(builder, n, indices))
        n = builder.select(builder.icmp_signed("<", n, INT(tile.lanes)), n, INT(tile.lanes))
        pointer = builder.bitcast(self._pointer(n, position), tile.register.as_pointer())
        operands = [*before, pointer, SHORT(tile.dtype.bitwidth // 8), used, *after]
        function = ir.FunctionType(result, [operand.type for operand in operands])
        name = f"llvm.masked.{name}.v{tile.lanes}f{tile.dtype.bitwidth}.p0"
        return builder.call(get_or_insert_function(builder.module, function, name), operands)

    def _pointer(self, n, *position):
        """To the first of n numbers that will be read or written; a position may be given in parts that add up."""
        builder, pointer = self.builder, self.array.data
        if config.BOUNDSCHECK:
            first = reduce(builder.add, position)
            low = builder.icmp_signed("<", first, INT(0))
            high = builder.icmp_signed(">", builder.add(first, n), self.array.nitems)
            outside = builder.and_(builder.or_(low, high), builder.icmp_signed(">", n, INT(0)))
            with builder.if_then(outside, likely=False):
                message = "a kernel reaches outside of its arrays"
                self.context.call_conv.return_user_exc(builder, IndexError, (message,))
        for part in position:
            pointer = builder.gep(pointer, [part])
        return pointer


def memories(tile, context, builder, signature, arguments, *which):
    """The Memory for each of those arguments of an intrinsic that are arrays."""
    return (Memory(tile, context, builder, signature.args[k], arguments[k]) for k in which)


def spread(builder, number, register):
    """A register with a number broadcast to all lanes."""
    one = builder.insert_element(ir.Constant(register, ir.Undefined), number, SHORT(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(SHORT, register.count), [0] * register.count))


@intrinsic
def lanes_of(typing, x):
    """The number of lanes of a register, for the dtype of an array."""
    return types.intp(x), lambda context, builder, signature, arguments: INT(BYTES * 8 // x.dtype.bitwidth)


@intrinsic
def broadcast_row(typing, x, j, columns, kind):
    """A tile of which each row is x[j], x[j + 1], …"""
    tile = Tile(x.dtype, columns, kind)

    def generate(context, builder, signature, arguments):
        (x,) = memories(tile, context, builder, signature, arguments, 0)
        out = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for k, (_, lane) in enumerate(tile.registers):
            out = builder.insert_value(out, x.register(builder.add(arguments[1], INT(lane))), k)
        return out

    return tile(x, j, columns, kind), generate


@intrinsic
def load(typing, x, offsets, p, i, columns, kind):
    """A tile whose row r holds the numbers of x from offsets[p + r] + i on."""
    tile = Tile(x.dtype, columns, kind)

    def generate(context, builder, signature, arguments):
        x, offsets = memories(tile, context, builder, signature, arguments, 0, 1)
        _, _, p, i, _, _ = arguments
        out = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for k, (r, lane) in enumerate(tile.registers):
            position = builder.add(offsets.number(builder.add(p, INT(r))), i)
            out = builder.insert_value(out, x.register(builder.add(position, INT(lane))), k)
        return out

    return tile(x, offsets, p, i, columns, kind), generate


@intrinsic
def store(typing, tile, out, offsets, p, rows, i, n):
    """Write row r of the tile to `out` from offsets[p + r] + i on: the first n numbers of the first `rows` rows."""

    def generate(context, builder, signature, arguments):
        value, _, _, p, rows, i, n = arguments
        out, offsets = memories(tile, context, builder, signature, arguments, 1, 2)
        for r in range(tile.rows):
            with builder.if_then(builder.icmp_signed("<", INT(r), rows)):
                position = builder.add(offsets.number(builder.add(p, INT(r))), i)
                for c in range(tile.columns):
                    lane = INT(c * tile.lanes)
                    register = builder.extract_value(value, r * tile.columns + c)
                    out.store(register, builder.add(position, lane), builder.sub(n, lane))
        return context.get_dummy_value()

    return types.void(tile, out, offsets, p, rows, i, n), generate


@intrinsic
def accumulate(typing, tile, x, offsets, p, i, w, j):
    """The tile after a step: with x[offsets[p + r] + i] · w[j + c] added at row r and lane c, if it is an OUTER one.

    In a LANEWISE tile x has lanes too: x[offsets[p + r] + i + c] · w[j + c] is added. One of the LARGEST instead keeps
    that number of x wherever it is larger than its own, or NaN.
    """

    def generate(context, builder, signature, arguments):
        out, _, _, p, i, _, j = arguments
        x, offsets, w = memories(tile, context, builder, signature, arguments, 1, 2, 5)
        name = f"llvm.fmuladd.v{tile.lanes}f{tile.dtype.bitwidth}"
        fused = get_or_insert_function(builder.module, ir.FunctionType(tile.register, [tile.register] * 3), name)
        for k, (r, lane) in enumerate(tile.registers):
            offset = offsets.number(builder.add(p, INT(r)))
            register = builder.extract_value(out, k)
            if tile.kind == "outer":
                number = spread(builder, x.number(offset, i), tile.register)
            else:
                number = x.register(offset, i, INT(lane))
            if tile.kind == "largest":
                larger = builder.select(builder.fcmp_ordered(">", number, register), number, register)
                register = builder.select(builder.fcmp_unordered("uno", number, number), number, larger)
            else:
                register = builder.call(fused, [number, w.register(builder.add(j, INT(lane))), register])
            out = builder.insert_value(out, register, k)
        return out

    return tile(tile, x, offsets, p, i, w, j), generate


@intrinsic
def clamp_min(typing, tile, floor):
    """max(tile, floor)."""

    def generate(context, builder, signature, arguments):
        out, floor = arguments
        floor = spread(builder, context.cast(builder, floor, signature.args[1], tile.dtype), tile.register)
        for k in range(len(tile.registers)):
            register = builder.extract_value(out, k)
            register = builder.select(builder.fcmp_ordered("<", register, floor), floor, register)
            out = builder.insert_value(out, register, k)
        return out

    return tile(tile, floor), generate


@intrinsic
def scatter(typing, tile, best, floor, x, out, offsets, p, rows, i, add):
    """Write the numbers of the tile to `out` where x is equal to those of `best`, else 0; returns the others.

    Row r, of the first `rows`, is compared with x from offsets[p + r] + i on. A number that was written is 0 from then
    on, so that the first of equal numbers gets it; where x isn't above the floor nothing is written, unless the floor
    is NaN. With `add`, it is added to what is in `out`.
    """

    def generate(context, builder, signature, arguments):
        value, best, floor, _, _, _, p, rows, i, add = arguments
        x, out, offsets = memories(tile, context, builder, signature, arguments, 3, 4, 5)
        nothing, floor = ir.Constant(tile.register, None), spread(builder, floor, tile.register)
        for k, (r, lane) in enumerate(tile.registers):
            position = builder.add(builder.add(offsets.number(builder.add(p, INT(r))), i), INT(lane))
            register = builder.extract_value(value, k)
            number = x.register(position)
            equal = builder.fcmp_ordered("==", number, builder.extract_value(best, k))
            equal = builder.and_(equal, builder.fcmp_unordered(">", number, floor))
            given = builder.select(equal, register, nothing)
            with builder.if_then(builder.icmp_signed("<", INT(r), rows)):
                stands = builder.select(builder.icmp_signed("!=", add, INT(0)), out.register(position), nothing)
                out.store(builder.fadd(given, stands), position, INT(tile.lanes))
            value = builder.insert_value(value, builder.select(equal, nothing, register), k)
        return value

    return tile(tile, best, floor, x, out, offsets, p, rows, i, add), generate


@intrinsic
def transpose(typing, x, i, step, out, j, out_step):
    """Write a square of numbers, as many a side as a register has lanes, to `out`: its rows as columns.

    Row r begins at x[i + r·step], and column r goes to out[j + r·out_step].
    """
    tile = Tile(x.dtype, types.int8, types.int8)

    def generate(context, builder, signature, arguments):
        x, out = memories(tile, context, builder, signature, arguments, 0, 3)
        _, i, step, _, j, out_step = arguments
        n = tile.lanes
        rows = [x.register(builder.add(i, builder.mul(step, INT(r)))) for r in range(n)]
        interleaved = [[k // 2 + k % 2 * n + half for k in range(n)] for half in (0, n // 2)]
        interleaved = [ir.Constant(ir.VectorType(SHORT, n), order) for order in interleaved]
        for _ in range(n.bit_length() - 1):  # each time, rows that stand half of all rows apart are zipped
            pairs = zip(rows[: n // 2], rows[n // 2 :])
            rows = [builder.shuffle_vector(a, b, order) for a, b in pairs for order in interleaved]
        for r, row in enumerate(rows):
            out.store(row, builder.add(j, builder.mul(out_step, INT(r))), INT(n))
        return context.get_dummy_value()

    return types.void(x, i, step, out, j, out_step), generate
