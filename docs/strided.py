"""An n-dimensional array in one flat list: a position is a sum, and a view is the same list read otherwise.

As NumPy's `ndarray`, but for strides in numbers, where NumPy's are in bytes.
"""

from itertools import product
from math import prod


class Array:
    """Numbers of a list in a shape: that at index (i, j, …) is memory[offset + i·strides[0] + j·strides[1] + …]."""

    def __init__(self, memory, shape, strides=None, offset=0):
        self.memory, self.shape, self.offset = memory, tuple(shape), offset
        self.strides = contiguous(self.shape) if strides is None else tuple(strides)

    def position(self, index):
        """Where in memory the number at an index is."""
        return self.offset + sum(i * s for i, s in zip(index, self.strides))

    def indices(self):
        """All indices, the last dim fastest."""
        return product(*map(range, self.shape))

    def numbers(self):
        """All numbers, in the order of their indices."""
        return [self.memory[self.position(index)] for index in self.indices()]

    def __getitem__(self, key):
        """A view: an int takes one place of a dim and leaves it out, a slice takes some; other dims stay whole."""
        key = key if isinstance(key, tuple) else (key,)
        if len(key) > len(self.shape):
            raise IndexError(f"wanted at most {len(self.shape)} indices, got {len(key)}")
        shape, strides, offset = [], [], self.offset
        for i, (size, stride) in enumerate(zip(self.shape, self.strides)):
            part = key[i] if i < len(key) else slice(None)
            if isinstance(part, slice):
                places = range(size)[part]
                shape.append(len(places))
                strides.append(stride * places.step)
                offset += stride * places.start
            else:
                offset += stride * range(size)[part]
        return Array(self.memory, shape, strides, offset)

    def permute(self, *dims):
        """The dims in another order: shape and strides change places, and no number moves."""
        return Array(self.memory, [self.shape[d] for d in dims], [self.strides[d] for d in dims], self.offset)

    def expand(self, *shape):
        """Broadcast: a new dim in front, or one of size 1, is repeated by a stride of 0."""
        new = len(shape) - len(self.shape)
        sizes, strides = (1,) * new + self.shape, (0,) * new + self.strides
        if new < 0 or any(old not in (1, size) for old, size in zip(sizes, shape)):
            raise ValueError(f"shape {self.shape} can't be broadcast to {tuple(shape)}")
        return Array(
            self.memory, shape, [0 if old != size else s for old, size, s in zip(sizes, shape, strides)], self.offset
        )

    def reshape(self, *shape):
        """The same numbers in another shape: a view where memory has them in order, else a copy."""
        if prod(shape) != prod(self.shape):
            raise ValueError(f"{prod(self.shape)} numbers don't fit into shape {tuple(shape)}")
        in_order = self.strides == contiguous(self.shape)
        return Array(self.memory, shape, offset=self.offset) if in_order else Array(self.numbers(), shape)

    def map(self, operation, *others):
        """A new array of operation(x, y, …) of numbers that stand in the same place, after broadcasting."""
        shape = broadcast(self.shape, *[other.shape for other in others])
        arrays = [array.expand(*shape).numbers() for array in (self, *others)]
        return Array([operation(*numbers) for numbers in zip(*arrays)], shape)


def contiguous(shape):
    """The strides of an array whose numbers follow each other, the last dim fastest."""
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def broadcast(*shapes):
    """The shape to which all of these are broadcast: aligned at their ends, a 1 takes the other's size."""
    dims = max(map(len, shapes))
    columns = zip(*[(1,) * (dims - len(shape)) + shape for shape in shapes])
    out = tuple(max(sizes, key=lambda size: size != 1) for sizes in columns)
    for shape in shapes:
        if any(size not in (1, wanted) for size, wanted in zip(shape[::-1], out[::-1])):
            raise ValueError(f"shapes {' and '.join(map(str, shapes))} can't be broadcast together")
    return out
