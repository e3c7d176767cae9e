"""Whether operations are recorded: `no_grad` and related functions, under PyTorch's names."""

from contextlib import ContextDecorator
from contextvars import ContextVar
from functools import partial, wraps
from inspect import isgeneratorfunction

recording = ContextVar("recording", default=True)


class no_grad(ContextDecorator):
    """Operations inside aren't recorded, and results require no grad. Also a decorator, like `torch.no_grad`."""

    _mode = False

    def __new__(cls, function=None):
        made = super().__new__(cls)
        return made(function) if function else made

    def __call__(self, function):
        return _each_step(self._recreate_cm, function) if isgeneratorfunction(function) else super().__call__(function)

    def _recreate_cm(self):
        return type(self)()  # a new one for each call of a decorated function

    def __enter__(self):
        self._before = recording.get()
        recording.set(self._mode)

    def __exit__(self, *error):
        recording.set(self._before)


def _each_step(mode, function):
    """The generator function, whose code runs in the mode, and its caller's code outside it."""

    @wraps(function)
    def generator(*args, **options):
        steps = function(*args, **options)
        step = partial(next, steps)
        while True:
            with mode():
                try:
                    out = step()
                except StopIteration as end:
                    return end.value
            try:
                step = partial(steps.send, (yield out))
            except BaseException as error:  # thrown into the generator, as by close()
                step = partial(steps.throw, error)

    return generator


class enable_grad(no_grad):
    """Operations inside are recorded, also within `no_grad`, as with `torch.enable_grad`."""

    _mode = True


class set_grad_enabled(ContextDecorator):
    """From now on operations are recorded or, with False, not; as a context manager, until its end."""

    def __init__(self, mode):
        self._mode, self._before = bool(mode), recording.get()
        recording.set(self._mode)

    def __call__(self, function):
        recording.set(self._before)
        return _each_step(self._recreate_cm, function) if isgeneratorfunction(function) else super().__call__(function)

    def _recreate_cm(self):
        return type(self)(self._mode)  # a new one for each call of a decorated function

    def __enter__(self):
        recording.set(self._mode)

    def __exit__(self, *error):
        recording.set(self._before)


def inference_mode(mode=True):
    """As `no_grad`; with False it has no effect, like `torch.inference_mode`."""
    if callable(mode):
        return no_grad(mode)
    return no_grad() if mode else set_grad_enabled(recording.get())


def is_grad_enabled():
    """Whether operations are being recorded."""
    return recording.get()
