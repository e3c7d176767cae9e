"""Parameters: Tensors that are trained."""

import numpy as np

from ..engine import Tensor


class Parameter(Tensor):
    """A Tensor that becomes a parameter of the Module it is assigned to; made of a Tensor, it shares its memory."""

    __slots__ = ()

    def __init__(self, data=None, requires_grad=True):
        super().__init__(np.empty(0, np.float32) if data is None else data, requires_grad)
        if isinstance(data, Tensor):
            self._data = data._data
