"""`backward` and `grad` of several tensors, and ops with a custom backward function, as in `torch.autograd`."""

import numpy as np

from . import inplace
from .engine import Tensor, _node, array_of, constant, topological_order
from .grad_mode import is_grad_enabled, no_grad
from .ops import new_zeros

__all__ = ["Function", "Variable", "backward", "grad"]


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, inputs=None):
    """Add the gradient of Σ(tensors·grad_tensors), of ones by default, to the `grad` of every leaf they were made from.

    With `inputs`, to the `grad` of these alone.
    """
    if inputs is None:
        total, gradient = _one(tensors, grad_tensors)
        total.backward(gradient, retain_graph, create_graph)
        return
    inputs = _sequence(inputs)
    for x, g in zip(inputs, grad(tensors, inputs, grad_tensors, retain_graph, create_graph, allow_unused=True)):
        if g is not None:
            x.grad = g if x.grad is None else x.grad + g


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph=None,
    create_graph=False,
    only_inputs=True,
    allow_unused=None,
    is_grads_batched=False,
    materialize_grads=False,
):
    """The gradients of Σ(outputs·grad_outputs), of ones by default, to the inputs: a tuple. No `.grad` changes.

    For an input that the outputs weren't made from, an error, None (allow_unused) or zeros (materialize_grads).
    """
    if create_graph or is_grads_batched or not only_inputs:
        raise NotImplementedError("grad: create_graph, is_grads_batched and only_inputs=False are not supported")
    if materialize_grads and allow_unused is False:
        raise ValueError("grad: allow_unused=False and materialize_grads=True exclude each other")
    inputs = _sequence(inputs)
    if not all([x.requires_grad for x in inputs]):
        raise RuntimeError("grad: one of the inputs requires no grad")
    total, gradient = _one(outputs, grad_outputs)
    nodes = {total, *topological_order(total)}
    reached = nodes.union(*[inplace.inputs_then(tensor) for tensor in nodes])
    before = [(x, x._grad) for x in reached]
    try:
        for x in reached:
            x._grad = None
        total.backward(gradient, retain_graph)
        found = [x._grad if x in reached else None for x in inputs]
    finally:
        for x, g in before:
            x._grad = g
    if not (allow_unused or materialize_grads) and any([g is None for g in found]):
        raise RuntimeError("grad: the outputs weren't made from one of the inputs; allow_unused=True gives None for it")
    if materialize_grads:
        return tuple([x.new_zeros(x.shape) if g is None else constant(g) for x, g in zip(inputs, found)])
    return tuple([None if g is None else constant(g) for g in found])


def _sequence(tensors):
    return (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)


def _one(tensors, gradients):
    """One tensor and its gradient, in the place of several: the sum of the products."""
    tensors = _sequence(tensors)
    gradients = (None,) * len(tensors) if gradients is None else _sequence(gradients)
    if len(gradients) != len(tensors):
        raise RuntimeError(f"backward: wanted a gradient for each of {len(tensors)} tensors, got {len(gradients)}")
    if len(tensors) == 1:
        return tensors[0], gradients[0]
    return sum([(x if g is None else x * g).sum() for x, g in zip(tensors, gradients)]), None


def Variable(data, requires_grad=False, volatile=None):
    """The tensor itself, as a leaf: PyTorch's tensors needed this before 2018. `volatile` does nothing any more."""
    leaf = data.detach()
    leaf.requires_grad = requires_grad
    return leaf


class Function:
    """A custom op. A subclass has two static methods, and is called by `apply`:

    `forward(ctx, x, …)` returns the output, or a tuple of them, and can save in `ctx` what `backward` needs;
    `backward(ctx, g, …)` takes a gradient for each output and returns one for each argument of `forward`, or None.
    Where `forward` takes no `ctx`, `setup_context(ctx, inputs, output)` fills it. In all three nothing is recorded.
    """

    @staticmethod
    def forward(*args):
        raise NotImplementedError("Function: a subclass has its own forward()")

    @staticmethod
    def backward(ctx, *gradients):
        raise NotImplementedError("Function: a subclass has its own backward()")

    setup_context = None

    @classmethod
    def apply(cls, *args):
        """The output of `forward`; it records `backward` if a tensor among the arguments requires grad."""
        ctx = Context()
        ctx.needs_input_grad = tuple([isinstance(x, Tensor) and x.requires_grad for x in args])
        with no_grad():
            if cls.setup_context is None:
                out = cls.forward(ctx, *args)
            else:
                out = cls.forward(*args)
                cls.setup_context(ctx, args, out)
        if not (any(ctx.needs_input_grad) and is_grad_enabled()):
            return out
        outputs = out if isinstance(out, tuple) else (out,)
        nodes = tuple([cls._recorded(ctx, args, outputs, i) for i in range(len(outputs))])
        return nodes if isinstance(out, tuple) else nodes[0]

    @classmethod
    def _recorded(cls, ctx, args, outputs, i):
        """Output i, as a node of the graph. Each output has a backward function, and their results add up."""
        shapes = [x.shape if isinstance(x, Tensor) else None for x in args]
        sizes = [x.shape if isinstance(x, Tensor) and ctx.materialize else None for x in outputs]

        def way_back(g):
            gradients = [None if size is None else constant(new_zeros(np.empty_like(g), size)) for size in sizes]
            gradients[i] = constant(g.copy())
            with no_grad():
                back = cls.backward(ctx, *gradients)
            back = back if isinstance(back, tuple | list) else (back,)
            if len(back) < len(shapes) or any([b is not None for b in back[len(shapes) :]]):
                raise RuntimeError(f"{cls.__name__}: wanted {len(shapes)} gradients from backward, got {len(back)}")
            return [cls._own(shape, b) for shape, b in zip(shapes, back) if shape is not None]

        out = outputs[i]
        if not isinstance(out, Tensor) or out.dtype.kind != "f" or any([out is x for x in ctx.constants]):
            return out
        return _node(out._data, cls.__name__, tuple([x for x in args if isinstance(x, Tensor)]), way_back)

    @classmethod
    def _own(cls, shape, gradient):
        """The array of a gradient, or None: a copy, as `backward` may give one twice, or one that it keeps."""
        if gradient is None:
            return None
        if not isinstance(gradient, Tensor):
            raise RuntimeError(f"{cls.__name__}: wanted Tensors or None from backward, got {type(gradient).__name__}")
        found = gradient.shape
        if len(found) < len(shape) or not all([n in (1, m) for n, m in zip(shape[::-1], found[::-1])]):
            raise RuntimeError(f"{cls.__name__}: wanted a gradient of {tuple(shape)} from backward, got {tuple(found)}")
        return gradient._data.copy()


class Context:
    """What `forward` saves for `backward`, as attributes, and what it says about its outputs."""

    constants, materialize = (), True
    _saved, _made = (), 0

    def save_for_backward(self, *tensors):
        """Keep tensors, as `saved_tensors`."""
        self._saved, self._made = tensors, next(inplace.clock)

    @property
    def saved_tensors(self):
        """What was saved; an error if it was changed in place since."""
        if inplace._changed_since([array_of(x) for x in self._saved if x is not None], self._made):
            raise RuntimeError("saved_tensors: one was changed in place after it was saved for backward()")
        return self._saved

    saved_variables = saved_tensors

    def mark_non_differentiable(self, *outputs):
        """Declare that no gradient goes through these outputs."""
        self.constants = outputs

    def set_materialize_grads(self, value):
        """Say whether `backward` gets zeros for an output that nothing was made from, or None."""
        self.materialize = value

    def mark_dirty(self, *tensors):
        """Refused: a Function that changes its arguments in place isn't supported."""
        raise NotImplementedError("mark_dirty: a Function that changes its arguments in place is not supported")


def once_differentiable(function):
    """The function itself, since gradients of gradients aren't supported."""
    return function
