"""A training step as one thing: traced once, and from then on run without the graph, the engine or Python's dispatch.

On the CPU the step becomes loops over fixed memory, compiled by Numba, with calls of kernels between them: recording.py
notes what it does to arrays, loops.py writes the source. On the GPU it becomes one CUDA graph.
"""

from contextlib import contextmanager, suppress
from functools import wraps
from inspect import signature
from weakref import ref

import numpy as np

from .device import COMPILED, Setting, device_of, from_pool, gpu, refresh
from .engine import Tensor, constant
from .inplace import changed, memory
from .random import Generator

if COMPILED:  # without it Numba isn't loaded either
    from .kernels_cpu.memory import trim
    from .loops import Program
    from .recording import Array, Record, every, owner_of

_recorded = []  # the step that is being recorded on the CPU
_EAGER_STEPS = 3  # before one is recorded on the GPU: kernels get compiled and optimizers make their state


def capture(step):
    """The function `step`, recorded when it is called for the second time, and from then on repeated: as one thing.

    `step` takes Tensors or arrays, all on one device, and gives back a Tensor, an array, a tuple of them or None. What
    it does to arrays is recorded once for each combination of shapes and dtypes, and calls after that do the same to
    what they are given. Its Python runs no more: what is decided or counted there stays as it was, so call a scheduler
    outside. Learning rates, the counts of optimizers, the statistics of batch norm and dropout's random numbers go on
    changing. RuntimeError where the step needs a number before it is over, as `loss.item()` does. No gradient goes to
    the arguments, and none through the result. `train()` and `eval()` are decided as well; gradients stay where they
    are in memory, so copy what is to be kept; and no other thread may use Tensors while a step is recorded.

    On the CPU it becomes compiled loops: `capture(step).source` is their text once there is one; with NumPy's functions
    alone (`GRADUAL_KERNELS=numpy`) its Python runs at every call. On the GPU it becomes a CUDA graph, as in
    `torch.cuda.graph`; it is recorded at the fourth call, and keeps the memory of the parameters, so load a checkpoint
    before.
    """
    kinds = {}

    @wraps(step)
    def run(*arguments, **named):
        if named:
            raise TypeError(f"capture: wanted all arguments by position, got {', '.join(named)} by name")
        if _recorded:
            return step(*arguments)  # as a part of the other step
        arrays = [x._data if isinstance(x, Tensor) else x for x in arguments]
        places = [device_of(x) if hasattr(x, "dtype") else type(x).__name__ for x in arrays]
        if len(set(places)) != 1 or places[0] not in ("cpu", "cuda"):
            raise TypeError(
                f"capture: wanted Tensors or arrays, all on cpu or all on cuda, got {', '.join(places) or 'none'}"
            )
        kind = tuple([(x.shape, x.dtype) for x in arrays])
        found = kinds.get(kind)
        if found is None:
            found = kinds[kind] = (_OnCPU if places[0] == "cpu" else _OnGPU)(step, run)
        return found(arguments, arrays)

    run.source = None
    return run


# On the CPU


class _OnCPU:
    """A step for arguments of certain shapes: run once, then recorded, then repeated."""

    def __init__(self, step, run):
        self.step, self.told, self.begun, self.again, self.plans = step, run, False, False, []

    def __call__(self, arguments, arrays):
        if not self.begun or not COMPILED:
            self.begun = True
            return self.step(*arguments)
        for plan in self.plans:
            if plan.holds():
                return plan(arrays)
        out, plan = recorded(self.step, arguments, arrays, self.again)
        self.again = not plan
        if plan:
            self.plans = [plan, *self.plans[:1]]
            self.told.source = plan.source
        return out


def recorded(step, arguments, arrays, again):
    """What the step gives, and the plan by which it is repeated.

    There is no plan, unless `again`, if the step leaves new Tensors: optimizers make their state in one step only.
    """
    trim()  # the step before took it; while one is recorded arrays lie in other places, and afterwards in the plan's
    there = every(Generator, Setting, Tensor)
    record, own = Record(step, there), [np.array(x, order="C") for x in arrays]
    inputs = [record.of_outside(x) for x in own]
    inputs = [constant(x) if isinstance(given, Tensor) else x for x, given in zip(inputs, arguments)]
    found, left, plan = [], [], None
    _recorded.append(step)
    try:
        record.begin()
        found += _exchanged(record, there)
        out = step(*inputs)
        record.finish()
        form = _form(record, out)
        ends = [x for x in _leaves(out) if isinstance(x, Array)]
        first = _answer(form, iter([x.array for x in ends]))
        del out, inputs
        left = _taken_back()
        kept, known = [end for end in left if id(owner_of(end[2])) in record.made], {id(end[0]) for end in found}
        if again or all([slot == "_grad" or id(tensor) in known for tensor, slot, _ in kept]):
            plan = _Plan(record, own, _names(step, len(own)), form, [x.array for x in ends], found, kept)
    except BaseException:
        for tensor, slot, _ in [*left, *_taken_back()]:
            if slot == "_grad":
                tensor._grad = None
        record.restore()
        for tensor, slot, array in found:
            setattr(tensor, slot, array)
        raise
    finally:
        _recorded.clear()
        record.end()
    _updated(arrays, own, record.updated(own))
    record.release()
    trim()
    return first, plan


def _updated(arrays, own, places):
    """Write those arguments that a step updates in place, of which it may have updated copies of its own."""
    for i in places:
        if own[i] is not arrays[i]:
            arrays[i][...] = own[i]
        changed(arrays[i])


def _exchanged(record, there):
    """Put recording arrays in the place of those that Tensors hold: of all Tensors, as any may be in the step's reach.

    Gives each with its slot and the array that it held.
    """
    for tensor in [x for x in there if isinstance(x, Tensor)]:
        for slot in ("_data", "_grad"):
            if hasattr(getattr(tensor, slot, None), "dtype"):
                array = memory(tensor, slot)
                if isinstance(array, np.ndarray):
                    setattr(tensor, slot, record.of_outside(array))
                    yield tensor, slot, array


def _taken_back():
    """Put NumPy's arrays back in the place of recording ones; gives the same."""
    found = []
    for tensor in every(Tensor):
        for slot in ("_data", "_grad"):
            x = getattr(tensor, slot, None)
            if isinstance(x, Array):
                setattr(tensor, slot, x.array)
                found.append((tensor, slot, x.array))
    return found


class _Plan:
    """A recorded step: `holds()` says whether it is still the same step, and called with arrays it does it again."""

    def __init__(self, record, own, names, form, ends, found, kept):
        self.settings, self.form, self.ends = [(ref(x), held) for x, held in record.settings.items()], form, len(ends)
        kept_by_call = [end for end in kept if record.by_call(end[2])]
        program = Program(record, own, names, ends + [x for *_, x in kept_by_call], [x for *_, x in kept])
        self.run, self.source = program.run, program.source
        self.kept = [(ref(tensor), slot, None if record.by_call(x) else x) for tensor, slot, x in kept]
        used, written = program.used, program.written
        read = [end for end in found if id(owner_of(end[2])) in used]
        self.guards = [(ref(tensor), slot, x) for tensor, slot, x in read]
        self.guards += [(ref(tensor), "_requires_grad", tensor._requires_grad) for tensor, *_ in read]
        self.guards += [(ref(x), "_settings", x._settings) for x in record.settings]
        known, began = ({id(tensor) for tensor, slot, _ in found if slot == s} for s in ("_data", "_grad"))
        new = [tensor for tensor, slot, _ in kept if slot == "_grad" and id(tensor) in known - began]
        self.guards += [(ref(tensor), "_grad", None) for tensor in new]
        self.updated = record.updated(own)
        self.changed = [x for tensor, slot, x in found if slot == "_data" and id(owner_of(x)) in written]

    def holds(self):
        """Whether the Tensors that the step changes or reads hold what they held when it was recorded."""
        return all([getattr(tensor(), slot, self) is array for tensor, slot, array in self.guards])

    def __call__(self, arrays):
        for setting, held in self.settings:
            held[...] = setting().value()
        given = [x if x.flags.c_contiguous else np.ascontiguousarray(x) for x in arrays]
        ends = self.run(*given)
        _updated(arrays, given, self.updated)
        changed(*self.changed)
        fresh = iter(ends[self.ends :])
        for tensor, slot, array in self.kept:
            tensor, array = tensor(), next(fresh) if array is None else array
            if tensor is not None:
                setattr(tensor, slot, array)
        return _answer(self.form, iter(ends))


def _leaves(out):
    """The arrays of what a step gave back, in order."""
    if isinstance(out, tuple):
        for x in out:
            yield from _leaves(x)
    else:
        yield out._data if isinstance(out, Tensor) else out


def _form(record, out):
    """What a step gives back, as a tree: Tensor or None where a new array comes, and what it is where it stays."""
    if isinstance(out, tuple):
        return getattr(out, "_make", tuple)([_form(record, x) for x in out])
    x = out._data if isinstance(out, Tensor) else out
    if isinstance(x, Array):
        return Tensor if isinstance(out, Tensor) else Array
    if out is None or isinstance(out, Tensor | np.ndarray):
        return [out]
    raise TypeError(
        f"capture: wanted a Tensor, an array, a tuple of them or None from the step, got {type(out).__name__}"
    )


def _answer(form, ends):
    """Copies of the next arrays that a step has made, as what it gives back."""
    if form is Tensor:
        return constant(next(ends).copy())
    if form is Array:
        return next(ends).copy()
    if isinstance(form, tuple):
        return getattr(form, "_make", tuple)([_answer(part, ends) for part in form])
    return form[0]


def _names(step, count):
    """The names of the step's parameters, for the source."""
    try:
        names = [
            name
            for name, p in signature(step).parameters.items()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        names = []
    names = [f"{name}_in" for name in names]  # others are those of loops
    return [*names, *[f"input_{i}" for i in range(len(names), count)]][:count]


# On the GPU


class _OnGPU:
    """A step for arguments of certain shapes: run some times, then recorded, then replayed.

    The graph's memory is from a pool of its own, which lives as long as it does: no replay writes into others' arrays.
    """

    def __init__(self, step, run):
        self.step, self.calls, self.graph = step, 0, None

    def __call__(self, arguments, arrays):
        self.calls += 1
        if self.calls <= _EAGER_STEPS:
            with _without_cublas():
                return self.step(*arguments)
        if not self.graph:
            self.inputs = [x.copy() for x in arrays]
            self.arguments = [constant(x) if isinstance(y, Tensor) else x for x, y in zip(self.inputs, arguments)]
            refresh()
            with _without_cublas():
                self._record(gpu())
        for own, x in zip(self.inputs, arrays):
            own[...] = x
        refresh()
        self.graph.launch()
        return _copied(self.out)

    def _record(self, cupy):
        self.pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        with cupy.cuda.using_allocator(from_pool(cupy, self.pool)), stream:
            stream.begin_capture()
            try:
                self.out = self.step(*self.arguments)
                refresh()  # an error, as it is too late for what was set by the step itself
            except Exception as error:
                with suppress(RuntimeError):  # what was recorded so far is no graph
                    stream.end_capture()
                why = "as a number that is read by item(), or a product by cuBLAS"
                raise RuntimeError(f"capture: the step does what can't be recorded, {why}: {error}") from error
            self.graph = stream.end_capture()


@contextmanager
def _without_cublas():
    """Linear layers use the tiled product of `kernels_gpu`: CuPy refuses to have calls of cuBLAS recorded."""
    from . import kernels_gpu

    kernels_gpu.matrix_product.TILED = True
    try:
        yield
    finally:
        kernels_gpu.matrix_product.TILED = kernels_gpu.matrix_product.SIMULATED


def _copied(out):
    """Copies of what a step gave back, as the next replay writes into the originals."""
    if out is None:
        return None
    if isinstance(out, tuple):
        return getattr(out, "_make", tuple)(map(_copied, out))
    if not hasattr(out, "detach"):
        return out.copy()
    return out.detach().clone()
