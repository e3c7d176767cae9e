"""The functions that the modules call, as in `torch.nn.functional`; weights are arguments."""

import math
import warnings

import numpy as np

from .. import activations, inplace, losses, ops, pointwise, selection
from ..conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d, fold, unfold  # noqa: F401
from ..device import on_host, random, within
from ..engine import Size, Tensor, apply, array_of, changed, constant
from ..functions import where
from ..grad_mode import is_grad_enabled
from ..padding import pad  # noqa: F401
from ..pooling import (  # noqa: F401
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from ..random import default_generator
from ..resize import interpolate, pixel_shuffle, pixel_unshuffle  # noqa: F401

# Layers


def linear(input, weight, bias=None):
    """x Wᵀ + b: (…, in), (out, in), (out,) -> (…, out)."""
    return apply(ops.linear, (input, weight) if bias is None else (input, weight, bias))


def bilinear(input1, input2, weight, bias=None):
    """x₁ᵀ Wₖ x₂ + bₖ: (…, in1), (…, in2), (out, in1, in2), (out,) -> (…, out)."""
    out = ((input1.unsqueeze(-2).unsqueeze(-2) @ weight).squeeze(-2) * input2.unsqueeze(-2)).sum(-1)
    return out if bias is None else out + bias


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of weight at the indices in input; that of padding_idx gets no gradient."""
    refuse("embedding", max_norm=max_norm, scale_grad_by_freq=scale_grad_by_freq or None, sparse=sparse or None)
    index = _indices(input, weight.shape[0], "Embedding")
    rows = weight[index]
    if padding_idx is None:
        return rows
    padded = (index == padding_idx % weight.shape[0])[..., None]
    return apply(ops.where, (rows.detach(), rows), padded)


def one_hot(tensor, num_classes=-1):
    """A row of zeros for each integer, with 1 at that index: any shape -> (that shape, num_classes)."""
    index = array_of(tensor)
    if num_classes == -1:
        num_classes = int(index.max()) + 1
    index = _indices(index, num_classes, "one_hot")
    return constant((index[..., None] == np.arange(num_classes, like=index)).astype(np.int64))


def dropout(input, p=0.5, training=True, inplace=False):
    """In training, each number becomes 0 with probability p, and the others are scaled by 1/(1 − p)."""
    return _dropped("dropout", input, p, training, inplace, input._data.shape)


def dropout1d(input, p=0.5, training=True, inplace=False):
    """dropout of whole channels of (N, C, L) or (C, L)."""
    if input.ndim not in (2, 3):
        raise ValueError(f"dropout1d: wanted (N, C, L) or (C, L), got {tuple(input.shape)}")
    return _dropped("dropout1d", input, p, training, inplace, (*input.shape[:-1], 1))


def dropout2d(input, p=0.5, training=True, inplace=False):
    """dropout of whole channels of (N, C, H, W); with other than four dims it is, as in PyTorch, of (N, C, …)."""
    if input.ndim < 2:
        raise ValueError(f"dropout2d: wanted (N, C, H, W), got {tuple(input.shape)}")
    if input.ndim != 4:
        warnings.warn(f"dropout2d: {tuple(input.shape)} is taken for (N, C, …), not for (N, C, H, W)", stacklevel=2)
    return _dropped("dropout2d", input, p, training, inplace, input.shape[:2] + (1,) * (input.ndim - 2))


def _dropped(op, input, p, training, in_place, shape):
    """The input times a random mask of the shape, which broadcasts."""
    if not 0 <= p <= 1:
        raise ValueError(f"{op}: wanted a probability from 0 to 1, got {p}")
    if not training or p == 0:
        return input
    data = input._data
    kept = random(data if shape == data.shape else np.empty_like(data, shape=shape), default_generator.numpy) >= p
    scale = (kept / max(1 - p, 1e-30)).astype(data.dtype)
    return _elementwise(ops.mul, input, in_place, scale)


# Normalization


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Each example normalized over its last dims to mean 0 and variance 1, then weight·x̂ + bias."""
    shape = tuple(normalized_shape)
    if input._data.shape[-len(shape) :] != shape:
        raise ValueError(f"LayerNorm: wanted last dims {shape}, got {input._data.shape}")
    return _normalized(input, weight, bias, eps, tuple(range(input.ndim - len(shape), input.ndim)), shape)


@np.errstate(all="ignore")
def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Each channel, in dim 1, normalized to mean 0 and variance 1, then weight·x̂ + bias.

    In training mean and variance are the batch's, and the running ones, if given, are updated with momentum.
    """
    shape = input._data.shape
    if len(shape) < 2:
        raise ValueError(f"batch_norm: wanted (N, C, …), got {shape}")
    if input.dtype == np.float16:  # in which squares don't fit
        numbers = input.to(np.float32), running_mean, running_var, weight, bias
        return batch_norm(*numbers, training, momentum, eps).to(np.float16)
    channels = (1, -1) + (1,) * (len(shape) - 2)
    weight = weight if weight is None else weight.reshape(channels)
    bias = bias if bias is None else bias.reshape(channels)
    if not training:
        scale = 1 / np.sqrt(array_of(running_var) + eps).reshape(channels)
        out = (input - array_of(running_mean).reshape(channels)) * (scale if weight is None else weight * scale)
        return out if bias is None else out + bias
    dim = (0, *range(2, len(shape)))
    n = math.prod([shape[i] for i in dim])
    if n == 1:
        raise ValueError(f"batch_norm: training needs more than one number per channel, got {shape}")
    mean, var = ops.moments(input._data, dim)
    for running, of_batch in ((running_mean, mean), (running_var, var * (n / (n - 1)))):
        if running is not None and n:
            running = array_of(running)
            running += momentum * (of_batch.ravel() - running)
            changed(running)
    return _scaled(input, weight, bias, mean, var, eps, dim, mean.shape)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Each group of channels of an example normalized to mean 0 and variance 1, then weight·x̂ + bias."""
    n, c = input.shape[:2]
    if num_groups < 1 or c % num_groups:
        raise ValueError(f"group_norm: {c} channels don't divide into {num_groups} groups")
    groups = input.reshape(n, num_groups, math.prod(input.shape[1:]) // num_groups)
    out = _normalized(groups, None, None, eps, (2,), (1,)).reshape(input.shape)
    channels = (-1,) + (1,) * (input.ndim - 2)
    out = out if weight is None else out * weight.reshape(channels)
    return out if bias is None else out + bias.reshape(channels)


def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    """Each channel of each example normalized to mean 0 and variance 1, then weight·x̂ + bias."""
    refuse("instance_norm", running_mean=running_mean, running_var=running_var)
    if not use_input_stats:
        raise NotImplementedError("instance_norm: use_input_stats=False is not supported")
    if math.prod(input.shape[2:]) == 1:
        raise ValueError(f"instance_norm: wanted more than one number per channel, got {tuple(input.shape)}")
    return group_norm(input, input.shape[1], weight, bias, eps)


@np.errstate(all="ignore")
def _normalized(input, weight, bias, eps, dim, shape):
    return _scaled(input, weight, bias, *ops.moments(input._data, dim), eps, dim, shape)


def _scaled(input, weight, bias, mean, var, eps, dim, shape):
    """weight·x̂ + bias, where both have that shape and may be missing."""
    weight = np.ones_like(input._data, shape=shape) if weight is None else weight
    bias = np.zeros_like(input._data, shape=shape) if bias is None else bias
    return apply(ops.normalize, (input, weight, bias), mean, var, eps, dim)


def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """x/max(‖x‖ₚ, ε) along dim: vectors of length 1."""
    refuse("normalize", out=out)
    return input / apply(selection.norm, (input,), p, dim, True).clip(min=eps)


def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x₁·x₂/(max(‖x₁‖, ε)·max(‖x₂‖, ε)) along dim: the cosine of the angle between them."""
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    x1, x2 = (x.expand(shape) for x in (x1, x2))
    return (normalize(x1, 2.0, dim, eps) * normalize(x2, 2.0, dim, eps)).sum(dim)


def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """‖x₁ − x₂ + ε‖ₚ along the last dim."""
    return apply(selection.norm, (x1 - x2 + eps,), p, -1, keepdim)


# Activations


def relu(input, inplace=False):
    """max(x, 0)."""
    return _elementwise(ops.relu, input, True) if inplace else input.relu()


def leaky_relu(input, negative_slope=0.01, inplace=False):
    """x where x > 0, else negative_slope·x."""
    return _elementwise(activations.leaky_relu, input, inplace, negative_slope)


def prelu(input, weight):
    """x where x > 0, else weight·x, with one weight or one for each channel in dim 1."""
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight._data.size not in (1, channels):
        raise ValueError(f"prelu: wanted 1 weight or {channels}, got {tuple(weight.shape)} for {tuple(input.shape)}")
    shape = (-1,) + (1,) * (input.ndim - 2) if input.ndim else ()
    return apply(activations.prelu, (input, weight.reshape(shape)))


def threshold(input, threshold, value, inplace=False):
    """x where x > threshold, else value."""
    return _elementwise(activations.threshold, input, inplace, threshold, value)


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """min(max(x, min_val), max_val)."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: wanted min_val up to max_val, got {min_val} and {max_val}")
    return _elementwise(activations.hardtanh, input, inplace, min_val, max_val)


def relu6(input, inplace=False):
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardsigmoid(input, inplace=False):
    """min(max(x + 3, 0), 6)/6."""
    return _elementwise(activations.hardsigmoid, input, inplace)


def hardswish(input, inplace=False):
    """x·min(max(x + 3, 0), 6)/6."""
    return _elementwise(activations.hardswish, input, inplace)


def elu(input, alpha=1.0, inplace=False):
    """x where x > 0, else α(eˣ − 1)."""
    return _elementwise(activations.elu, input, inplace, alpha, 1.0, 1.0)


def selu(input, inplace=False):
    """scale·x where x > 0, else scale·α(eˣ − 1), with the two numbers that keep mean 0 and variance 1."""
    return _elementwise(activations.elu, input, inplace, 1.6732632423543772, 1.0507009873554805, 1.0)


def celu(input, alpha=1.0, inplace=False):
    """x where x > 0, else α(eˣᐟᵅ − 1)."""
    return _elementwise(activations.elu, input, inplace, alpha, 1.0, 1 / alpha)


def silu(input, inplace=False):
    """x·σ(x)."""
    return _elementwise(activations.silu, input, inplace)


def mish(input, inplace=False):
    """x·tanh(softplus(x))."""
    return _elementwise(activations.mish, input, inplace)


def relu_(input):
    return relu(input, inplace=True)


def leaky_relu_(input, negative_slope=0.01):
    return leaky_relu(input, negative_slope, inplace=True)


def threshold_(input, threshold, value):
    return _elementwise(activations.threshold, input, True, threshold, value)


def hardtanh_(input, min_val=-1.0, max_val=1.0):
    return hardtanh(input, min_val, max_val, inplace=True)


def elu_(input, alpha=1.0):
    return elu(input, alpha, inplace=True)


def selu_(input):
    return selu(input, inplace=True)


def celu_(input, alpha=1.0):
    return celu(input, alpha, inplace=True)


def _elementwise(rule, input, in_place, *args):
    """The rule applied to the input, in place if asked."""
    if not in_place:
        return apply(rule, (input,), *args)
    return inplace.update(f"{rule.__name__}_", input, lambda x: apply(rule, (x,), *args))


def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + eᵝˣ)/β, which is x where βx > threshold."""
    return apply(activations.softplus, (input,), beta, threshold)


def softsign(input):
    """x/(1 + |x|)."""
    return input / (1 + input.abs())


def softshrink(input, lambd=0.5):
    """x − λ where x > λ, x + λ where x < −λ, else 0."""
    if lambd < 0:
        raise ValueError(f"softshrink: wanted a lambd of at least 0, got {lambd}")
    return apply(activations.softshrink, (input,), lambd)


def hardshrink(input, lambd=0.5):
    """x, and 0 where |x| ≤ λ."""
    return apply(activations.hardshrink, (input,), lambd)


def tanhshrink(input):
    """x − tanh x."""
    return input - input.tanh()


def tanh(input):
    """tanh x."""
    return input.tanh()


def sigmoid(input):
    """1/(1 + e⁻ˣ)."""
    return input.sigmoid()


def logsigmoid(input):
    """log(1/(1 + e⁻ˣ))."""
    return apply(ops.logsigmoid, (input,))


def gelu(input, approximate="none"):
    """x·Φ(x), where Φ is the normal distribution function or, with "tanh", a faster approximation."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate: wanted 'none' or 'tanh', got {approximate!r}")
    return apply(ops.gelu if approximate == "none" else activations.gelu_tanh, (input,))


def glu(input, dim=-1):
    """a·σ(b) for the two halves of the input along dim."""
    n, rest = divmod(input.shape[dim], 2)
    if rest:
        raise ValueError(f"glu: dim {dim} of {tuple(input.shape)} doesn't divide into halves")
    before = (slice(None),) * (dim % input.ndim)
    return input[(*before, slice(n))] * input[(*before, slice(n, None))].sigmoid()


def softmax(input, dim=None, _stacklevel=3, dtype=None):
    """eˣⁱ/Σⱼeˣʲ over dim."""
    return _cast(input, dtype).softmax(_some_dim("softmax", input, dim, _stacklevel))


def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """softmax((x + Gumbel noise)/τ) over dim, or with `hard` 1 at its maximum and else 0, with the same gradient.

    The maximum is a sample of softmax(x) (Jang et al. 2016). `eps` is without effect, as in PyTorch.
    """
    noise = -constant(np.empty_like(logits._data)).exponential_().log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    sample = one_hot(soft.argmax(dim), soft.shape[dim]).to(soft.dtype).movedim(-1, dim)
    return sample - soft.detach() + soft


def log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """log softmax(x) over dim."""
    return _cast(input, dtype).log_softmax(_some_dim("log_softmax", input, dim, _stacklevel))


def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """softmax(−x) over dim."""
    return (-_cast(input, dtype)).softmax(_some_dim("softmin", input, dim, _stacklevel))


def _cast(input, dtype):
    return input if dtype is None else input.to(dtype)


def _some_dim(op, input, dim, stacklevel):
    """The dim, or the one that PyTorch takes where none is given, with its warning."""
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {op} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if input.ndim in (0, 1, 3) else 1


# Losses: `reduction` is "mean", "sum" or "none"


def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """(input − target)²."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    return _weighted((input - _broadcast(input, target, weight)) ** 2, weight, reduction)


def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """|input − target|."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    return _weighted((input - _broadcast(input, target, weight)).abs(), weight, reduction)


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """d²/2 where |d| = |input − target| < δ, else δ·(|d| − δ/2) (Huber 1964)."""
    if delta <= 0:
        raise ValueError(f"huber_loss: wanted a delta above 0, got {delta}")
    loss = apply(losses.huber, (input - _broadcast(input, target, weight),), delta)
    return _reduced(loss if weight is None else loss * weight, reduction)


def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """huber_loss/β with δ = β, and l1_loss for β = 0."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: wanted a beta of at least 0, got {beta}")
    difference = input - _broadcast(input, target)
    return _reduced(apply(losses.huber, (difference,), beta) / beta if beta else difference.abs(), reduction)


def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """−input[target]: log-probabilities (N, C, …) or (C,), class indices (N, …) or ().

    Each counts by its class's weight, also in the mean, and not at all where its class is ignore_index.
    """
    reduction = _legacy_reduction(size_average, reduce, reduction)
    return _of_classes("nll_loss", losses.negative_log_likelihood, input, target, weight, ignore_index, reduction)


def cross_entropy(
    input,
    target,
    weight=None,
    size_average=None,
    ignore_index=-100,
    reduce=None,
    reduction="mean",
    label_smoothing=0.0,
):
    """−log softmax(input)[target]: logits (N, C, …) or (C,), class indices (N, …) or probabilities of input's shape.

    Each counts by its class's weight, also in the mean, and not at all where its class is ignore_index. (On the GPU,
    which nobody looks into, −100 is no class: the loss is NaN.) label_smoothing is dealt out to all classes alike.
    """
    reduction = _legacy_reduction(size_average, reduce, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: wanted a label_smoothing from 0 to 1, got {label_smoothing}")
    if array_of(target).dtype.kind != "f":
        options = weight, ignore_index, reduction, label_smoothing
        return _of_classes("cross_entropy", ops.cross_entropy, input, target, *options)
    _same_shape("cross_entropy", input, target)
    dim = _class_dim(input)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[dim]
    loss = -(_by_class(input.log_softmax(dim), weight, dim) * target).sum(dim)
    return loss.sum() / max(math.prod(loss.shape), 1) if reduction == "mean" else _reduced(loss, reduction)


def _of_classes(op, rule, input, target, weight, ignore_index, reduction, smoothing=0.0):
    """The losses of class indices, by a rule for inputs (N, C)."""
    dim, target, shape = _class_dim(input), array_of(target), input._data.shape
    classes = shape[dim]
    if target.dtype.kind not in "iu":
        raise TypeError(f"{op}: wanted integer indices, got {target.dtype}")
    if target.shape != shape[:dim] + shape[dim + 1 :]:
        raise ValueError(f"{op}: logits {shape} do not fit class indices {target.shape}")
    kept = None
    if ignore_index != -100 or not within(target, classes):
        kept = target != ignore_index
        target = _indices(np.where(kept, target, 0), classes, op)
    if len(shape) == 2:
        loss = apply(rule, (input,), target)
    else:
        rows = input.permute(*range(dim), *range(dim + 1, input.ndim), dim).reshape(-1, classes)
        loss = apply(rule, (rows,), target.ravel()).reshape(target.shape)
    if kept is None and weight is None and not smoothing:
        return _reduced(loss, reduction)
    share = ops.new_zeros(input._data, target.shape) + 1 if weight is None else _fixed(op, "weight", weight)[target]
    loss = loss * share
    if smoothing:
        to_all = -_by_class(input.log_softmax(dim), weight, dim).sum(dim)
        loss = (1 - smoothing) * loss + smoothing / classes * to_all
    if kept is not None:
        loss, share = where(kept, loss, 0.0), share * kept
    return loss.sum() / share.sum() if reduction == "mean" else _reduced(loss, reduction)


def _class_dim(input):
    return min(input.ndim - 1, 1)


def _by_class(x, weight, dim):
    """x with each class, along dim, times its weight."""
    return x if weight is None else x * weight.reshape((-1,) + (1,) * (x.ndim - 1 - dim))


def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """−t·log x − (1 − t)·log(1 − x) for probabilities x and targets t from 0 to 1, of input's shape."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    _same_shape("binary_cross_entropy", input, target)
    if on_host(input._data) and not ((input._data >= 0) & (input._data <= 1)).all():
        raise RuntimeError("binary_cross_entropy: all elements of input should be between 0 and 1")
    loss = apply(losses.binary_cross_entropy, (input, target))
    return _reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):
    """−w·t·log σ(x) − (1 − t)·log(1 − σ(x)) for targets t from 0 to 1, of input's shape; w is pos_weight."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    _same_shape("binary_cross_entropy_with_logits", input, target)
    weights = () if pos_weight is None else (_fixed("binary_cross_entropy_with_logits", "pos_weight", pos_weight),)
    loss = apply(losses.binary_cross_entropy_with_logits, (input, target), *weights)
    return _reduced(loss if weight is None else loss * weight, reduction)


def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """t·(log t − x) for log-probabilities x and probabilities t or, with log_target, their logarithms.

    "batchmean", the sum divided by the size of the batch, is what mathematics means; "mean" has PyTorch's warning.
    """
    reduction = _legacy_reduction(size_average, reduce, reduction)
    target = _tensor(target)
    loss = target.exp() * (target - input) if log_target else apply(pointwise.xlogy, (target, target)) - target * input
    if reduction == "batchmean":
        return loss.sum() / (input.shape[0] if input.ndim else 1)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition.",
            stacklevel=2,
        )
    return _reduced(loss, reduction)


def hinge_loss(input, target, reduction="mean"):
    """max(0, 1 − t·x) for targets −1 and 1, of input's shape: the max-margin loss, which PyTorch hasn't got."""
    _same_shape("hinge_loss", input, target)
    return _reduced((1 - target * input).relu(), reduction)


def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    """x where the target is 1, max(0, margin − x) where it is −1."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    far, near = where(target != 1, (margin - input).clamp(min=0), 0.0), where(target != -1, input, 0.0)
    return _reduced(far + near, reduction)


def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """log(1 + e^(−t·x)) for targets −1 and 1."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    return _reduced(-logsigmoid(target * input), reduction)


def margin_ranking_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """max(0, margin − t·(x₁ − x₂)): with t = 1, x₁ is to be larger by the margin, with −1 smaller."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    return _reduced((margin - target * (input1 - input2)).clamp(min=0), reduction)


def cosine_embedding_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """1 − cos(x₁, x₂) where the target is 1, max(0, cos(x₁, x₂) − margin) where it is −1; cos is along the last dim."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    squares = ((x * x).sum(-1) + 1e-12 for x in (input1, input2))
    cosine = (input1 * input2).sum(-1) / math.prod(squares).sqrt()
    near, far = where(target == 1, 1 - cosine, 0.0), where(target == -1, (cosine - margin).clamp(min=0), 0.0)
    return _reduced(near + far, reduction)


def triplet_margin_loss(
    anchor,
    positive,
    negative,
    margin=1.0,
    p=2,
    eps=1e-6,
    swap=False,
    size_average=None,
    reduce=None,
    reduction="mean",
):
    """max(0, ‖a − p‖ − ‖a − n‖ + margin); with swap, ‖p − n‖ is taken where it is the smaller of the negative's."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = far.minimum(pairwise_distance(positive, negative, p, eps))
    return _reduced((margin + near - far).clamp(min=0), reduction)


def poisson_nll_loss(
    input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"
):
    """eˣ − t·x for the logarithm x of a Poisson rate, or x − t·log(x + ε) for the rate; full adds about log t!."""
    reduction = _legacy_reduction(size_average, reduce, reduction)
    target = _tensor(target)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        above = where(target > 1, target, 1.0)
        loss = loss + where(target > 1, above * above.log() - above + 0.5 * (2 * math.pi * above).log(), 0.0)
    return _reduced(loss, reduction)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """(log v + (x − t)²/v)/2 with a variance v of at least ε; full adds log(2π)/2."""
    var = _tensor(var) if hasattr(var, "dtype") else constant(np.full_like(input._data, var))
    if on_host(var._data) and (var._data < 0).any():
        raise ValueError("gaussian_nll_loss: var has negative entry/entries")
    if var.shape != input.shape:
        if var.shape == input.shape[:-1]:
            var = var.unsqueeze(-1)
        elif var.ndim != input.ndim or sum(m for n, m in zip(input.shape, var.shape) if n != m) != 1:
            raise ValueError(f"gaussian_nll_loss: var {tuple(var.shape)} doesn't fit input {tuple(input.shape)}")
    var = where(var < eps, var + (eps - var.detach()), var)  # the gradient goes through, as in PyTorch
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)
    return _reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


# Helpers


def _fixed(op, name, x):
    """The array of an argument that gets no gradient. RuntimeError, as in PyTorch, if it requires grad."""
    if getattr(x, "requires_grad", False) and is_grad_enabled():
        raise RuntimeError(f"{op} is not differentiable with respect to {name}, which can't require grad")
    return array_of(x)


def refuse(op, **options):
    """NotImplementedError for the first of the options that isn't None."""
    for name, value in options.items():
        if value is not None:
            raise NotImplementedError(f"{op}: {name}={value!r} is not supported")


def _legacy_reduction(size_average, reduce, reduction):
    """The reduction, also by the two arguments that it has taken the place of."""
    if size_average is None and reduce is None:
        return reduction
    reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(f"size_average and reduce are deprecated: give reduction={reduction!r}", stacklevel=4)
    return reduction


def _reduced(loss, reduction):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: wanted 'mean', 'sum' or 'none', got {reduction!r}")
    return loss if reduction == "none" else getattr(loss, reduction)()


def _weighted(loss, weight, reduction):
    if weight is None:
        return _reduced(loss, reduction)
    loss = loss * weight
    return loss.sum() / weight.sum() if reduction == "mean" else _reduced(loss, reduction)


def _broadcast(input, target, weight=None):
    """The target, with PyTorch's warning if it is of another shape."""
    wanted, shape = input._data.shape, array_of(target).shape
    if shape != wanted:
        warnings.warn(
            f"Using a target size ({Size(shape)}) that is different to the input size ({Size(wanted)}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )
    if weight is not None and array_of(weight).shape != wanted:
        raise ValueError(f"weight: wanted one for each number of input, {wanted}, got {array_of(weight).shape}")
    return target


def _same_shape(op, input, target):
    if input._data.shape != array_of(target).shape:
        raise ValueError(f"{op}: input {input._data.shape} and target {array_of(target).shape} differ in shape")


def _tensor(x):
    return x if isinstance(x, Tensor) else constant(array_of(x))


def _indices(index, size, op):
    """The array of indices, each checked to lie from 0 to size − 1 if the host need not wait for the GPU to do so."""
    index = array_of(index)
    if index.dtype.kind not in "iu":
        raise TypeError(f"{op}: wanted integer indices, got {index.dtype}")
    if not within(index, size):
        raise IndexError(f"{op}: wanted indices from 0 to {size - 1}, got {index.min()} to {index.max()}")
    return index
