"""The cases of images: convolution, pooling, padding and scaling with all their options, next to those of cases.py."""

from functools import partial

import numpy as np

from .case import Case, ModuleCase, separate

nan, inf = np.nan, np.inf


def called(name, inputs=1):
    """The function of that name, as the body of a case with so many inputs."""
    bodies = {
        1: lambda F, x, **options: getattr(F, name)(x, **options),
        2: lambda F, x, w, **options: getattr(F, name)(x, w, **options),
        3: lambda F, x, w, b, **options: getattr(F, name)(x, w, b, **options),
    }
    return bodies[inputs]


def each(name, *rows, **how):
    """A case of the function for each row of shapes, or of one, and options."""
    cases = []
    for shapes, options in rows:
        shapes = shapes if isinstance(shapes, list) else [shapes]
        body = partial(called(name, len(shapes)), **options)
        cases.append(Case(f"{name} {str(shapes).strip('[]')} {options}", body, shapes, **how))
    return cases


def modules(*rows):
    """A case for each row: a constructor's name and arguments, and the shape of what the module is given."""
    cases = []
    for name, args, options, shape in rows:
        text = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in options.items())])
        body = partial(build, name=name, args=args, options=options)
        cases.append(ModuleCase(f"{name}({text})", body, [shape]))
    return cases


def build(nn, name, args, options):
    return getattr(nn, name)(*args, **options)


def indices(name):
    """What a pooling gives with return_indices: the numbers times 1, 2, … by their indices, so that both are seen."""

    def body(F, x, **options):
        out, where = getattr(F, name)(x, return_indices=True, **options)
        return out * (where + 1)

    return body


HOLES = [[[[nan, 1.0, nan, 2.0, 0.0], [3.0, nan, 2.0, 5.0, nan], [-inf, -inf, 4.0, inf, -inf]]]]
WINDOWS = [  # an image and how a kernel moves over it in ceil mode; of some the last place would begin too late
    ((2, 3, 5, 6), {"kernel_size": 2}),
    ((2, 3, 5, 5), {"kernel_size": 3, "stride": 2}),
    ((2, 3, 6, 8), {"kernel_size": 3, "stride": 2}),
    ((2, 3, 7, 6), {"kernel_size": (3, 2), "stride": (2, 3), "padding": 1}),
    ((2, 3, 5, 7), {"kernel_size": 2, "stride": 3}),
    ((2, 3, 6, 4), {"kernel_size": 2, "stride": 3, "padding": 1}),
    ((1, 1, 3, 4), {"kernel_size": 5, "stride": 2, "padding": (1, 2)}),
    ((2, 3, 7), {"kernel_size": (2, 3), "stride": (1, 2)}),  # a single image
]

CONVOLUTION = [
    *each(
        "conv2d",
        ([(2, 3, 5, 6), (4, 3, 3, 3)], {"padding": "same"}),
        ([(2, 3, 5, 6), (4, 3, 3, 3), (4,)], {"padding": "valid"}),
        ([(2, 3, 5, 6), (4, 3, 2, 4)], {"padding": "same"}),  # uneven: one more at the end
        ([(2, 4, 5, 6), (4, 2, 3, 2)], {"padding": "same", "dilation": (2, 3), "groups": 2}),
        ([(3, 5, 6), (4, 3, 3, 3), (4,)], {"padding": 1}),  # a single image
        ([(3, 5, 6), (4, 3, 2, 2)], {"padding": "same"}),
        ([(2, 3, 5, 6), (4, 3, 3, 3)], {"stride": (2,), "padding": [1, 0]}),
        ([(0, 3, 5, 6), (4, 3, 3, 3), (4,)], {}),  # no images
    ),
    *each(
        "conv1d",
        ([(2, 3, 7), (4, 3, 3), (4,)], {}),
        ([(2, 3, 7), (4, 3, 1)], {"stride": 2}),
        ([(2, 3, 8), (4, 3, 3), (4,)], {"stride": 2, "padding": 1}),
        ([(2, 4, 9), (6, 2, 3), (6,)], {"groups": 2, "dilation": (2,), "padding": [2]}),
        ([(2, 3, 6), (4, 3, 4)], {"padding": "same"}),
        ([(3, 7), (4, 3, 3), (4,)], {"padding": "valid"}),
        ([(0, 3, 7), (4, 3, 3)], {}),
    ),
    *each(
        "conv_transpose2d",
        ([(2, 3, 4, 5), (3, 4, 3, 3), (4,)], {}),
        ([(2, 2, 4, 4), (2, 2, 2, 2)], {}),
        ([(2, 3, 4, 5), (3, 4, 3, 3), (4,)], {"stride": 2, "padding": 1, "output_padding": 1}),
        ([(2, 3, 4, 3), (3, 4, 2, 3)], {"stride": (3, 2), "padding": (0, 1), "output_padding": (2, 0)}),
        ([(2, 4, 3, 4), (4, 3, 3, 2), (6,)], {"groups": 2, "dilation": (1, 2), "stride": 2}),
        ([(2, 4, 3, 4), (4, 1, 3, 3), (4,)], {"groups": 4, "padding": 1}),
        ([(2, 2, 3, 4), (2, 3, 3, 2), (3,)], {"stride": 2, "output_padding": (2, 3), "dilation": (3, 4)}),
        ([(3, 4, 5), (3, 4, 3, 3), (4,)], {"stride": 2}),
        ([(0, 3, 4, 5), (3, 4, 3, 3), (4,)], {}),
    ),
    *each(
        "conv_transpose1d",
        ([(2, 3, 5), (3, 4, 3), (4,)], {}),
        ([(2, 4, 5), (4, 2, 3), (4,)], {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2}),
        ([(3, 5), (3, 4, 2)], {"dilation": 2}),
    ),
    *each(
        "unfold",
        ((2, 3, 5, 6), {"kernel_size": 2}),
        ((2, 3, 5, 6), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
        ((3, 4, 4), {"kernel_size": 2, "stride": 2}),
        ((0, 3, 5, 6), {"kernel_size": 2}),
    ),
    *each(
        "fold",
        ((2, 12, 20), {"output_size": (5, 6), "kernel_size": 2}),
        ((2, 18, 9), {"output_size": (5, 6), "kernel_size": (3, 2), "stride": 2, "padding": (1, 0)}),
        ((12, 4), {"output_size": 4, "kernel_size": 2, "stride": 2}),
    ),
    *modules(
        ("Conv1d", (3, 4, 3), {}, (2, 3, 7)),
        ("Conv1d", (4, 6, 3, 2, 1, 2, 2, False), {}, (2, 4, 9)),
        ("Conv1d", (3, 4, 4), {"padding": "same", "padding_mode": "replicate"}, (2, 3, 6)),
        ("Conv2d", (3, 4, 3), {"padding": "same"}, (2, 3, 5, 6)),
        ("Conv2d", (3, 4, 3), {"padding": (2, 1), "padding_mode": "reflect"}, (2, 3, 5, 6)),
        ("Conv2d", (3, 4, 3, 2), {"padding": 1, "padding_mode": "circular", "bias": False}, (2, 3, 5, 6)),
        ("Conv2d", (3, 4, (2, 4)), {"padding": "same", "padding_mode": "replicate"}, (3, 5, 6)),
        ("Conv2d", (3, 4, 3), {"padding": "valid", "padding_mode": "reflect"}, (2, 3, 5, 6)),
        ("ConvTranspose1d", (3, 4, 3, 2, 1, 1), {}, (2, 3, 5)),
        ("ConvTranspose2d", (3, 4, 3), {}, (2, 3, 4, 5)),
        ("ConvTranspose2d", (4, 6, (3, 2), 2, (1, 0), 1, 2, False, 2), {}, (2, 4, 3, 4)),
        ("Unfold", (3, 1, 1, 2), {}, (2, 3, 5, 6)),
        ("Fold", (4, 2, 1, 0, 2), {}, (2, 12, 4)),
    ),
]

POOLING = [
    *each("max_pool2d", *[(image, {**options, "ceil_mode": True}) for image, options in WINDOWS], domain=separate),
    *each("avg_pool2d", *[(image, {**options, "ceil_mode": True}) for image, options in WINDOWS]),
    *each(
        "avg_pool2d",
        *[(image, {**options, "ceil_mode": True, "count_include_pad": False}) for image, options in WINDOWS],
        ((2, 3, 5, 6), {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
        ((2, 3, 5, 6), {"kernel_size": 3, "stride": 2, "padding": 1, "divisor_override": 5}),
        ((2, 3, 5, 6), {"kernel_size": 2, "divisor_override": -3, "ceil_mode": True, "padding": 1}),
        ((2, 3, 5, 6), {"kernel_size": 2, "count_include_pad": False}),
        ((3, 5, 6), {"kernel_size": (2,)}),
        ((0, 3, 5, 6), {"kernel_size": 2}),
    ),
    *each(
        "max_pool2d",
        ((3, 5, 6), {"kernel_size": 2, "stride": [], "dilation": 2}),
        ((0, 3, 5, 6), {"kernel_size": 2}),
        domain=separate,
    ),
    *each(
        "max_pool1d",
        ((2, 3, 8), {"kernel_size": 2}),
        ((2, 3, 8), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}),
        ((2, 3, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
        ((3, 7), {"kernel_size": (3,)}),
        domain=separate,
    ),
    *each(
        "avg_pool1d",
        ((2, 3, 8), {"kernel_size": 2}),
        ((2, 3, 8), {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
        ((2, 3, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
        ((3, 7), {"kernel_size": (3,)}),
    ),
    *[
        Case(f"{name} with indices {image} {options}", partial(indices(name), **options), [image], domain=separate)
        for name, image, options in [
            ("max_pool2d", (2, 3, 5, 6), {"kernel_size": 2}),
            ("max_pool2d", (2, 3, 5, 6), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
            ("max_pool2d", (3, 6, 7), {"kernel_size": 2, "dilation": (2, 3), "stride": 1, "padding": (1, 0)}),
            ("max_pool1d", (2, 3, 8), {"kernel_size": 3, "stride": 2, "padding": 1}),
            ("adaptive_max_pool2d", (2, 3, 5, 7), {"output_size": (2, 3)}),
            ("adaptive_max_pool1d", (2, 3, 7), {"output_size": 3}),
        ]
    ],
    *[
        Case(f"{name} with indices of {what}", partial(indices(name), **options), values=[x], smooth=False)
        for what, x in [("ties", [[[[1.0, 2.0, 2.0, 1.0, 2.0], [2.0, 1.0, 2.0, 2.0, 2.0]]]]), ("holes", HOLES)]
        for name, options in [
            ("max_pool2d", {"kernel_size": 2, "stride": 1}),
            ("adaptive_max_pool2d", {"output_size": (1, 2)}),
        ]
    ],
    *each(
        "adaptive_avg_pool2d",
        ((2, 3, 5, 7), {"output_size": (None, 3)}),
        ((2, 3, 4, 6), {"output_size": (2, None)}),
        ((3, 5, 7), {"output_size": 2}),
        ((2, 3, 5, 7), {"output_size": 1}),
        ((0, 3, 5, 7), {"output_size": 2}),
    ),
    *each("adaptive_avg_pool1d", ((2, 3, 7), {"output_size": 3}), ((3, 8), {"output_size": (4,)})),
    *each(
        "adaptive_max_pool2d",
        ((2, 3, 5, 7), {"output_size": (None, 3)}),
        ((3, 4, 6), {"output_size": 2}),
        ((0, 3, 5, 7), {"output_size": 2}),
        domain=separate,
    ),
    *each("adaptive_max_pool1d", ((2, 3, 7), {"output_size": 3}), domain=separate),
    Case(
        "adaptive_avg_pool2d: one ∞ is in the parts it is in",
        lambda F, x: F.adaptive_avg_pool2d(x, (2, 3)),
        values=[np.where(np.arange(35) == 17, inf, np.arange(35.0)).reshape(1, 1, 5, 7)],
        smooth=False,
    ),
    *modules(
        ("MaxPool1d", (3, 2, 1), {}, (2, 3, 7)),
        ("MaxPool2d", (2,), {"ceil_mode": True}, (2, 3, 5, 5)),
        ("MaxPool2d", ((3, 2), (2, 1), (1, 0), 2), {}, (3, 7, 6)),
        ("AvgPool1d", (3, 2, 1, True, False), {}, (2, 3, 8)),
        ("AvgPool2d", (3, 2, 1, True, False), {}, (2, 3, 6, 6)),
        ("AvgPool2d", (2,), {"divisor_override": 3}, (2, 3, 4, 5)),
        ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 7)),
        ("AdaptiveAvgPool2d", ((None, 2),), {}, (2, 3, 5, 6)),
        ("AdaptiveMaxPool1d", (3,), {}, (2, 3, 7)),
        ("AdaptiveMaxPool2d", (2,), {}, (2, 3, 5, 6)),
    ),
]

BORDERS = [(2, 1), (0, 0), (1, 0, 2, 3), (-1, 2, 0, -2), (0, 1, -1, 1)]
PADDING = [
    *[
        Case(f"pad {pad} {mode}", partial(called("pad"), pad=pad, mode=mode), [(2, 3, 5, 4) if pad[2:] else (2, 3, 4)])
        for mode in ("reflect", "replicate", "circular", "constant")
        for pad in BORDERS
    ],
    *each(
        "pad",
        ((2, 3, 5), {"pad": (4, 4), "mode": "reflect"}),
        ((2, 3, 5), {"pad": (5, 5), "mode": "circular"}),
        ((2, 3, 5), {"pad": (9, 0), "mode": "replicate"}),
        ((2, 3, 4), {"pad": (-4, 5), "mode": "replicate"}),
        ((1, 2, 3, 4, 5), {"pad": (1, 2, 2, 1, 1, 1), "mode": "reflect"}),
        ((2, 3, 5), {"pad": (1, -2), "value": 2.5}),
        ((2, 3, 5), {"pad": (-2, -3, 1, 0)}),
        ((4,), {"pad": (1, 2), "value": -1.0}),
    ),
]

SIZES = [
    ((2, 3, 4, 5), {"size": (3, 7)}),
    ((2, 3, 4, 5), {"size": 6}),
    ((2, 3, 4, 5), {"scale_factor": 2}),
    ((2, 3, 4, 5), {"scale_factor": (1.7, 0.6)}),
    ((2, 3, 4, 5), {"scale_factor": 1.7, "recompute_scale_factor": True}),
    ((1, 1, 1, 3), {"size": (1, 1)}),
    ((0, 3, 4, 5), {"scale_factor": 2}),
]
SCALING = [
    *[
        case
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
        for case in each("interpolate", *[(image, {**options, "mode": mode}) for image, options in SIZES])
    ],
    *[
        case
        for mode in ("bilinear", "bicubic")
        for case in each(
            "interpolate", *[(image, {**options, "mode": mode, "align_corners": True}) for image, options in SIZES]
        )
    ],
    *each(
        "interpolate",
        ((2, 3, 5), {"size": 7}),
        ((2, 3, 5), {"scale_factor": 1.5, "mode": "linear"}),
        ((2, 3, 5), {"size": (3,), "mode": "linear", "align_corners": True}),
        ((2, 3, 5), {"size": 2, "mode": "area"}),
    ),
    *each("pixel_shuffle", ((2, 8, 3, 4), {"upscale_factor": 2}), ((9, 2, 2), {"upscale_factor": 3})),
    *each("pixel_unshuffle", ((2, 2, 6, 4), {"downscale_factor": 2}), ((1, 6, 3), {"downscale_factor": 3})),
    *modules(
        ("Upsample", (), {"scale_factor": 2}, (2, 3, 4, 5)),
        ("Upsample", ((6, 7), None, "bilinear", True), {}, (2, 3, 4, 5)),
        ("UpsamplingNearest2d", (), {"scale_factor": 2}, (2, 3, 4, 5)),
        ("UpsamplingBilinear2d", (5,), {}, (2, 3, 4, 3)),
        ("PixelShuffle", (2,), {}, (2, 8, 3, 4)),
        ("PixelUnshuffle", (2,), {}, (2, 2, 6, 4)),
        ("ZeroPad1d", (1,), {}, (2, 3, 4)),
        ("ZeroPad2d", ((1, 2, 0, 3),), {}, (2, 3, 4, 5)),
        ("ConstantPad1d", ((1, -1), 2.5), {}, (2, 3, 4)),
        ("ConstantPad2d", (2, 2.5), {}, (2, 3, 4, 5)),
        ("ReflectionPad1d", (2,), {}, (2, 3, 4)),
        ("ReflectionPad2d", ((1, 2, 3, 0),), {}, (3, 4, 5)),
        ("ReplicationPad1d", (2,), {}, (2, 3, 4)),
        ("ReplicationPad2d", ((1, 2, 3, 0),), {}, (2, 3, 4, 5)),
        ("CircularPad1d", (2,), {}, (2, 3, 4)),
        ("CircularPad2d", ((1, 2, 3, 0),), {}, (2, 3, 4, 5)),
    ),
]

GROUPS = {"convolution": CONVOLUTION, "pooling": POOLING, "padding": PADDING, "scaling of images": SCALING}
