"""What trains a network besides the network: so far, its data."""

from . import data

__all__ = ["data"]
