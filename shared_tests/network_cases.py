"""The cases of `nn`: activations, layers and losses with their options, next to those of cases.py."""

from functools import partial

import numpy as np

from .case import Case, ModuleCase, classes, normal, positive, probabilities, separate, signs, zero_one

nan, inf = np.nan, np.inf

# Activations: the function of torch's, its options, and the numbers at which it bends


def between(rng, shape):
    """Numbers far from each other and, as `separate` are at tenths, from every tenth."""
    return separate(rng, shape) + 0.05


def chances(rng, shape):
    """Probabilities that are not too near to 0 and 1, where the slope of a logarithm changes fast."""
    return rng.uniform(0.1, 0.9, shape)


ACTIVATIONS = [
    ("leaky_relu", {}, [0.0]),
    ("leaky_relu", {"negative_slope": 0.3}, [0.0]),
    ("leaky_relu", {"negative_slope": -0.5}, [0.0]),
    ("elu", {}, [0.0]),
    ("elu", {"alpha": 0.7}, [0.0]),
    ("selu", {}, [0.0]),
    ("celu", {}, [0.0]),
    ("celu", {"alpha": 0.5}, [0.0]),  # a power of 2, as PyTorch rounds 1/alpha to float32
    ("silu", {}, []),
    ("mish", {}, []),
    ("softplus", {}, []),
    ("softplus", {"beta": 3.0, "threshold": 2.0}, [2 / 3]),
    ("softsign", {}, [0.0]),
    ("hardtanh", {}, [-1.0, 1.0]),
    ("hardtanh", {"min_val": -0.45, "max_val": 0.25}, [-0.45, 0.25]),
    ("relu6", {}, [0.0, 6.0]),
    ("hardswish", {}, [-3.0, 3.0]),
    ("relu", {}, [0.0]),
    ("threshold", {"threshold": 0.25, "value": 7.0}, [0.25]),
    ("softshrink", {}, [-0.5, 0.5]),
    ("softshrink", {"lambd": 0.15}, [0.0]),
    ("hardshrink", {}, [-0.5, 0.5]),
    ("tanhshrink", {}, []),
    ("gelu", {"approximate": "tanh"}, []),
    ("logsigmoid", {}, []),
    ("tanh", {}, []),
    ("sigmoid", {}, []),
]
IN_PLACE = (
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "silu",
    "mish",
    "hardtanh",
    "relu6",
    "hardswish",
    "relu",
)
MODULES = [
    lambda nn: nn.LeakyReLU(0.2),
    lambda nn: nn.ELU(0.7),
    lambda nn: nn.SELU(),
    lambda nn: nn.CELU(0.25),
    lambda nn: nn.SiLU(),
    lambda nn: nn.Mish(),
    lambda nn: nn.Softplus(2.0, 3.0),
    lambda nn: nn.Softsign(),
    lambda nn: nn.Hardtanh(-0.35, 0.25),
    lambda nn: nn.ReLU6(),
    lambda nn: nn.Hardswish(),
    lambda nn: nn.Threshold(0.15, -2.0),
    lambda nn: nn.Softshrink(0.25),
    lambda nn: nn.Hardshrink(0.25),
    lambda nn: nn.Tanhshrink(),
    lambda nn: nn.LogSigmoid(),
    lambda nn: nn.GELU("tanh"),
    lambda nn: nn.GLU(),
    lambda nn: nn.GLU(0),
    lambda nn: nn.Softmax(-1),
    lambda nn: nn.LogSoftmax(0),
    lambda nn: nn.Softmin(1),
    lambda nn: nn.PReLU(),
    lambda nn: nn.PReLU(4, 0.1),
    lambda nn: nn.Identity(7, unused=True),
    lambda nn: nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)),
    lambda nn: nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.2, inplace=True), nn.LayerNorm(4)),
    lambda nn: nn.LayerNorm(4, bias=False),
    lambda nn: nn.LayerNorm(4, elementwise_affine=False),
    lambda nn: nn.BatchNorm1d(4, momentum=None),
    lambda nn: nn.BatchNorm1d(4, affine=False),
    lambda nn: nn.BatchNorm1d(4, bias=False),
    lambda nn: nn.BatchNorm1d(4, track_running_stats=False),
    lambda nn: nn.BatchNorm1d(4, affine=False, track_running_stats=False),
]


def call(F, name, *args, **options):
    return getattr(F, name)(*args, **options)


def unary(name, options):
    return lambda F, x: call(F, name, x, **options)


def in_place(name):
    """The function that overwrites what it gets: the result of the product, of which another use comes first."""

    def body(F, x):
        y = x * 1.5
        before = y * 2
        out = call(F, name, y, inplace=True)
        return before + out + y

    return body


def words(name, options):
    return " ".join([name, *(f"{option}={value}" for option, value in options.items())])


def activations():
    for name, options, bends in ACTIVATIONS:
        for shape in [(4, 4), (2, 3, 4), (), (0, 3)]:
            if name == "tanhshrink" and not shape:
                continue  # of float32's digits 0.1 − tanh 0.1 leaves too few
            domain = separate if all([bend * 10 % 1 for bend in bends if bend]) else between
            yield Case(f"{words(name, options)} {shape}", unary(name, options), [shape], domain=domain)
        for x in bends if name == "softsign" else [*bends, -1000.0, 1000.0]:  # whose gradient there PyTorch rounds away
            yield Case(
                f"{words(name, options)} at {x:.3g}",
                unary(name, options),
                values=[np.array(x)],
                smooth=False,
            )
    for name in IN_PLACE:
        yield Case(f"{name} in place", in_place(name), [(4, 4)], domain=separate)
    for dim in (0, 1, -1):
        yield Case(f"glu dim={dim}", lambda F, x, dim=dim: F.glu(x, dim), [(4, 6)])
        yield Case(f"F.softmax dim={dim}", lambda F, x, dim=dim: F.softmax(x, dim=dim), [(3, 4)])
        yield Case(f"F.log_softmax dim={dim}", lambda F, x, dim=dim: F.log_softmax(x, dim=dim), [(3, 4)])
        yield Case(f"softmin dim={dim}", lambda F, x, dim=dim: F.softmin(x, dim=dim), [(3, 4)])
    for x, weight in [((3, 4), (4,)), ((3, 4), (1,)), ((2, 4, 3), (4,)), ((4, 4, 4), (4,)), ((4,), (1,))]:
        yield Case(f"prelu {x} {weight}", lambda F, x, w: F.prelu(x, w), [x, weight], domain=separate)
    yield Case("prelu of infinities", lambda F, x, w: F.prelu(x, w), values=[[-inf, inf, nan], [0.5]], smooth=False)
    yield Case(
        "leaky_relu of infinities",
        lambda F, x, c: F.leaky_relu(x, 0.0) * c,
        values=[[-inf, inf, nan, -1.0, 1.0], [inf, inf, inf, inf, 1.0]],
        constant=[1],
        smooth=False,
    )


# Losses


def loss(name, shapes, options=(), **about):
    """A loss of torch's with options, in each of its reductions."""
    options = dict(options)
    for reduction in ("mean", "sum", "none"):
        body = partial(_loss, _name=name, _reduction=reduction, _options=options)
        yield Case(f"{words(name, options)} {shapes} {reduction}", _of(len(shapes), body), shapes, **about)


def _loss(F, *tensors, _name, _reduction, _options):
    return getattr(F, _name)(*tensors, reduction=_reduction, **_options)


def _of(n, body):
    """The body with as many named parameters as a case gives it tensors."""
    return {2: lambda F, x, y: body(F, x, y), 3: lambda F, x, y, z: body(F, x, y, z)}[n]


def losses():
    pair = [(4, 3), (4, 3)]
    yield from loss("l1_loss", pair)
    yield from loss("huber_loss", pair)
    yield from loss("huber_loss", pair, {"delta": 0.3})
    yield from loss("smooth_l1_loss", pair)
    yield from loss("smooth_l1_loss", pair, {"beta": 0.3})
    yield from loss("smooth_l1_loss", pair, {"beta": 0.0})
    yield from loss("binary_cross_entropy", pair, domain=[chances, zero_one])
    yield from loss("soft_margin_loss", pair, domain=[normal, signs], constant=[1])
    yield from loss("hinge_embedding_loss", pair, {"margin": 0.75}, domain=[separate, signs], constant=[1])
    for log_input in (True, False):
        for full in (True, False):
            options = {"log_input": log_input, "full": full}
            yield from loss("poisson_nll_loss", pair, options, domain=[positive, positive], constant=[1])
    triple = [(4, 3), (4, 3), (4, 3)]
    for full in (True, False):
        yield from loss("gaussian_nll_loss", triple, {"full": full}, domain=[normal, normal, positive])
    yield from loss("gaussian_nll_loss", [(4, 3), (4, 3), (4,)], domain=[normal, normal, positive])
    yield from loss("gaussian_nll_loss", [(4, 3), (4, 3), (4, 1)], domain=[normal, normal, positive])
    for swap in (True, False):
        yield from loss("triplet_margin_loss", triple, {"swap": swap, "margin": 2.0})
    yield from loss("triplet_margin_loss", triple, {"p": 1.0})
    yield from loss(
        "margin_ranking_loss", [(5,), (5,), (5,)], {"margin": 0.3}, domain=[normal, normal, signs], constant=[2]
    )
    yield from loss(
        "cosine_embedding_loss", [(5, 3), (5, 3), (5,)], {"margin": 0.1}, domain=[normal, normal, signs], constant=[2]
    )

    for name in ("nll_loss", "cross_entropy"):
        for shapes in ([(5, 4), (5,)], [(2, 4, 3), (2, 3)], [(4, 4), (4,)], [(4,), ()], [(2, 4, 3, 2), (2, 3, 2)]):
            for options in (
                {},
                {"ignore_index": 2},
                {"label_smoothing": 0.2},
                {"ignore_index": 1, "label_smoothing": 0.3},
            ):
                if name == "cross_entropy" or "label_smoothing" not in options:
                    yield from loss(name, shapes, options, domain=[normal, classes(4)])
                    for reduction in ("mean", "sum", "none"):
                        yield Case(
                            f"{words(name, options)} with weights {shapes} {reduction}",
                            lambda F, x, y, w, name=name, o=options, r=reduction: getattr(F, name)(
                                x, y, w, reduction=r, **o
                            ),
                            [*shapes, (4,)],
                            domain=[normal, classes(4), positive],
                            constant=[2],
                        )
    ignored = [[0.5, 1.0, -1.0], [2.0, 0.0, 1.0]], [-1, 2]
    yield Case(
        "cross_entropy of an index that is ignored",
        lambda F, x, y: F.cross_entropy(x, y, ignore_index=-1),
        values=ignored,
        smooth=False,
    )
    yield Case(
        "cross_entropy, nothing kept",
        lambda F, x, y: F.cross_entropy(x, y, ignore_index=255),
        values=[[[0.5, 1.0], [2.0, 0.0]], [255, 255]],
        smooth=False,
    )
    yield Case(
        "cross_entropy, an infinite loss ignored",
        lambda F, x, y: F.cross_entropy(x, y, ignore_index=-1, reduction="sum"),
        values=[[[-inf, 1.0], [2.0, 0.0]], [-1, 1]],
        smooth=False,
    )
    for smoothing in (0.0, 0.2):
        for shapes in ([(5, 4), (5, 4)], [(2, 4, 3), (2, 4, 3)], [(4,), (4,)]):
            options = {"label_smoothing": smoothing}
            yield from loss("cross_entropy", shapes, options, domain=[normal, probabilities])
            for reduction in ("mean", "sum", "none"):
                yield Case(
                    f"cross_entropy of probabilities with weights {shapes} {smoothing} {reduction}",
                    lambda F, x, y, w, o=options, r=reduction: F.cross_entropy(x, y, w, reduction=r, **o),
                    [*shapes, (4,)],
                    domain=[normal, probabilities, positive],
                    constant=[2],
                )
    for reduction in ("batchmean", "sum", "none"):
        yield Case(
            f"kl_div of logarithms {reduction}",
            lambda F, x, y, r=reduction: F.kl_div(x, y, reduction=r, log_target=True),
            pair,
        )
        yield Case(
            f"kl_div {reduction}",
            lambda F, x, y, r=reduction: F.kl_div(x, y, reduction=r),
            pair,
            domain=[normal, probabilities],
        )
    yield Case(
        "kl_div of a probability of 0",
        lambda F, x, y: F.kl_div(x, y, reduction="batchmean"),
        values=[[[-1.0, -2.0, -0.5]], [[0.0, 0.4, 0.6]]],
        constant=[1],
        smooth=False,
    )
    for reduction in ("mean", "sum", "none"):
        for name in ("mse_loss", "l1_loss", "huber_loss"):
            yield Case(
                f"{name} with weights {reduction}",
                lambda F, x, y, w, n=name, r=reduction: getattr(F, n)(x, y, weight=w, reduction=r),
                [(4, 3)] * 3,
                domain=[normal, normal, positive],
                constant=[2],
            )
        yield Case(
            f"binary_cross_entropy with weights {reduction}",
            lambda F, x, y, w, r=reduction: F.binary_cross_entropy(x, y, w, reduction=r),
            [(4, 3), (4, 3), (3,)],
            domain=[zero_one, zero_one, positive],
            constant=[2],
        )
        yield Case(
            f"binary_cross_entropy_with_logits with weights {reduction}",
            lambda F, x, y, w, p, r=reduction: F.binary_cross_entropy_with_logits(x, y, w, reduction=r, pos_weight=p),
            [(4, 3), (4, 3), (3,), (3,)],
            domain=[normal, zero_one, positive, positive],
            constant=[2, 3],
        )
    yield Case(
        "binary_cross_entropy at 0 and 1",
        lambda F, x, y: F.binary_cross_entropy(x, y, reduction="none"),
        values=[[0.0, 1.0, 1e-5, 0.99], [0.0, 1.0, 1.0, 0.0]],
        constant=[1],
        smooth=False,
    )
    for name in ("huber_loss", "smooth_l1_loss"):
        yield Case(
            f"{name} at its bends and beyond",
            lambda F, x, y, n=name: getattr(F, n)(x, y, reduction="none"),
            values=[[-1.0, 0.0, 1.0, 1e200, -inf, nan], np.zeros(6)],
            constant=[1],
            smooth=False,
        )


# Layers


def layers():
    for build in MODULES:
        name = f"{build.__code__.co_firstlineno - MODULES[0].__code__.co_firstlineno}"
        yield ModuleCase(f"module {name}", build, shapes=[(4, 4)], domain=separate)
    yield ModuleCase("Unflatten", lambda nn: nn.Unflatten(1, (2, 3)), shapes=[(4, 6)])
    yield ModuleCase("Unflatten of the last dim", lambda nn: nn.Unflatten(-1, (2, -1)), shapes=[(4, 6)])
    yield ModuleCase("GroupNorm of images", lambda nn: nn.GroupNorm(2, 4), shapes=[(2, 4, 3, 5)])
    yield ModuleCase("GroupNorm of one group", lambda nn: nn.GroupNorm(1, 4, affine=False), shapes=[(4, 4)])
    yield ModuleCase("GroupNorm without bias", lambda nn: nn.GroupNorm(4, 4, bias=False), shapes=[(2, 4, 6)])
    yield ModuleCase("InstanceNorm1d", lambda nn: nn.InstanceNorm1d(3), shapes=[(2, 3, 5)])
    yield ModuleCase("InstanceNorm1d with weights", lambda nn: nn.InstanceNorm1d(3, affine=True), shapes=[(2, 3, 5)])
    yield ModuleCase("InstanceNorm1d of one", lambda nn: nn.InstanceNorm1d(3), shapes=[(3, 5)])
    yield ModuleCase("InstanceNorm2d", lambda nn: nn.InstanceNorm2d(3, affine=True), shapes=[(2, 3, 4, 5)])
    yield ModuleCase(
        "Embedding with padding", lambda nn: nn.Embedding(4, 3, 1), [(6,)], domain=classes(4), smooth=False
    )
    yield ModuleCase(
        "Embedding with padding last", lambda nn: nn.Embedding(4, 3, -1), [(3, 4)], domain=classes(4), smooth=False
    )
    yield Case("bilinear", lambda F, x, y, w, b: F.bilinear(x, y, w, b), shapes=[(5, 3), (5, 4), (2, 3, 4), (2,)])
    yield Case("bilinear of squares", lambda F, x, y, w: F.bilinear(x, y, w), shapes=[(2, 3, 3), (2, 3, 3), (3, 3, 3)])
    for options in ({}, {"p": 1.0}, {"dim": 0}, {"p": 3.0, "dim": -1}):
        yield Case(f"{words('normalize', options)}", lambda F, x, o=options: F.normalize(x, **o), [(4, 3)])
    yield Case("normalize of zeros", lambda F, x: F.normalize(x), values=[np.zeros((2, 3))], smooth=False)
    yield Case("cosine_similarity", lambda F, x, y: F.cosine_similarity(x, y), shapes=[(4, 3), (4, 3)])
    yield Case(
        "cosine_similarity, broadcast", lambda F, x, y: F.cosine_similarity(x, y, dim=0), shapes=[(4, 1), (4, 3)]
    )
    for options in ({}, {"p": 1.0}, {"keepdim": True}, {"p": inf}):
        yield Case(
            f"{words('pairwise_distance', options)}",
            lambda F, x, y, o=options: F.pairwise_distance(x, y, **o),
            [(4, 3), (4, 3)],
        )
    for training in (True, False):
        yield Case(
            f"batch_norm training={training}",
            lambda F, x, m, v, w, b, t=training: F.batch_norm(x, m, v, w, b, t),
            [(5, 3), (3,), (3,), (3,), (3,)],
            domain=[normal, normal, positive, normal, normal],
            constant=[1, 2],
        )
    yield Case("batch_norm without statistics", lambda F, x: F.batch_norm(x, None, None, training=True), [(5, 3)])
    yield Case("layer_norm", lambda F, x, w, b: F.layer_norm(x, (4,), w, b), shapes=[(3, 4), (4,), (4,)])
    yield Case("layer_norm without weights", lambda F, x: F.layer_norm(x, [3, 4], eps=0.1), shapes=[(2, 3, 4)])
    yield Case("group_norm", lambda F, x, w, b: F.group_norm(x, 2, w, b), shapes=[(3, 4, 5), (4,), (4,)])
    yield Case("instance_norm", lambda F, x: F.instance_norm(x), shapes=[(3, 4, 5)])
    yield Case(
        "F.embedding", lambda F, i, w: F.embedding(i, w, padding_idx=0), values=[[0, 1, 2, 0], np.eye(3)], smooth=False
    )


GROUPS = {"activations": [*activations()], "losses": [*losses()], "modules": [*layers()]}
