"""Distributions to sample from, with log-probabilities, as `torch.distributions`."""

import math

import numpy as np

from .creation import as_tensor, full_like, zeros_like
from .engine import Tensor
from .functions import where
from .nn.functional import binary_cross_entropy_with_logits
from .random import default_generator, multinomial, normal


def _tensors(*values):
    """The parameters of a distribution as tensors of one shape; numbers become float32."""
    values = [value if isinstance(value, Tensor) else as_tensor(float(value)) for value in values]
    shape = np.broadcast_shapes(*[value.shape for value in values])
    return [value.expand(shape) for value in values]


def _one_of(name, probs, logits):
    if (probs is None) == (logits is None):
        raise ValueError(f"{name}: either `probs` or `logits` must be specified, but not both")


def _within(probs):
    """Probabilities whose logarithms are finite."""
    eps = float(np.finfo(probs.dtype).eps)
    return probs.clamp(eps, 1 - eps)


class Categorical:
    """One of the integers from 0, with probabilities in proportion to `probs`, or to e^`logits`: (…, classes)."""

    def __init__(self, probs=None, logits=None, validate_args=None):
        _one_of("Categorical", probs, logits)
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
            self.logits = _within(self.probs).log()
        else:
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
            self.probs = self.logits.softmax(-1)

    def sample(self, sample_shape=()):
        """Random integers: (*sample_shape, …)."""
        rows = self.probs.detach().reshape(-1, self.probs.shape[-1])
        drawn = multinomial(rows, math.prod(sample_shape), replacement=True)
        return drawn.t().reshape((*sample_shape, *self.probs.shape[:-1]))

    def log_prob(self, value):
        """The logarithm of the probability of each integer."""
        shape = np.broadcast_shapes(value.shape, self.logits.shape[:-1])
        logits = self.logits.expand(*shape, self.logits.shape[-1])
        return logits.gather(-1, value.long().expand(shape).unsqueeze(-1)).squeeze(-1)

    def entropy(self):
        """−Σ p·log p."""
        return -(self.probs * self.logits).sum(-1)


class Bernoulli:
    """1 with probability `probs`, or σ(`logits`), else 0."""

    def __init__(self, probs=None, logits=None, validate_args=None):
        _one_of("Bernoulli", probs, logits)
        if probs is not None:
            (self.probs,) = _tensors(probs)
            within = _within(self.probs)
            self.logits = within.log() - (1 - within).log()
        else:
            (self.logits,) = _tensors(logits)
            self.probs = self.logits.sigmoid()

    def sample(self, sample_shape=()):
        """Random zeros and ones: (*sample_shape, …)."""
        return self.probs.detach().expand((*sample_shape, *self.probs.shape)).bernoulli()

    def log_prob(self, value):
        """The logarithm of the probability of each number."""
        shape = np.broadcast_shapes(value.shape, self.logits.shape)
        return -binary_cross_entropy_with_logits(self.logits.expand(shape), value.expand(shape), reduction="none")

    def entropy(self):
        """−p·log p − (1 − p)·log(1 − p)."""
        return -self.log_prob(self.probs)


class Normal:
    """The normal distribution with mean `loc` and standard deviation `scale`."""

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = _tensors(loc, scale)

    mean = property(lambda self: self.loc)
    stddev = property(lambda self: self.scale)
    variance = property(lambda self: self.scale**2)

    def rsample(self, sample_shape=()):
        """loc + scale·ε with random ε, differentiable (reparametrized): (*sample_shape, …)."""
        shape = (*sample_shape, *self.loc.shape)
        noise = normal(zeros_like(self.loc.detach()).expand(shape), 1.0, generator=default_generator)
        return self.loc + self.scale * noise

    def sample(self, sample_shape=()):
        """Random numbers, without gradients: (*sample_shape, …)."""
        return self.rsample(sample_shape).detach()

    def log_prob(self, value):
        """−(x − loc)²/(2·scale²) − log scale − log √(2π)."""
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - math.log(2 * math.pi) / 2

    def entropy(self):
        """½ + log √(2π) + log scale."""
        return 0.5 + math.log(2 * math.pi) / 2 + self.scale.log()


def kl_divergence(p, q):
    """Σ p·log(p/q), of two distributions of one kind."""
    if type(p) is not type(q):
        raise NotImplementedError(f"kl_divergence: of a {type(p).__name__} from a {type(q).__name__} is not supported")
    if isinstance(p, Normal):
        ratio = (p.scale / q.scale) ** 2
        return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())
    if isinstance(p, Categorical):
        terms = p.probs * (p.logits - q.logits)
        return where(p.probs == 0, full_like(terms, 0.0), terms).sum(-1)
    none = zeros_like(p.probs)
    return p.probs * (p.logits - q.logits) + p.log_prob(none) - q.log_prob(none)


__all__ = ["Bernoulli", "Categorical", "Normal", "kl_divergence"]
