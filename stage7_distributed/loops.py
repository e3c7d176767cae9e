"""What a recorded step becomes: loops over fixed memory, as source that a person can read and Numba compiles.

Operations that go over the same numbers become one loop, and what only that loop needs is never written to memory. What
is written lies in one array for each dtype, where every offset, stride and count is a literal, and two arrays share a
place if one is not needed any more when the other is made. Between the loops stand calls: of kernels, and of products
that are worth one.
"""

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .kernels_cpu.elementary import exponential, hyperbolic_tangent
from .kernels_cpu.jit import compiled_source
from .kernels_cpu.matrix_product import SMALL, multiply
from .kernels_cpu.memory import Arena, empty, pages
from .recording import COMPARISONS, Call, Each, Indexed, Number, Product, Reduce, Within, owner_of

EXPRESSIONS = {
    "add": "{} + {}",
    "subtract": "{} - {}",
    "multiply": "{} * {}",
    "divide": "{} / {}",
    "power": "{} ** {}",
    "negative": "-{}",
    "absolute": "abs({})",
    "square": "{0} * {0}",
    "reciprocal": "1 / {}",
    "maximum": "{0} if {0} >= {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} <= {1} or {0} != {0} else {1}",
    "exp": "np.exp({})",
    "log": "np.log({})",
    "sqrt": "np.sqrt({})",
    "tanh": "np.tanh({})",
    "equal": "{} == {}",
    "not_equal": "{} != {}",
    "less": "{} < {}",
    "less_equal": "{} <= {}",
    "greater": "{} > {}",
    "greater_equal": "{} >= {}",
    "logical_and": "bool({}) and bool({})",
    "logical_or": "bool({}) or bool({})",
    "logical_not": "not {}",
    "isnan": "{0} != {0}",
    "trunc": "np.trunc({})",
    "copysign": "np.copysign({}, {})",
    "where": "{1} if {0} else {2}",
    "copy": "{}",
}
# Functions in the place of NumPy's, and over how many numbers a loop has to go for it to be vectorized with them
VECTORIZED, LONG = {"exp": exponential, "tanh": hyperbolic_tangent}, 64
INLINED = 1 << 15  # products of two numbers, up to which a matrix product is a loop of its own,
INLINED_DOWN = 1 << 13  # and up to which one is that has few rows and reads the other matrix down its columns
UNROLLED = 8  # steps of a product that are added up at once, at most, before the sum is written
APART = 1 << 14  # numbers, from which a sum of rows is NumPy's, which adds up many at once
LONGEST = 100  # lines, after which another function begins: how long Numba takes grows faster than a function
BACK = 8  # how many nests of loops back an operation looks for one that it can join


@dataclass
class Nest:
    """Operations that go over the same numbers, in one nest of loops."""

    shape: tuple
    operations: list = field(default_factory=list)


def reads(operation):
    """The arrays that an operation reads."""
    if isinstance(operation, Each):
        found = operation.inputs
    elif isinstance(operation, Reduce):
        found = [operation.input]
    elif isinstance(operation, Product):
        found = [operation.a, operation.b]
    elif isinstance(operation, Within):
        found = [operation.index]
    elif isinstance(operation, Indexed):
        found = [*operation.indices, operation.array, *([operation.values] if operation.mode != "get" else [])]
    else:
        found = operation.arrays
    return [x.array if isinstance(x, Number) else x for x in found if isinstance(x, Number | np.ndarray)]


def writes(operation):
    """The arrays that an operation writes; a call may write what it is given."""
    if isinstance(operation, Indexed):
        return [operation.values if operation.mode == "get" else operation.array]
    if isinstance(operation, Call):
        return [*operation.arrays, *[x for x in operation.results if x is not None]]
    return [] if isinstance(operation, Within) else [operation.out]


def overlap(x, y):
    """Whether two arrays may share memory."""
    return owner_of(x) is owner_of(y) and np.may_share_memory(x, y)


def size_of(operation):
    """The shape over which an operation goes number by number."""
    return operation.input.shape if isinstance(operation, Reduce) else operation.out.shape


def place(x, shape):
    """Where the numbers of an array lie as loops go over a shape: the first one, and the steps along its dims."""
    strides = np.broadcast_to(x, shape).strides
    return x.__array_interface__["data"][0], tuple(s for s, n in zip(strides, shape) if n != 1), x.dtype


def needed(operations, kept):
    """The operations without those whose results nobody reads."""
    live, out = {id(owner) for owner in kept}, []
    for operation in reversed(operations):
        goal = writes(operation)
        if isinstance(operation, Call | Within) or any(id(owner_of(x)) in live for x in goal):
            out.append(operation)
            live |= {id(owner_of(x)) for x in reads(operation)}
    return out[::-1]


def adds_bias(operation, before):
    """Whether an operation adds a bias to the product that the kernel has just made, which can add it itself."""
    if not isinstance(before, Call) or before.function is not multiply or len(before.arguments) > 2:
        return False
    if not isinstance(operation, Each) or operation.function != "add":
        return False
    (x, bias), out = operation.inputs, before.options["out"]
    return (
        isinstance(bias, np.ndarray)
        and (bias.shape, bias.dtype) == (out.shape[-1:], out.dtype)
        and is_same(operation.out, out)
        and is_same(x, out)
    )


def is_same(x, y):
    """Whether an operand is an array of the same numbers in the same memory as another."""
    return isinstance(x, np.ndarray) and x.__array_interface__ == y.__array_interface__


def can_join(operation, others):
    """Whether an operation finds in the loops of others all that it needs, at the time when it needs it."""
    mine = size_of(operation)
    for other in others:
        theirs = size_of(other)
        for written in writes(other):
            for x in (*reads(operation), *writes(operation)):
                if overlap(x, written) and (
                    isinstance(other, Reduce)
                    or isinstance(operation, Reduce)
                    and x is operation.out
                    or place(x, mine) != place(written, theirs)
                ):
                    return False
        for read in reads(other):
            for x in writes(operation):
                if overlap(x, read) and (isinstance(operation, Reduce) or place(x, mine) != place(read, theirs)):
                    return False
    return True


def adds_up_functions(operation, nest):
    """Whether a nest would add up, in order, and so number by number, what is computed with vectorized functions."""
    if next((n for n in reversed(nest.shape) if n != 1), 0) < LONG:
        return False
    both = [*nest.operations, operation]
    functions = any(isinstance(other, Each) and other.function in VECTORIZED for other in both)
    return functions and any(isinstance(other, Reduce) for other in both)


def can_pass(operation, others):
    """Whether it makes no difference if an operation goes before others."""
    for other in others:
        if any(overlap(x, y) for x in writes(other) for y in (*reads(operation), *writes(operation))):
            return False
        if any(overlap(x, y) for x in reads(other) for y in writes(operation)):
            return False
    return True


def fused(operations, lasting):
    """Parts of the program, in order: nests of loops, and single operations that can't be joined.

    Memory that is lasting isn't written before an index that comes first is checked.
    """
    parts = []
    owners = {id(made): {id(owner_of(x)) for x in (*reads(made), *writes(made))} for made in operations}
    for operation in operations:
        if isinstance(operation, Each | Reduce):
            shape, mine = [n for n in size_of(operation) if n != 1], owners[id(operation)]
            for part in reversed(parts[-BACK:]):
                others = part.operations if isinstance(part, Nest) else [part]
                others = [other for other in others if not mine.isdisjoint(owners[id(other)])]
                fits = isinstance(part, Nest) and shape == [n for n in part.shape if n != 1]
                if fits and not adds_up_functions(operation, part) and can_join(operation, others):
                    part.operations.append(operation)
                    break
                checks = isinstance(part, Within | Indexed) and id(owner_of(operation.out)) in lasting
                if isinstance(part, Call) or checks or not can_pass(operation, others):
                    parts.append(Nest(size_of(operation), [operation]))
                    break
            else:
                parts.append(Nest(size_of(operation), [operation]))
        else:
            parts.append(operation)
    return parts


class Program:
    """A step as source, and its memory. `run(*inputs)` does the step, and gives what `results` say."""

    def __init__(self, record, inputs, names, results, kept):
        self.record, self.inputs = record, {id(owner_of(x)): name for x, name in zip(inputs, names)}
        self.names, self.constants, self.messages = names, {}, [""]
        self.kept = {id(owner_of(x)): owner_of(x) for x in kept}
        self.of_calls = {}
        ends = [*record.outside.values(), *self.kept.values(), *map(owner_of, results)]
        operations = needed(self._prepared(record.operations), ends)
        self.used = {id(owner_of(x)) for operation in operations for x in (*reads(operation), *writes(operation))}
        self.written = {id(owner_of(x)) for operation in operations for x in writes(operation)}
        self.parts = fused(operations, {id(owner) for owner in ends} | self.inputs.keys())
        for n, part in enumerate(part for part in self.parts if isinstance(part, Call)):
            for k, x in enumerate(part.results):
                if x is not None:
                    self.of_calls[id(owner_of(x))] = f"c{n}_{k}", x
        self._plan([*results])
        self._bases()
        self.in_one = not any(isinstance(part, Call) for part in self.parts)
        self._generate(results)

    def _prepared(self, operations):
        """The operations, with calls in the place of products and sums that are worth one."""
        out = []
        for operation in operations:
            out += self._aside(operation)
            if out and adds_bias(operation, out[-1]):
                call = out[-1]
                call.arguments += (operation.inputs[1],)
                call.arrays.append(operation.inputs[1])
            elif isinstance(operation, Call):
                operation.arrays = _arrays(operation.arguments) + _arrays(operation.options)
                out.append(operation)
            elif isinstance(operation, Product):
                out += self._product(operation)
            elif isinstance(operation, Reduce) and self._apart(operation):
                call = Call(
                    getattr(np, operation.function).reduce,
                    (operation.input, operation.axes, operation.out.dtype, operation.out, True),
                    {},
                    label=operation.label,
                )
                call.arrays = [operation.input, operation.out]
                out.append(call)
            else:
                out.append(operation)
        return out

    @staticmethod
    def _apart(operation):
        last = operation.input.ndim - 1
        return operation.input.size > APART and operation.function == "add" and last in operation.axes

    def _product(self, operation):
        out, a, b, label = operation.out, operation.a, operation.b, operation.label
        (m, k), n = a.shape[-2:], b.shape[-1]
        down = m <= 2 and n >= 8 and b.strides[-1] != b.itemsize
        if out.size * k > (INLINED_DOWN if down else INLINED):
            planes = out.size * k >= SMALL and out.strides[-1] == out.itemsize
            call = Call(multiply if planes else np.matmul, (a, b), {"out": out}, label=label)
            call.arrays = [a, b, out]
            return [call]
        if n >= 8 and m > 2 and b.strides[-1] != b.itemsize:
            copy = self._copy(b, label)
            return [copy, Product(out, a, copy.out, label)]
        return [operation]

    def _copy(self, x, label):
        """The operation that copies an array into one of its own."""
        copy = np.empty(x.shape, x.dtype)
        self.record.made[id(copy)] = copy
        return Each("copy", copy, [x], label=label)

    def _aside(self, operation):
        """Copies of what an operation reads in other places than it writes, as `x[1:] += x[:-1]` does."""
        copies = []
        if isinstance(operation, Each):
            out, inputs = operation.out, operation.inputs
            for k, x in enumerate(inputs):
                if isinstance(x, np.ndarray) and overlap(x, out) and place(x, out.shape) != place(out, out.shape):
                    copies.append(self._copy(x, operation.label))
                    inputs[k] = copies[-1].out
        elif isinstance(operation, Indexed) and operation.mode != "get" and overlap(operation.values, operation.array):
            copies.append(self._copy(operation.values, operation.label))
            operation.values = copies[0].out
        return copies

    # Memory

    def _kind(self, x):
        """Which kind of memory an array lies in."""
        key = id(owner_of(x))
        if key in self.inputs:
            return "input"
        if key in self.of_calls:
            return "call"
        return "outside" if key in self.record.outside or key in self.kept else "planned"

    def _plan(self, results):
        """Give what is made a place in memory, for as long as it is needed; what only one nest needs gets none."""
        spans, users, self.last_uses = {}, {}, {}
        for n, part in enumerate(self.parts):
            for operation in part.operations if isinstance(part, Nest) else [part]:
                for x, written in [(x, False) for x in reads(operation)] + [(x, True) for x in writes(operation)]:
                    kind, owner = self._kind(x), owner_of(x)
                    if kind == "call":
                        self.last_uses[self.of_calls[id(owner)][0]] = n
                    elif kind == "planned":
                        first = spans.setdefault(id(owner), [n, n, owner])
                        first[1] = n
                        users.setdefault(id(owner), []).append((part, operation, x, written))
        for x in results:
            if self._kind(x) == "planned":
                spans[id(owner_of(x))][1] = len(self.parts)
            elif self._kind(x) == "call":
                self.last_uses.pop(self.of_calls[id(owner_of(x))][0], None)
        self.local = {key for key, (first, last, _) in spans.items() if first == last and self._is_local(users[key])}
        self.places, self.sizes = {}, {}
        taken = {}
        for key, (first, last, owner) in sorted(spans.items(), key=lambda item: item[1][:2]):
            if key in self.local:
                continue
            size = -(-owner.size // 16) * 16
            pieces = taken.setdefault(owner.dtype, [])
            pieces[:] = [piece for piece in pieces if piece[2] >= first]
            start = 0
            for low, high, _ in sorted(pieces):
                if low - start >= size:
                    break
                start = max(start, high)
            pieces.append((start, start + size, last))
            self.places[key] = owner, start
            self.sizes[owner.dtype] = max(self.sizes.get(owner.dtype, 0), start + size)
        self.memory = {dtype: empty((size,), dtype) for dtype, size in self.sizes.items()}

    @staticmethod
    def _is_local(users):
        part, begins, first, _ = users[0]
        if not isinstance(part, Nest) or any(overlap(x, first) for x in reads(begins)):
            return False
        where = {place(x, size_of(operation)) for _, operation, x, _ in users}
        return len(where) == 1 and all(isinstance(operation, Each) for _, operation, _, written in users if written)

    def _bases(self):
        """For memory that isn't planned: from where to where the loops use it."""
        self.bounds = {}
        for part in self.parts:
            if isinstance(part, Call):
                continue
            for operation in part.operations if isinstance(part, Nest) else [part]:
                for x in (*reads(operation), *writes(operation)):
                    if self._kind(x) == "outside":
                        low, high = np.lib.array_utils.byte_bounds(x)
                        before = self.bounds.get((id(owner_of(x)), x.dtype), (low, high))
                        self.bounds[id(owner_of(x)), x.dtype] = min(low, before[0]), max(high, before[1])
        self.flat = {}

    def _base(self, x):
        """The name of the flat array in which x lies, for loops, and its first number's position."""
        key, address = id(owner_of(x)), x.__array_interface__["data"][0]
        kind = self._kind(x)
        if kind == "input":
            given, start = f"{self.inputs[key]}.reshape(-1)", owner_of(x).__array_interface__["data"][0]
        elif kind == "call":
            name, result = self.of_calls[key]
            given, start = f'{name}.ravel("K")', result.__array_interface__["data"][0]
        elif kind == "planned":
            owner, first = self.places[key]
            memory, start = self.memory[owner.dtype], owner.__array_interface__["data"][0]
            if self.in_one:
                given, start = self._constant("memory", owner.dtype, lambda: memory), start - first * x.itemsize
            else:
                given = self._constant("b", key, lambda: memory[first : first + owner.size])
        else:
            start, end = self.bounds[key, x.dtype]
            given = self._constant("a", (key, x.dtype), lambda: _flat(x, start, (end - start) // x.itemsize))
        name = self.flat.setdefault(given, self.inputs.get(key) or f"a{len(self.flat)}")
        return name, (address - start) // x.itemsize

    def _constant(self, letter, key, make):
        """The name of something that stays the same; `make()` gives it when it is met first."""
        named = self.__dict__.setdefault("_named", {})
        if (letter, key) not in named:
            named[letter, key] = f"{letter}{sum(kind == letter for kind, _ in named)}"
            self.constants[named[letter, key]] = make()
        return named[letter, key]

    # Source

    def _generate(self, results):
        lines, body, functions, before = [], [], {}, 0

        def flush():
            if not body:
                return
            text = "".join(f"    {line}\n" for line in [*body, "return 0"])
            text = f"({', '.join(self.flat.values())}):\n{text}"
            name = functions.setdefault(text, f"part_{len(functions) + 1}_of_the_step")
            call = f"{name}({', '.join(self.flat)})"
            lines.append(f"check({call})" if any("return" in line for line in body) else call)
            body.clear()
            self.flat = {}

        for n, part in enumerate(self.parts):
            if isinstance(part, Call):
                flush()
                lines += [f"del {name}" for name, last in self.last_uses.items() if before <= last < n]
                before = n
                lines.extend(self._call(part))
            else:
                body += self._loops(part)
                if len(body) > LONGEST:
                    flush()
        flush()
        lines.append(f"return ({''.join(self._expression(x) + ', ' for x in results)})")
        driver = [f"def step({', '.join(self.names)}):", *[f"    {line}" for line in lines]]
        self.loops = "\n\n".join(f"def {name}{text}" for text, name in functions.items())
        self.driver = "\n".join(driver)
        self.source = f"{self.loops}\n\n{self.driver}\n"
        compiled = compiled_source(self.loops, [*functions.values()], VECTORIZED) if functions else {}
        names = {**self.constants, **compiled, "placed": placed, "view": view, "np": np}
        names["check"] = partial(check, self.messages)
        exec(compile(self.driver, "<captured step>", "exec"), names)
        self.run = names["step"]
        if not self.in_one:
            self.run = Arena(sum([pages(x.nbytes) for x in self.record.made.values()])).during(self.run)

    def _fail(self, message):
        """The line of a loop that ends the step with an error."""
        if message not in self.messages:
            self.messages.append(message)
        return f"return {self.messages.index(message)}"

    def _call(self, part):
        """The line of a call, with names for the arrays that it gives."""
        function = getattr(part.function, "__name__", "function")
        name = self._constant(f"{function}_", part.function, lambda: part.function)
        arguments = [self._expression(x) for x in part.arguments]
        arguments += [f"{key}={self._expression(value)}" for key, value in part.options.items()]
        call = f"{name}({', '.join(arguments)})"
        wanted = [x for x in part.results if x is not None]
        if not wanted:
            return [f"{call}  # {part.label}"]
        targets = ", ".join(self.of_calls[id(owner_of(x))][0] for x in wanted)
        forms = tuple((x.shape, x.strides) if x is not None else None for x in part.results)
        forms = self._constant("form", forms, lambda: forms)
        return [f"{targets}, = placed({call}, {forms})  # {part.label}"]

    def _expression(self, x):
        """What stands for an array, number or anything else in the step's calls."""
        if hasattr(x, "record"):
            x = Number(x.array) if x.is_number else x.array
        if isinstance(x, Number):
            return f"{self._expression(x.array)}.item()"
        if isinstance(x, np.ndarray):
            return self._array(x)
        if isinstance(x, tuple | list):
            inner = "".join(f"{self._expression(part)}, " for part in x)
            return f"({inner})" if isinstance(x, tuple) else f"[{inner}]"
        if x is None or isinstance(x, bool | int | float | str) and (not isinstance(x, float) or math.isfinite(x)):
            return repr(x)
        return self._constant("k", id(x), lambda: x)

    def _array(self, x):
        kind, key = self._kind(x), id(owner_of(x))
        if kind == "outside":
            return self._constant("x", (x.__array_interface__["data"], x.shape, x.strides, x.dtype), lambda: x)
        if kind == "planned":
            owner, first = self.places[key]
            memory = self.memory[owner.dtype][first:]
            offset = x.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
            make = lambda: np.ndarray(x.shape, x.dtype, memory, offset, x.strides)  # noqa: E731
            return self._constant("m", (key, offset, x.shape, x.strides), make)
        name, whole = (self.inputs[key], owner_of(x)) if kind == "input" else self.of_calls[key]
        offset = x.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        if offset == 0 and x.shape == whole.shape and x.strides == whole.strides:
            return name
        return f"view({name}, {offset}, {x.shape}, {x.strides})"

    # Loops

    def _loops(self, part):
        """The lines of a nest or of an operation that has loops of its own."""
        if isinstance(part, Product):
            return self._product_loops(part)
        if isinstance(part, Within):
            lines, i = self._over(part.index.shape)
            number = self._at(part.index, i)
            message = f"{part.label}: wanted indices from 0 to {part.size - 1}"
            return [*lines, f"{'    ' * len(i)}if not 0 <= {number} < {part.size}: {self._fail(message)}"]
        if isinstance(part, Indexed):
            return self._indexed_loops(part)
        return self._nest(part)

    def _over(self, shape, names="ijklmnop"):
        """The lines that begin loops over a shape, and the names of the indices."""
        return [f"{'    ' * d}for {names[d]} in range({n}):" for d, n in enumerate(shape)], list(names[: len(shape)])

    def _at(self, x, indices):
        """A number of an array, at the indices of its dims."""
        name, start = self._base(x)
        return f"{name}[{_position(start, indices, [s // x.itemsize for s in x.strides])}]"

    def _product_loops(self, part):
        out, a, b = part.out, part.a, part.b
        (m, k), n, real = a.shape[-2:], b.shape[-1], _cast(part.out.dtype)
        lines, lead = self._over(out.shape[:-2], "nopqrs")
        tab = "    " * len(lead)
        lines.append(f"{tab}for i in range({m}):  # {part.label}")
        if n >= 8:
            there = self._at(out, [*lead, "i", "j"])
            steps = max(s for s in range(1, UNROLLED + 1) if k % s == 0)
            each = [(f"n{s}", f"(k + {s})" if s else "k") for s in range(steps)]
            lines += [f"{tab}    for j in range({n}):", f"{tab}        {there} = 0"]
            lines += [f"{tab}    for k in range(0, {k}, {steps}):"]
            lines += [f"{tab}        {x} = {self._at(a, [*lead, 'i', step])}" for x, step in each]
            lines += [f"{tab}        for j in range({n}):", f"{tab}            total = {there}"]
            lines += [f"{tab}            total += {x} * {self._at(b, [*lead, step, 'j'])}" for x, step in each]
            lines += [f"{tab}            {there} = total"]
        else:
            lines += [f"{tab}    {', '.join(f't{j}' for j in range(n))} = {', '.join([f'{real}(0)'] * n)}"]
            lines += [f"{tab}    for k in range({k}):", f"{tab}        number = {self._at(a, [*lead, 'i', 'k'])}"]
            lines += [f"{tab}        t{j} += number * {self._at(b, [*lead, 'k', str(j)])}" for j in range(n)]
            lines += [f"{tab}    {self._at(out, [*lead, 'i', str(j)])} = t{j}" for j in range(n)]
        return lines

    def _indexed_loops(self, part):
        lines, names = self._over(part.values.shape)
        lines[:1] = [f"{lines[0]}  # {part.label}"] if lines else []
        tab, lead = "    " * len(names), part.values.ndim - (part.array.ndim - len(part.indices))
        places = []
        for d, index in enumerate(part.indices):
            index = np.broadcast_to(index, part.values.shape[:lead])
            size, name = part.array.shape[d], f"at{d}"
            lines += [
                f"{tab}{name} = {self._at(index, names[:lead])}",
                f"{tab}if not {-size} <= {name} < {size}: "
                + self._fail(f"{part.label}: an index is out of bounds for size {size}"),
                f"{tab}{name} = {name} + {size} if {name} < 0 else {name}",
            ]
            places.append(name)
        there, value = self._at(part.array, [*places, *names[lead:]]), self._at(part.values, names)
        write = {"get": f"{value} = {there}", "set": f"{there} = {value}", "add": f"{there} += {value}"}
        return [*lines, f"{tab}{write[part.mode]}"]

    def _nest(self, nest):
        """The lines of a nest: each number is read once, and written once."""
        if 0 in nest.shape:
            return []
        shape = tuple(n for n in nest.shape if n != 1)
        arrays = [(x, size_of(op)) for op in nest.operations for x in (*reads(op), *writes(op))]
        steps = {place(x, size): tuple(s // x.itemsize for s in place(x, size)[1]) for x, size in arrays}
        reduced = [self._reduced_dims(op) for op in nest.operations if isinstance(op, Reduce)]
        order = list(range(len(shape)))
        if not reduced and shape:
            first = nest.operations[0].out
            out = steps[place(first, size_of(nest.operations[0]))]
            order.sort(key=lambda d: -abs(out[d]))
        shape = [shape[d] for d in order]
        steps = {key: [value[d] for d in order] for key, value in steps.items()}
        groups = [[d] for d in order]  # dims that are one loop
        d = len(shape) - 2
        while d >= 0:
            one = all(value[d] == value[d + 1] * shape[d + 1] for value in steps.values())
            if one and all(len({dim in dims for dim in groups[d] + groups[d + 1]}) == 1 for dims in reduced):
                shape[d : d + 2] = [shape[d] * shape[d + 1]]
                groups[d : d + 2] = [groups[d] + groups[d + 1]]
                for value in steps.values():
                    value[d : d + 2] = [value[d + 1]]
            d -= 1
        depth = len(shape)
        before, after, ahead = [[] for _ in range(depth + 1)], [[] for _ in range(depth + 1)], []
        body, names = [], {}
        indices = list("ijklmnop"[:depth])

        def at(key, x):
            name, start = self._base(x)
            return f"{name}[{_position(start, indices, steps[key])}]"

        def read(x, size):
            key = place(x, size)
            if key not in names:
                names[key] = f"v{len(names)}"
                inner = max([d + 1 for d, step in enumerate(steps[key]) if step], default=0)
                (body if inner == depth else before[inner]).append(f"{names[key]} = {at(key, x)}")
            return names[key]

        for op in nest.operations:
            size = size_of(op)
            if isinstance(op, Reduce):
                value = read(op.input, size)
                dims = self._reduced_dims(op)
                inner = [d for d, group in enumerate(groups) if group[0] in dims]
                key, real = place(op.out, size), _cast(op.out.dtype)
                begin = f"{real}(0)" if op.function == "add" else f"{real}({_least(op)})"
                sign = ">" if op.function == "maximum" else "<"
                update = (
                    "{0} + {1}({2})"
                    if op.function == "add"
                    else f"{{2}} if {{2}} {sign} {{0}} or {{2}} != {{2}} else {{0}}"
                )
                if not inner:
                    body.append(f"{at(key, op.out)} = {real}({value})")
                elif inner == list(range(inner[0], depth)):
                    total = f"t{sum(map(len, before))}"
                    before[inner[0]].append(f"{total} = {begin}")
                    body.append(f"{total} = {update.format(total, real, value)}")
                    after[inner[0]].append(f"{at(key, op.out)} = {total}")
                else:
                    outer = [d for d in range(depth) if d not in inner]
                    ahead += [f"{'    ' * t}for {indices[d]} in range({shape[d]}):" for t, d in enumerate(outer)]
                    ahead.append(f"{'    ' * len(outer)}{at(key, op.out)} = {begin}")
                    body.append(f"{at(key, op.out)} = {update.format(at(key, op.out), real, value)}")
                continue
            values = []
            for k, x in enumerate(op.inputs):
                kind = op.types[k] if op.types else None
                if isinstance(x, Number):
                    text = f"{read(x.array, size)}"
                    kind = kind or op.out.dtype
                elif isinstance(x, np.ndarray):
                    text = read(x, size)
                    kind = None if kind == x.dtype else kind
                else:
                    text, kind = _literal(x), kind or op.out.dtype
                values.append(f"{_cast(kind)}({text})" if kind else text)
            if op.function == "power" and len(op.inputs) == 2 and not isinstance(op.inputs[1], Number | np.ndarray):
                text = {2: "{0} * {0}", 0.5: "np.sqrt({0})", -0.5: "1 / np.sqrt({0})"}.get(op.inputs[1], "{} ** {}")
            else:
                text = EXPRESSIONS[op.function]
                if op.function in VECTORIZED and shape and shape[-1] >= LONG:
                    text = text.removeprefix("np.")
            value = text.format(*values)
            result = op.types[-1] if op.types else None
            if op.out.dtype != result or op.out.dtype.kind != "f" and op.function not in COMPARISONS:  # 200 + 100 wraps
                value = f"{_cast(op.out.dtype)}({value})"
            key = place(op.out, size)
            names[key] = f"v{len(names)}" if key not in names else names[key]
            body.append(f"{names[key]} = {value}  # {op.label}")
            if id(owner_of(op.out)) not in self.local:
                body.append(f"{at(key, op.out)} = {names[key]}")
        lines = ahead
        for d in range(depth + 1):
            lines += [f"{'    ' * d}{line}" for line in before[d]]
            if d < depth:
                lines.append(f"{'    ' * d}for {indices[d]} in range({shape[d]}):")
        lines += [f"{'    ' * depth}{line}" for line in body]
        for d in reversed(range(depth + 1)):
            lines += [f"{'    ' * d}{line}" for line in after[d]]
        return lines

    @staticmethod
    def _reduced_dims(operation):
        """The dims that an operation reduces, where those of size 1 don't count."""
        kept = [d for d, n in enumerate(operation.input.shape) if n != 1]
        return {kept.index(axis) for axis in operation.axes if axis in kept}


def _cast(dtype):
    return "np." * (dtype.kind in "iu" and dtype not in (np.int32, np.int64, np.uint8)) + dtype.name


def _least(operation):
    """What is no larger, or no smaller, than any number."""
    dtype, largest = operation.out.dtype, operation.function == "minimum"
    if dtype.kind != "i" and dtype.kind != "u":
        return ("-np.inf", "np.inf")[largest] if dtype.kind == "f" else largest
    return np.iinfo(dtype).max if largest else np.iinfo(dtype).min


def _literal(x):
    if isinstance(x, np.generic):
        x = x.item()
    return repr(x) if not isinstance(x, float) or math.isfinite(x) else f"np.{x}".replace("np.-inf", "-np.inf")


def _position(start, indices, steps):
    """An index into flat memory."""
    terms = [i if step == 1 else f"{i} * {step}" for i, step in zip(indices, steps) if step]
    return " + ".join([str(start), *terms] if start or not terms else terms)


def _flat(x, address, size):
    """All memory from an address on as a flat array."""
    owner = owner_of(x)
    return np.ndarray((size,), x.dtype, owner.ravel("K"), address - owner.__array_interface__["data"][0])


def _arrays(tree):
    """The NumPy arrays in a call's arguments."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, tuple | list):
        return [x for part in tree for x in _arrays(part)]
    if hasattr(tree, "record"):
        tree = tree.array
    return [tree] if isinstance(tree, np.ndarray) else []


def check(messages, code):
    """IndexError with the message that a loop has ended with."""
    if code:
        raise IndexError(messages[code])


def placed(result, forms):
    """The arrays of a call's result that are wanted, as they were laid out when the call was recorded."""
    found, out = [], []
    _collect(result, found)
    for x, form in zip(found, forms):
        if form is not None:
            shape, strides = form
            if x.strides != strides:
                if x.shape != shape:
                    raise RuntimeError(f"capture: a result had shape {shape}, and now has {x.shape}")
                there = np.lib.stride_tricks.as_strided(np.empty(x.size, x.dtype), shape, strides)
                there[...] = x
                x = there
            out.append(x)
    return out


def _collect(result, found):
    if isinstance(result, tuple | list):
        for part in result:
            _collect(part, found)
    elif isinstance(result, np.generic):
        found.append(np.asarray(result))
    elif isinstance(result, np.ndarray):
        found.append(result)


def view(x, offset, shape, strides):
    """The view of an array's memory that begins so many bytes after its first number."""
    return np.ndarray(shape, x.dtype, x.ravel("K"), offset, strides)
