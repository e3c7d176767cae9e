"""Whether results remember how they were made: `no_grad` and its kin, under PyTorch's names."""

from contextlib import ContextDecorator
from contextvars import ContextVar

recording = ContextVar("recording", default=True)


class set_grad_enabled(ContextDecorator):
    """From now on results remember how they were made or, with False, nothing; as a context, until its end."""

    def __init__(self, mode):
        self._mode, self._before = bool(mode), recording.get()
        recording.set(self._mode)

    def __call__(self, function):
        recording.set(self._before)
        return super().__call__(function)

    def _recreate_cm(self):
        return type(self)(self._mode)  # each call of a decorated function has its own

    def __enter__(self):
        recording.set(self._mode)

    def __exit__(self, *error):
        recording.set(self._before)


class no_grad(ContextDecorator):
    """Inside, results remember nothing and require no grad. Works as a decorator too, like `torch.no_grad`."""

    _mode = False

    def __new__(cls, function=None):
        made = super().__new__(cls)
        return made(function) if function else made

    def _recreate_cm(self):
        return type(self)()  # each call of a decorated function has its own

    def __enter__(self):
        self._before = recording.get()
        recording.set(self._mode)

    def __exit__(self, *error):
        recording.set(self._before)


class enable_grad(no_grad):
    """Inside, results remember how they were made, also within `no_grad`, as `torch.enable_grad`."""

    _mode = True


def inference_mode(mode=True):
    """As `no_grad`, and with False as if it weren't there, like `torch.inference_mode`."""
    if callable(mode):
        return no_grad(mode)
    return no_grad() if mode else set_grad_enabled(recording.get())


def is_grad_enabled():
    """Whether results remember how they were made here."""
    return recording.get()
