"""Updates in place: their effect on memory, and how graphs that were built before them remain correct.

An update in place writes into the memory of a tensor, so all tensors that share it change too. Within the
graph it also makes the tensor the result of an op: it gets a new node, and what was computed from it before keeps the
old node. Timestamps tell the two apart: every node has the time at which it was made, and an input that is newer
than the result computed from it has been updated since.
"""

from bisect import bisect
from functools import partial
from itertools import count
from types import CellType
from weakref import ref

import numpy as np

from .grad_mode import recording

clock = count(1)
latest = latest_recorded = 0  # the time of the latest change of anything, and of the latest within the graph
_changes = {}  # id of the array that owns memory -> the time of its latest change, those within the graph, and a ref
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2}


# Memory


def owner(array):
    """The array that owns the memory of an array, which may be a view."""
    base = getattr(array, "base", None)
    while base is not None and hasattr(base, "__array_function__"):
        array, base = base, base.base
    return array


def changed(*arrays, within_graph=False):
    """Record that the memory of arrays was changed in place, which graphs that saved it check; returns the time."""
    global latest, latest_recorded
    latest = now = next(clock)
    if within_graph:
        latest_recorded = now
    for array in arrays:
        holder = array if type(array) is np.ndarray and array.base is None else owner(array)
        change = _changes.get(id(holder))
        if change is None:
            if not hasattr(holder, "__array_function__"):
                continue  # a scalar has no memory to share
            change = _changes[id(holder)] = [0, [], ref(holder, partial(_forget, id(holder)))]
        change[0] = now
        if within_graph:
            change[1].append(now)
    return now


def _forget(key, _):
    _changes.pop(key, None)


def memory(x, slot="_data"):
    """The array of a tensor; a NumPy scalar, which has no memory to share, is replaced by a 0-d array."""
    array = getattr(x, slot)
    if type(array) is np.ndarray:
        return array
    if not hasattr(array, "__array_function__") or isinstance(array, np.generic):
        array = np.asarray(array)
        setattr(x, slot, array)
    return array


def write(op, x, out, index=...):
    """Write an array into the array of a tensor, or into the part of it at the index."""
    array, out = memory(x), out if hasattr(out, "dtype") else np.asarray(out)
    if _RANK[out.dtype.kind] > _RANK[array.dtype.kind]:
        raise TypeError(f"{op}: a result of {out.dtype} doesn't fit into {array.dtype}")
    if index is ... and out.shape != array.shape:
        raise ValueError(f"{op}: a result of shape {out.shape} doesn't fit into {array.shape}")
    if not getattr(array.flags, "writeable", True):
        raise RuntimeError(f"{op}: this memory is read-only, or several numbers share it: clone() the tensor first")
    array[index] = out


# The graph


def update(op, x, compute, others=()):
    """Set x, in place, to `compute(x)`, a Tensor of its shape, computed from x and from the others."""
    if not recorded(op, x, others):
        write(op, x, compute(x)._data)
        changed(x._data)
        return x
    before = earlier(x, memory(x))
    out = compute(before)
    if any([_shares(cell.cell_contents, x._data) for cell in _cells(out._backward)]):  # it saved the old value of x
        before = earlier(x, x._data.copy())
        out = compute(before)
    write(op, x, out._data)
    become(x, before, op, out.inputs, out._backward)
    return x


def recorded(op, x, others):
    """Whether an update of x is recorded in the graph; RuntimeError, as in PyTorch, for a leaf that requires grad."""
    if not recording.get() or x.dtype.kind != "f" or not any([y._requires_grad for y in (x, *others)]):
        return False
    base = root(x)
    if base.op is None and base._requires_grad:
        what = "a leaf" if base is x else "a view of a leaf"
        raise RuntimeError(
            f"{op}: {what} that requires grad can't be updated in place while the graph is recorded; "
            "do it under no_grad(), or on a result, such as a clone()"
        )
    return True


def earlier(x, data):
    """A copy of the node of x before an update: the input of the update and of what was computed from x so far."""
    base = root(x)
    if base.op in KEEP_THEIR_OUTPUT:
        for cell in _cells(base._backward):
            if _shares(cell.cell_contents, base._data):
                cell.cell_contents = cell.cell_contents.copy(order="K")
    before = object.__new__(type(x))
    before._data, before._grad, before._requires_grad, before.op = data, None, x._requires_grad, x.op
    before.inputs, before._backward, before._made = x.inputs, x._backward, x._made
    before._was = getattr(x, "_was", None)
    return before


def become(x, before, op, inputs, backward):
    """Make x, whose memory has changed, the result of an op in the graph; if x is a view, also its base."""
    base = root(x)
    if base is x:
        target, earliest = x, before
    else:
        target, earliest = base, earlier(base, base._data)
        backward = _through_view(base._data, x._data, backward)
        inputs = (earliest, *inputs[1:])
    _release(target, earliest, inputs)
    target.op, target.inputs, target._backward, target._requires_grad = op, inputs, backward, True
    target._was, target._made, target._grad = earliest, changed(target._data, within_graph=True), None
    if base is not x:
        x.op, x.inputs, x._requires_grad, x._was, x._made = "view", (base,), True, before, next(clock)
        before.inputs = tuple([earliest if y is base else y for y in before.inputs])
        x._backward = _of_view(base._data, x._data)


# Rules of rungs 4 and 5 that find maxima by their values. PyTorch has their places, and allows to update the output.
KEEP_THEIR_OUTPUT = {"max_pooling", "max_pooling_relu"}


def root(x):
    """The base of x if it is a view, or x itself."""
    while x.inputs and x.inputs[0] is not getattr(x, "_was", None) and owner(x.inputs[0]._data) is owner(x._data):
        x = x.inputs[0]
    return x


def _release(x, before, inputs):
    """In the graph of the inputs, replace x by the node before, since x will refer to the inputs.

    Otherwise there would be a reference cycle, and the graph's memory would not be freed when it is dropped.
    """
    stack, seen = [y for y in inputs if y is not before], set()
    while stack:
        y = stack.pop()
        if y in seen:
            continue
        seen.add(y)
        if any([z is x for z in y.inputs]):
            y.inputs = tuple([then(before, y._made) if z is x else z for z in y.inputs])
        stack += [z for z in y.inputs if z.inputs and not _is_earlier(z, before)]


def _is_earlier(z, before):
    while before is not None:
        if z is before:
            return True
        before = before._was
    return False


class _Part:
    """The place of a view in the memory of its base, with which the same view of the base's gradient is made."""

    def __init__(self, whole, part):
        self.order = sorted(range(whole.ndim), key=lambda dim: -whole.strides[dim])
        self.shape, self.strides, self.size = part.shape, part.strides, whole.itemsize
        if not isinstance(whole, np.ndarray) or self.like(whole, whole.shape).strides != whole.strides:
            raise NotImplementedError(
                "a view of memory with gaps, on the GPU or in a captured step, can't be updated in place in the graph"
            )
        self.first = (part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // self.size

    def like(self, g, shape):
        """Zeros of a shape, with the dims in the order of memory of the base."""
        zeros = np.zeros([shape[dim] for dim in self.order], g.dtype)
        return zeros.transpose(np.argsort(self.order))

    def of(self, array):
        """The same view of an array that has the base's layout."""
        return np.lib.stride_tricks.as_strided(array.ravel("K")[self.first :], self.shape, self.strides)


def _through_view(whole, part, backward):
    """The backward function of an update of a view, as an update of its base."""
    place = _Part(whole, part)

    def back(g):
        gradient = place.like(g, g.shape)
        gradient[...] = g
        view = place.of(gradient)
        to_part, *others = backward(view.copy())
        view[...] = to_part() if callable(to_part) else to_part
        return gradient, *others

    return back


def _of_view(whole, part):
    """The backward function of a view: its gradient in its place, zeros elsewhere."""
    place, shape = _Part(whole, part), whole.shape

    def back(g):
        gradient = place.like(g, shape)
        place.of(gradient)[...] = g
        return (gradient,)

    return back


# Time


def then(x, made):
    """The node of x at a time."""
    while x._made > made:
        x = x._was
    return x


def inputs_then(tensor):
    """The nodes of a tensor's inputs at the time when the tensor was made."""
    return tuple([then(x, tensor._made) for x in tensor.inputs])


def check(tensor, inputs, incoming):
    """RuntimeError if the gradients of a tensor's inputs depend on memory that was changed since it was made."""
    for x in inputs:
        times = _changes.get(id(owner(x._data)), (0, ()))[1]
        i = bisect(times, x._made)
        if x.op and i < len(times) and times[i] < tensor._made:
            raise RuntimeError(
                f"backward: an input of {tensor.op}, of shape {np.shape(x._data)}, shares memory that was updated in "
                "place after it was computed; take the view again after the update"
            )
    cells = [cell for cell in _cells(tensor._backward) if _changed_since(cell.cell_contents, tensor._made)]
    if cells and _depend(tensor, inputs, incoming, cells):
        shapes = ", ".join(dict.fromkeys([str(np.shape(cell.cell_contents)) for cell in cells]))
        raise RuntimeError(
            f"backward: what {tensor.op} saved, of shape {shapes}, was changed in place after the graph was built on "
            "it; compute the loss again first"
        )


def _cells(function):
    """The closure cells in which a backward function saved arrays, also those of functions in its closure."""
    for cell in getattr(function, "__closure__", None) or ():
        if cell == CellType():
            continue  # empty: of a variable that was never set
        if callable(cell.cell_contents):
            yield from _cells(cell.cell_contents)
        else:
            yield cell


def _shares(value, array):
    if isinstance(value, tuple | list):
        return any([_shares(part, array) for part in value])
    return owner(value) is owner(array)


def _changed_since(value, made):
    if isinstance(value, tuple | list):
        return any([_changed_since(part, made) for part in value])
    return hasattr(value, "__array_function__") and _changes.get(id(owner(value)), (0,))[0] > made


def _depend(tensor, inputs, incoming, cells):
    """Whether the gradients change if the cells' contents are replaced by NaN, or by numbers.

    NaN isn't enough where a rule compares: relu's with 0, that of a maximum with the largest number of its input.
    """

    def gradients():
        found = zip(inputs, tensor._backward(incoming))
        return [g() if callable(g) else g for x, g in found if x._requires_grad]

    held, before = [cell.cell_contents for cell in cells], gradients()
    if not all([getattr(value, "dtype", np.dtype(bool)).kind == "f" for value in held]):
        return True
    arrays = [x._data for x in inputs if getattr(x._data, "size", 0)]
    ends = [float(end) for array in arrays for end in (array.max(), array.min())]
    try:
        for number in (np.nan, 0, 1, np.inf, *ends):
            for cell, value in zip(cells, held):
                cell.cell_contents = np.full_like(value, number)
            with np.errstate(all="ignore"):
                if not all([np.array_equal(g, h, equal_nan=True) for g, h in zip(before, gradients())]):
                    return True
        return False
    finally:
        for cell, value in zip(cells, held):
            cell.cell_contents = value
