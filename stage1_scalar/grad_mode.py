"""Whether operations are recorded: `no_grad`, under PyTorch's name."""

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
