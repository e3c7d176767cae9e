"""What is measured: the workloads, who runs them, and how long each may take at most, against whom."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from . import networks_in_jax, operations_in_jax, steps_in_jax as in_jax
from .networks import gpt, microgpt, resnet
from .operations import OPERATIONS, SIZES, adamw, operation
from .sequences import attention, generation, lstm
from .steps import (
    COPY_SIZE,
    SGEMM_SIZE,
    cnn,
    convolution,
    copy,
    mlp,
    mlp_with_adam,
    moons,
    moons_without_modules,
    scalar_moons,
    sgemm,
    small_cnn,
    small_cnn_of_numbers,
    small_cnn_of_patches,
)

# Unless told not to, glibc gives large arrays back to the system, which then clears their pages anew in each step.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "100000000",
}


@dataclass(frozen=True)
class Contender:
    """Who runs a workload, and at most how much of others' time it should take: `targets` has a ratio for each name.

    The first word of the name is the module that it needs. `environment` is what its process has beside ours, `after`
    how many steps it runs before it is measured.
    """

    name: str
    build: Callable
    targets: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    after: int = 0

    @property
    def module(self):
        return self.name.split()[0]


@dataclass(frozen=True)
class Workload:
    """What is measured: so many steps a round, of contenders whose losses agree; the first one is the reference.

    No step of a round begins after `seconds`. `work` is what a limit's step does, in `unit`s times a second.
    """

    name: str
    steps: int
    tolerance: float
    contenders: tuple[Contender, ...]
    collect_garbage: bool = True
    seconds: float = 3.0
    work: float = 0.0
    unit: str = ""


def training(name, build, build_in_jax, rungs, steps, seconds=3.0):
    """A workload of training steps: PyTorch eager, and the best of its own, JAX, and the rungs."""
    eager, jax = Contender("torch eager", build), Contender("jax", build_in_jax)
    tuned = Contender("torch tuned", build, environment=KEEP_MEMORY)
    return Workload(name, steps, 1e-4, (eager, tuned, jax, *rungs), seconds=seconds)


def layer(name, *sizes, **options):
    """A workload of one convolution, forward and backward: rung 5 against PyTorch eager."""

    def build(lib):
        return convolution(lib, *sizes, **options)

    contenders = Contender("torch eager", build), Contender("stage5_fast", build, {"torch eager": 1.3})
    return Workload(name, 30, 1e-4, contenders, seconds=0.4)


def before_and_after(build, target):
    """PyTorch and two rungs at the start and 3,000 steps later, when rung 5 is to be as fast as before."""
    for name in ("torch eager", "stage4_cnn", "stage5_fast"):
        yield Contender(name, build)
        yield Contender(f"{name} later", build, {name: target} if name == "stage5_fast" else {}, after=3000)


def single_op(name, build, build_in_jax, n):
    """A workload of one op on n numbers: PyTorch eager, JAX, NumPy's functions and the kernels."""
    contenders = (
        Contender("torch eager", partial(build, n=n)),
        Contender("jax", partial(build_in_jax, n=n)),
        Contender("stage4_cnn", partial(build, n=n)),
        Contender("stage5_fast", partial(build, n=n), {"torch eager": 2.0}),
    )
    return Workload(f"{name} {n}", 50, 1e-4, contenders, seconds=0.2)


def sequence(name, build, target, steps, captured=()):
    """A workload of rung 6, against PyTorch eager."""
    contenders = Contender("torch eager", build), Contender("stage6_sequence", build, {"torch eager": target})
    return Workload(name, steps, 1e-4, (*contenders, *captured), seconds=2.0)


mlp_256, cnn_256, nanogpt = partial(mlp, size=256), partial(cnn, size=256), partial(gpt, as_nanogpt=True)
WORKLOADS = (
    Workload(
        name="moons-scalar",
        steps=2,
        tolerance=1e-9,
        contenders=(
            Contender("micrograd", scalar_moons),
            Contender("stage1_scalar", scalar_moons, {"micrograd": 0.3}),
        ),
    ),
    Workload(
        name="moons-scalar-gc-off",
        steps=7,
        tolerance=1e-9,
        contenders=(
            Contender("micrograd", scalar_moons),
            Contender("stage1_scalar", scalar_moons, {"micrograd": 0.85}),
        ),
        collect_garbage=False,
    ),
    training(
        "moons",
        moons,
        in_jax.moons,
        (
            Contender("stage1_scalar", scalar_moons),
            Contender("stage2_tensor", moons_without_modules, {"torch eager": 0.5}),
            Contender("stage3_nn", moons, {"torch eager": 0.5}),
            Contender("stage4_cnn", moons, {"torch eager": 0.5}),
            Contender("stage5_fast", moons, {"torch eager": 0.4}),
            Contender("stage5_fast captured", moons, {"torch eager": 0.1, "jax": 0.6}),
        ),
        steps=500,
        seconds=0.5,
    ),
    training(  # the one step that every rung can do and that each makes faster: the ladder picture shows it
        "small-cnn",
        small_cnn,
        in_jax.small_cnn,
        (
            Contender("stage1_scalar", small_cnn_of_numbers),
            Contender("stage2_tensor", small_cnn_of_patches),
            Contender("stage3_nn", small_cnn_of_patches),
            Contender("stage4_cnn", small_cnn),
            Contender("stage5_fast", small_cnn),
            Contender("stage5_fast captured", small_cnn),
        ),
        steps=100,
    ),
    training(
        "mlp-64",
        mlp,
        in_jax.mlp,
        (
            Contender("stage3_nn", mlp, {"torch eager": 0.95}),
            Contender("stage4_cnn", mlp, {"torch eager": 0.95}),
            Contender("stage5_fast", mlp, {"torch eager": 0.45}),
            Contender("stage5_fast captured", mlp, {"torch eager": 0.45, "jax": 0.6}),
        ),
        steps=500,
    ),
    training(
        "mlp-256",
        mlp_256,
        partial(in_jax.mlp, size=256),
        (Contender("stage4_cnn", mlp_256), Contender("stage5_fast", mlp_256, {"torch eager": 0.7})),
        steps=200,
    ),
    training(
        "cnn-64",
        cnn,
        in_jax.cnn,
        (
            Contender("stage4_cnn", cnn, {"torch eager": 2.5}),
            Contender("stage5_fast", cnn, {"torch eager": 0.28, "torch tuned": 0.5, "stage4_cnn": 1 / 6}),
            Contender("stage5_fast captured", cnn, {"torch eager": 0.33, "jax": 0.4}),
        ),
        steps=25,
    ),
    training(
        "cnn-256",
        cnn_256,
        partial(in_jax.cnn, size=256),
        (
            Contender("stage4_cnn", cnn_256),
            Contender("stage5_fast", cnn_256, {"torch eager": 0.33, "torch tuned": 0.55}),
        ),
        steps=10,
    ),
    training(
        "resnet",
        resnet,
        networks_in_jax.resnet,
        (
            Contender("stage4_cnn", resnet, {"torch eager": 3.5}),
            Contender("stage5_fast", resnet, {"torch eager": 0.85}),
            Contender("stage5_fast captured", resnet),
        ),
        steps=6,
    ),
    training(
        "gpt",
        gpt,
        networks_in_jax.gpt,
        (
            Contender("stage3_nn", gpt, {"torch eager": 3.0}),
            Contender("stage4_cnn", gpt, {"torch eager": 3.0}),
            Contender("stage5_fast", gpt, {"torch eager": 0.9}),
            Contender("stage5_fast captured", gpt, {"torch eager": 0.7, "jax": 1.0}),
        ),
        steps=15,
    ),
    training(
        "microgpt",
        microgpt,
        networks_in_jax.microgpt,
        (
            Contender("stage3_nn", microgpt),
            Contender("stage4_cnn", microgpt),
            Contender("stage5_fast", microgpt),
            Contender("stage5_fast captured", microgpt, {"torch eager": 0.1, "jax": 1.0}),
        ),
        steps=500,
        seconds=0.5,
    ),
    sequence("nanogpt", nanogpt, 0.7, 15, [Contender("stage6_sequence captured", nanogpt, {"torch eager": 0.7})]),
    sequence("lstm", lstm, 0.9, 10),
    sequence("attention", attention, 0.9, 10),
    Workload(
        name="generation",
        steps=10,
        tolerance=0.0,
        contenders=(
            Contender("torch eager", generation),
            Contender("stage6_sequence", generation),
            Contender("stage6_sequence captured", generation, {"torch eager": 1 / 3}),
        ),
        seconds=2.0,
    ),
    layer("conv-7x7-3-64", 3, 64, 7, 112, images=True, stride=2, padding=3),
    layer("conv-3x3-64-64", 64, 64, 3, 56, padding=1),
    layer("conv-3x3-128-128", 128, 128, 3, 28, padding=1),
    layer("conv-1x1-256-256", 256, 256, 1, 14),
    layer("depthwise-3x3-128", 128, 128, 3, 28, padding=1, groups=128),
    # So few steps that the fresh ones are still so at the end: it takes 800 until the first numbers are denormal.
    Workload("mlp-adam", 30, 1e-4, tuple(before_and_after(mlp_with_adam, 1.15))),
)
SINGLE_OPS = tuple(
    single_op(name, partial(operation, name=name), partial(operations_in_jax.operation, name=name), n)
    for name in OPERATIONS
    for n in SIZES
) + tuple(single_op("adamw", adamw, operations_in_jax.adamw, n) for n in SIZES)
LIMITS = (
    Workload(
        name="sgemm",
        steps=3,
        tolerance=1e-3,
        contenders=(Contender("torch", sgemm), Contender("numpy", sgemm)),
        work=2 * SGEMM_SIZE**3 / 1e9,
        unit="GFLOP",
    ),
    Workload(
        name="copy",
        steps=5,
        tolerance=0.0,
        contenders=(Contender("torch", copy), Contender("numpy", copy)),
        work=2 * 4 * COPY_SIZE / 1e9,  # each number of 4 bytes is read and written
        unit="GB",
    ),
)
ALL = WORKLOADS + SINGLE_OPS + LIMITS
COMPUTE_BOUND = tuple(workload for workload in WORKLOADS if workload.name.startswith(("cnn", "conv", "resnet")))
MNIST_STEP = Workload(  # to whose first step the way is measured
    name="cnn-64",
    steps=100,
    tolerance=1e-4,
    contenders=tuple(Contender(name, cnn) for name in ("torch eager", "stage4_cnn", "stage5_fast")),
)
IN_MEMORY = replace(MNIST_STEP, contenders=(*MNIST_STEP.contenders, Contender("stage5_fast captured", cnn)))
CAPTURED = tuple(  # a step of generation is many calls of two recorded ones
    workload
    for workload in WORKLOADS
    if workload.contenders[-1].name.endswith(" captured") and workload.name != "generation"
)
