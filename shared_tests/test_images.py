"""Convolution, pooling, padding and scaling, beside what the cases compare: mistakes, edges and what modules show."""

import numpy as np
import pytest

from .engines import torch_engine

convolution, pooling = pytest.mark.capability("convolution"), pytest.mark.capability("pooling")
scaling = pytest.mark.capability("scaling of images")


class Given:
    """The functions under test, and images of ones to call them with."""

    def __init__(self, engine):
        self.F, self.nn, self.Tensor = engine.F, engine.nn, engine.Tensor

    def ones(self, *shape, dtype="float32"):
        return self.Tensor(np.ones(shape, dtype))

    def convolved(self, *shapes, **options):
        return self.F.conv2d(*[self.ones(*shape) for shape in shapes or [(1, 1, 5, 5), (1, 1, 3, 3)]], **options)

    def transposed(self, *shapes, **options):
        shapes = shapes or [(1, 1, 5, 5), (1, 1, 3, 3)]
        return self.F.conv_transpose2d(*[self.ones(*shape) for shape in shapes], **options)


IMAGES = r"wanted \(N, C, H, W\) or \(C, H, W\), got \(2, 2\)"
MISTAKES = {  # name -> what is wrong, and what the error says: the argument, what it got and what was wanted
    "channels": (lambda x: x.convolved((1, 2, 5, 5), (4, 3, 3, 3)), r"\(4, 3, 3, 3\).*3 channels.*\(1, 2, 5, 5\)"),
    "groups": (lambda x: x.convolved((1, 4, 5, 5), (3, 2, 3, 3), groups=2), "2 groups wants a first dim that divides"),
    "no groups": (lambda x: x.convolved(groups=0), "groups: wanted a whole number of at least 1, got 0"),
    "dtypes": (
        lambda x: x.F.conv2d(x.ones(1, 1, 5, 5), x.ones(1, 1, 3, 3, dtype="float64")),
        "float64.*got.*float32",
    ),
    "bias": (lambda x: x.convolved((1, 1, 5, 5), (2, 1, 3, 3), (3,)), r"bias: wanted \(2,\) of float32, got \(3,\)"),
    "weight": (lambda x: x.convolved((1, 1, 5, 5), (1, 1, 3)), r"weight: wanted 4 dims.*got \(1, 1, 3\)"),
    "empty weight": (lambda x: x.convolved((1, 1, 5, 5), (1, 1, 0, 3)), "weight: wanted 4 dims, none of size 0"),
    "too large": (lambda x: x.convolved((1, 1, 2, 2), (1, 1, 3, 3)), r"\(3, 3\).*\(2, 2\)"),
    "rows": (lambda x: x.F.conv1d(x.ones(5), x.ones(1, 1, 3)), r"conv1d: wanted \(N, C, L\) or \(C, L\), got \(5,\)"),
    "stride": (lambda x: x.convolved(stride=0), "stride: wanted a whole number of at least 1, or two, got 0"),
    "half a stride": (
        lambda x: x.convolved(stride=1.5),
        "stride: wanted a whole number of at least 1, or two, got 1.5",
    ),
    "padding": (lambda x: x.convolved(padding=-1), "padding: wanted a whole number of at least 0, or two, got -1"),
    "a word": (lambda x: x.convolved(padding="some"), "padding: wanted numbers, 'same' or 'valid', got 'some'"),
    "same in strides": (
        lambda x: x.convolved(padding="same", stride=(1, 2)),
        "padding='same' is not supported for str",
    ),
    "dilation": (lambda x: x.convolved(dilation=(1, 1, 1)), r"dilation: wanted .*, or two, got \(1, 1, 1\)"),
    "output_padding": (lambda x: x.transposed(stride=2, output_padding=2), "output_padding: wanted less than stride"),
    "nothing left": (lambda x: x.transposed(padding=4), r"padding \(4, 4\) leaves nothing"),
    "channels sent back": (lambda x: x.transposed((1, 2, 5, 5), (3, 2, 3, 3)), r"3 channels.*\(1, 2, 5, 5\)"),
    "output_size": (
        lambda x: x.nn.ConvTranspose2d(1, 1, 3, stride=2)(x.ones(1, 1, 5, 5), [13, 11]),
        r"output_size: wanted \[11, 11\] to \[12, 12\], got \(13, 11\)",
    ),
    "transposed mode": (
        lambda x: x.nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect"),
        "padding_mode: wanted 'zeros'",
    ),
    "padding_mode": (lambda x: x.nn.Conv2d(1, 1, 3, padding_mode="same"), "padding_mode: wanted .*, got 'same'"),
    "divided channels": (lambda x: x.nn.Conv2d(3, 4, 3, groups=2), "3 and 4 channels don't divide into 2 groups"),
    "same in strides of a module": (lambda x: x.nn.Conv2d(1, 1, 3, 2, "same"), "'same' is not supported for strided"),
    "columns": (lambda x: x.F.fold(x.ones(1, 12, 15), (5, 5), 2), r"16 columns for \(4, 4\), got \(1, 12, 15\)"),
    "pool": (lambda x: x.F.max_pool2d(x.ones(1, 1, 2, 2), 3), r"\(3, 3\).*\(2, 2\)"),
    "no images": (lambda x: x.F.max_pool2d(x.ones(2, 2), 2), f"max_pool2d: {IMAGES}"),
    "no images for means": (lambda x: x.F.avg_pool2d(x.ones(2, 2), 2), f"avg_pool2d: {IMAGES}"),
    "no images for parts": (lambda x: x.F.adaptive_avg_pool2d(x.ones(2, 2), 2), f"adaptive_avg_pool2d: {IMAGES}"),
    "much padding": (
        lambda x: x.F.avg_pool2d(x.ones(1, 1, 4, 4), 2, padding=2),
        r"half the kernel \(2, 2\), got \(2, 2\)",
    ),
    "much padding in one dim": (
        lambda x: x.F.max_pool2d(x.ones(1, 1, 4, 4), (3, 2), padding=(0, 2)),
        r"padding: wanted at most half the kernel \(3, 2\), got \(0, 2\)",
    ),
    "kernel": (lambda x: x.F.max_pool2d(x.ones(1, 1, 4, 4), (2, 0)), r"kernel_size: wanted .*, got \(2, 0\)"),
    "divisor": (lambda x: x.F.avg_pool2d(x.ones(1, 1, 4, 4), 2, divisor_override=0), "divisor_override: wanted"),
    "parts": (lambda x: x.F.adaptive_avg_pool2d(x.ones(1, 1, 4, 4), (2,)), r"output_size: wanted 2 whole.*got \(2,\)"),
    "parts of nothing": (
        lambda x: x.F.adaptive_max_pool2d(x.ones(1, 1, 0, 4), 2),
        r"not of size 0, got \(1, 1, 0, 4\)",
    ),
    "integers": (lambda x: x.F.avg_pool2d(x.ones(1, 1, 4, 4, dtype="int64"), 2), "floating-point numbers, got int64"),
}
SCALING_MISTAKES = {
    "mode": (lambda x: x.F.interpolate(x.ones(1, 1, 4, 4), 2, mode="cubic"), "mode: wanted .*, got 'cubic'"),
    "dims": (
        lambda x: x.F.interpolate(x.ones(1, 1, 4, 4), 2, mode="linear"),
        r"'linear' wants 3 dims, got \(1, 1, 4, 4\)",
    ),
    "antialias": (
        lambda x: x.F.interpolate(x.ones(1, 1, 4, 4), 2, mode="bilinear", antialias=True),
        "antialias: wanted False, got True",
    ),
    "align_corners": (
        lambda x: x.F.interpolate(x.ones(1, 1, 4, 4), 2, align_corners=True),
        "align_corners: .*'nearest'",
    ),
    "size and factor": (
        lambda x: x.F.interpolate(x.ones(1, 1, 4, 4), 2, 2),
        "either size or scale_factor, got 2 and 2",
    ),
    "neither": (lambda x: x.F.interpolate(x.ones(1, 1, 4, 4)), "either size or scale_factor, got None and None"),
    "sizes": (lambda x: x.F.interpolate(x.ones(1, 1, 4, 4), (2,)), r"size: wanted one number or 2, got \(2,\)"),
    "nothing": (lambda x: x.F.interpolate(x.ones(1, 1, 4, 4), scale_factor=0.1), "more than 0, got .* to .0, 0."),
    "recomputed": (
        lambda x: x.F.interpolate(x.ones(1, 1, 4, 4), 2, recompute_scale_factor=True),
        "recompute_scale_factor: wanted None beside a size",
    ),
    "integers": (lambda x: x.F.interpolate(x.ones(1, 1, 4, 4, dtype="int64"), 2), "floating-point numbers, got int64"),
    "squares": (lambda x: x.F.pixel_shuffle(x.ones(1, 3, 4, 4), 2), r"wanted \(…, C·2², H, W\), got \(1, 3, 4, 4\)"),
    "odd sizes": (lambda x: x.F.pixel_unshuffle(x.ones(1, 3, 4, 5), 2), r"H·2, W·2\), got \(1, 3, 4, 5\)"),
    "border": (lambda x: x.nn.ZeroPad2d((1, 2)), r"ZeroPad2d: padding: wanted a number or 4, got \(1, 2\)"),
}
BORDER_MISTAKES = {
    "mode": (lambda F, x: F.pad(x, (1, 1), "mirror"), "mode: wanted .*, got 'mirror'"),
    "value": (lambda F, x: F.pad(x, (1, 1), "reflect", 2.0), "value: .*'reflect' has none, got 2.0"),
    "odd": (lambda F, x: F.pad(x, (1, 1, 1)), r"wanted \(before, after\) for up to 3 dims, got \(1, 1, 1\)"),
    "dims": (lambda F, x: F.pad(x, (0,) * 8), "for up to 3 dims"),
    "reflect": (lambda F, x: F.pad(x, (4, 0), "reflect"), r"dim 2 .*too few for \(4, 0\) in mode 'reflect'"),
    "circular": (lambda F, x: F.pad(x, (0, 0, 1, 4), "circular"), r"dim 1 .*too few for \(1, 4\) in mode 'circular'"),
    "replicate": (lambda F, x: F.pad(x, (-4, 0), "replicate"), r"too few for \(-4, 0\)"),
    "taken away": (lambda F, x: F.pad(x, (-3, -2)), r"dim 2 .*too few to take away \(-3, -2\)"),
}


@convolution
@pytest.mark.parametrize("name", MISTAKES)
def test_a_convolution_or_pooling_that_does_not_fit_is_named(engine, name):
    mistake, message = MISTAKES[name]
    with pytest.raises((ValueError, TypeError), match=message):
        mistake(Given(engine))


@scaling
@pytest.mark.parametrize("name", SCALING_MISTAKES)
def test_a_scaling_that_can_not_be_is_named(engine, name):
    mistake, message = SCALING_MISTAKES[name]
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        mistake(Given(engine))


@pytest.mark.capability("padding")
@pytest.mark.parametrize("name", BORDER_MISTAKES)
def test_a_border_that_can_not_be_is_named(engine, name):
    mistake, message = BORDER_MISTAKES[name]
    with pytest.raises((ValueError, NotImplementedError), match=message):
        mistake(engine.F, engine.Tensor(np.ones((2, 3, 4), np.float32)))


# Edges


@pooling
@pytest.mark.parametrize("options", [(2,), (3, 1), (3, 2, 1)])
@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_an_infinite_gradient_goes_through_max_pooling_to_the_largest_alone(engine, options, special):
    x = np.arange(16, dtype=np.float64).reshape(1, 1, 4, 4)
    theirs, ours = torch_engine().tensor(x), engine.tensor(x)
    reference, out = torch_engine().F.max_pool2d(theirs, *options), engine.F.max_pool2d(ours, *options)
    g = np.ones(reference.shape)
    g[0, 0, 0, 0] = special
    torch_engine().backward(reference, g)
    engine.backward(out, g)
    np.testing.assert_array_equal(engine.grad(ours), torch_engine().grad(theirs))


@pooling
def test_max_pooling_takes_integers(engine):
    x = np.arange(-8, 8).reshape(1, 1, 4, 4)
    out = engine.F.max_pool2d(engine.Tensor(x), 3, 2, 1)
    wanted = torch_engine().F.max_pool2d(torch_engine().constant(x), 3, 2, 1).numpy()
    assert out.dtype == wanted.dtype
    np.testing.assert_array_equal(engine.value(out), wanted)


@pooling
@pytest.mark.parametrize("name", ["max_pool1d", "max_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d"])
def test_indices_are_integers_without_a_gradient(engine, name):
    """And where there is no batch, they have none either."""
    image = (2, 5, 6)[: int(name[-2]) + 1]
    for shape in (image, (3, *image)):
        x = np.random.default_rng(0).standard_normal(shape)
        wanted = getattr(torch_engine().F, name)(torch_engine().tensor(x), 2, return_indices=True)[1]
        found = getattr(engine.F, name)(engine.tensor(x), 2, return_indices=True)[1]
        assert found.dtype == np.int64 and not found.requires_grad
        np.testing.assert_array_equal(engine.value(found), wanted.numpy())


@pooling
def test_no_parts_are_no_numbers(engine):
    out = engine.F.adaptive_avg_pool2d(engine.tensor(np.ones((2, 3, 5, 7))), 0)
    engine.backward(out, np.ones((2, 3, 0, 0)))
    assert out.shape == (2, 3, 0, 0)


@convolution
def test_a_convolution_is_a_product_with_what_unfold_gives(engine):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 2))
    columns = engine.value(engine.F.unfold(engine.tensor(x), (3, 2), padding=1))
    out = engine.value(engine.F.conv2d(engine.tensor(x), engine.tensor(w), padding=1))
    np.testing.assert_allclose((w.reshape(4, -1) @ columns).reshape(out.shape), out, atol=1e-12)


@convolution
@pytest.mark.parametrize("size", [(12, 11), [11, 12], (2, 4, 12, 12)])
def test_a_transposed_convolution_can_be_told_the_size_of_its_output(engine, size):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 5))
    torch, module = torch_engine().torch, engine.nn.ConvTranspose2d(3, 4, 3, stride=2).double()
    theirs = torch.nn.ConvTranspose2d(3, 4, 3, stride=2).double()
    theirs.load_state_dict({name: torch.tensor(engine.host(value)) for name, value in module.state_dict().items()})
    wanted = theirs(torch.tensor(x), size).detach().numpy()
    np.testing.assert_allclose(engine.value(module(engine.tensor(x), size)), wanted, atol=1e-12)


# What modules show


SHOWN = [
    lambda nn: nn.Conv2d(4, 6, 3),
    lambda nn: nn.Conv2d(4, 6, (3, 2), 2, 1, 2, 2, False, "reflect"),
    lambda nn: nn.Conv2d(4, 6, 3, padding="same"),
    lambda nn: nn.Conv1d(4, 6, 3, dilation=2),
    lambda nn: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1),
    lambda nn: nn.MaxPool2d(2),
    lambda nn: nn.MaxPool2d((2, 3), 1, 1, 2, True, True),
    lambda nn: nn.MaxPool1d(2),
    lambda nn: nn.AvgPool1d(2),
    lambda nn: nn.AvgPool2d(3, 2, 1, True, False, 5),
    lambda nn: nn.AdaptiveAvgPool2d((1, None)),
    lambda nn: nn.AdaptiveMaxPool1d(3, True),
    lambda nn: nn.Unfold(3),
    lambda nn: nn.Fold(4, 2),
    lambda nn: nn.Upsample(scale_factor=2),
    lambda nn: nn.Upsample(5, mode="bilinear", align_corners=True),
    lambda nn: nn.UpsamplingBilinear2d(scale_factor=2),
    lambda nn: nn.PixelShuffle(2),
    lambda nn: nn.PixelUnshuffle(2),
    lambda nn: nn.ZeroPad2d(1),
    lambda nn: nn.ConstantPad1d((1, 2), 3.5),
    lambda nn: nn.ReflectionPad2d((1, 2, 3, 4)),
    lambda nn: nn.CircularPad1d(2),
    lambda nn: nn.BatchNorm2d(3),
]


@convolution
def test_modules_of_images_are_printed_as_pytorchs(stage):
    theirs, ours = torch_engine().torch.nn, stage.part("nn")
    assert [repr(build(ours)) for build in SHOWN] == [repr(build(theirs)) for build in SHOWN]


@convolution
@pytest.mark.parametrize("build", [lambda nn: nn.Conv2d(60, 80, 5, groups=2), lambda nn: nn.ConvTranspose2d(60, 80, 5)])
def test_weights_of_convolutions_begin_as_pytorchs(engine, build):
    """Uniform up to the same bound; the largest of so many numbers comes close to it."""
    for ours, theirs in zip(build(engine.nn).parameters(), build(torch_engine().torch.nn).parameters()):
        assert ours.shape == tuple(theirs.shape)
        largest = np.abs(engine.value(ours)).max(), theirs.abs().max().item()
        assert largest[0] == pytest.approx(largest[1], rel=0.15 if theirs.ndim == 1 else 1e-3)


@pytest.mark.capability("convolution")
@pytest.mark.parametrize("two", [np.int8(2), np.uint8(2), np.int64(2), (np.int8(2), 2)], ids=repr)
def test_a_stride_may_be_any_whole_number_of_numpys(two, engine):
    functional, x = engine.nn.functional, np.random.default_rng(0).standard_normal((3, 2, 40, 40)).astype(np.float32)
    weight = np.ones((4, 2, 3, 3), np.float32)
    for call in (
        lambda stride: functional.conv2d(engine.Tensor(x), engine.Tensor(weight), None, stride, stride, stride),
        lambda stride: functional.max_pool2d(engine.Tensor(x), stride, stride),
        lambda stride: functional.avg_pool2d(engine.Tensor(x), stride, stride),
    ):
        np.testing.assert_array_equal(engine.host(call(two)), engine.host(call(2)))
    with pytest.raises(ValueError, match="stride: wanted a whole number of at least 1, or two, got True"):
        functional.max_pool2d(engine.Tensor(x), 2, True)
