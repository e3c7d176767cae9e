"""Devices: on this rung all arrays are in the host's memory, and the device of each is "cpu"."""

import numpy as np


class device(str):
    """The name of a device, as `torch.device`: "cpu", with its `type` and its `index`."""

    def __new__(cls, type, index=None):
        kind, _, number = str(type).partition(":")
        if kind != "cpu" or not (number or "0").isdecimal():
            raise RuntimeError(f"device: wanted 'cpu', the only one before rung 5, got {type!r}")
        name = super().__new__(cls, kind)
        name.type, name.index = kind, int(number) if number else index
        return name


CPU = device("cpu")


def device_of(array):
    """The device of an array."""
    return CPU


def moved(array, to):
    """The array on a device: on this rung the array itself."""
    device(to)
    return array


def module_of(to):
    """The module whose functions make arrays on a device; None is the host."""
    if to is not None:
        device(to)
    return np


def on_host(array):
    """Whether an array is in the host's memory."""
    return True


def within(index, size):
    """Whether all indices lie from 0 to size − 1."""
    return not index.size or 0 <= index.min() <= index.max() < size


def number(array):
    """The number in a 0-d array."""
    return array.item()


def check_same_device(op, *arrays):
    """TypeError unless all arrays among the arguments are on one device, which they are on this rung."""


def random(like, generator):
    """Random numbers from 0 to 1 in the shape of an array, and on its device."""
    return generator.random(like.shape)
