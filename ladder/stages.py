"""The rungs of the ladder, in order: the one table that nox, the tests and the docs read. Standard library only."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Stage:
    """One rung, and the lesson that leads up to it from the rung below.

    `max_lines` is the budget of code lines (check.py says how they are counted), `max_added` that of the lines which
    the lesson adds, `max_changed` the percentage of the lines of the rung below that it may change or remove. `touched`
    are the files of the rung below that the lesson changes, `new` those that it brings; all others stay as they are,
    byte for byte. `beside` are new too, but can be left out when the lesson is read: names, more of a kind, and what
    programs need besides; no budget of lines added holds for them. `dependencies` and `optional`, those of the extras,
    are in alphabetical order; `modules` are what is imported from packages of other names.
    """

    number: int
    package: str
    adds: str
    dependencies: tuple[str, ...]
    optional: tuple[str, ...]
    demos: tuple[str, ...]
    max_lines: int
    max_added: int = 0
    max_changed: int = 0
    touched: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    root: Path = ROOT

    @property
    def folder(self):
        """Where the rung lives: a flat package, with its own pyproject.toml and README.md."""
        return self.root / self.package

    @property
    def exists(self):
        """Whether the rung is built yet."""
        return (self.folder / "__init__.py").is_file()

    def files(self):
        """The rung's files as sorted paths relative to its folder, without caches."""
        paths = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in paths if "__pycache__" not in path.parts)


# The first budgets were 120, 320, 700 and 850 lines. What went beyond them are errors that name the op and what it got,
# the edges at which PyTorch's gradients are matched, data files that are checked before they are read, checkpoints that
# are never half written and pictures that say what to install: to leave these out would be shorter, but not clearer.
# Then 990 and 1160 became 1030 and 1200: from rung 3 on, the loops that rung 5 compiles are functions of their own.
# Rung 5 had 2250 for the CPU alone, of which 1050 were new; for the GPU it has as many loops again, and two memories.
# For it rungs 2 and 4 have 20 more: some rules say what NumPy would find out by itself, and other arrays would not.
# Since programs written for PyTorch run here, arguments are PyTorch's and each function has all of them: rungs 2 to 5
# may add 690, 1680, 420 and 4100, without the files beside the lesson, in which most of that breadth stands. Rung 2
# changes 35 % of rung 1, as data and grad are no longer plain, and 30 of its lines keep NumPy's warnings to themselves.
# Rung 1 has 60 lines more than its 180: a Tensor is a number there in a comparison and a format, `no_grad`, in a file
# of its own, covers generators, and `dot` makes one step of what would be 31 for each row of a matrix. Of rung 3's
# lines 100 check what a file or a state says before it is believed. Of rung 5's 1310 are captured steps, a lesson of
# their own in three files, 600 the kernels of what a sequence model needs, and 11 let Ctrl-C wait for a compilation.
# Rung 7's 250 became 315: a batch may be uneven, a gradient may come from some ranks alone, large ones aren't copied,
# and ranks that disagree, or whose launcher is another MPI's, are told so.
KERNELS = "activation", "convolution", "matrix_product", "normalization", "optimizer", "pooling", "reduction"
KERNELS += ("softmax_and_loss",)  # the files that rung 5 has for the CPU and for the GPU, one a topic

STAGES = (
    Stage(
        number=1,
        package="stage1_scalar",
        adds="one number that remembers how it was computed, and `backward()`",
        dependencies=(),
        optional=("matplotlib", "pygraphviz", "tqdm"),
        demos=("moons", "gpt"),
        max_lines=240,
    ),
    Stage(
        number=2,
        package="stage2_tensor",
        adds="arrays: `unbroadcast`, matmul, reductions, shapes, indexing",
        dependencies=("numpy",),
        optional=("matplotlib", "pygraphviz", "tqdm"),
        demos=("moons", "gpt"),
        max_lines=2410,
        max_added=690,
        max_changed=40,  # of 227 lines: the operators' methods are rewritten, as what they return is
        touched=("draw.py", "engine.py", "gpt.py", "grad_mode.py", "moons.py", "ops.py"),
        beside=("creation.py", "device.py", "functions.py", "inplace.py", "aliases.py", "pointwise.py")
        + ("random.py", "selection.py"),
    ),
    Stage(
        number=3,
        package="stage3_nn",
        adds="modules, losses, optimizers, data, checkpoints",
        dependencies=("numpy",),
        optional=("matplotlib", "pillow", "pooch", "pygraphviz", "tensorboard", "tqdm", "wandb"),
        demos=("moons", "gpt", "mnist"),
        max_lines=6555,
        max_added=1680,
        max_changed=8,
        touched=("demo.py", "gpt.py", "moons.py", "ops.py"),
        new=("checkpoint.py", "datasets.py", "digits.npz", "mnist.py", "nn/__init__.py", "nn/container.py")
        + ("nn/dropout.py", "nn/linear.py", "nn/loss.py", "nn/module.py", "nn/normalization.py", "nn/parameter.py")
        + ("nn/sparse.py", "optim/__init__.py", "optim/adam.py", "optim/optimizer.py", "optim/sgd.py")
        + ("utils/__init__.py", "utils/data/__init__.py", "utils/data/dataloader.py", "utils/data/dataset.py"),
        beside=(
            "activations.py",
            "autograd.py",
            "distributions.py",
            "download.py",
            "files.py",
            "loaded.py",
            "losses.py",
        )
        + ("mistakes.py", "nn/activation.py", "nn/distance.py")
        + ("nn/flatten.py", "nn/functional.py", "nn/init.py", "nn/utils.py", "optim/adadelta.py", "optim/adagrad.py")
        + ("optim/lr_scheduler.py", "optim/rmsprop.py", "padding.py", "reporters.py", "scan.py", "torch.py")
        + ("unpickle.py",)
        + ("utils/data/collate.py", "utils/data/sampler.py"),
        modules=("PIL", "requests"),
    ),
    Stage(
        number=4,
        package="stage4_cnn",
        adds="convolution as matrix multiplication: im2col, pooling, batch norm",
        dependencies=("numpy",),
        optional=("matplotlib", "pillow", "pooch", "pygraphviz", "tensorboard", "tqdm", "wandb"),
        demos=("moons", "gpt", "mnist", "autoencoder", "resnet"),
        max_lines=7345,
        max_added=420,
        max_changed=8,
        touched=("mnist.py", "nn/__init__.py", "nn/functional.py"),
        new=("autoencoder.py", "conv.py", "resnet.py"),
        beside=("augment.py", "pooling.py", "resize.py"),
        modules=("PIL", "requests"),
    ),
    Stage(
        number=5,
        package="stage5_fast",
        adds="the same mathematics, compiled: Numba kernels on the CPU, CUDA kernels on the GPU",
        dependencies=("llvmlite", "numba", "numpy", "threadpoolctl"),
        optional=("cupy-cuda12x", "cupy-cuda13x", "matplotlib", "numba-cuda", "pillow", "pooch")
        + ("pygraphviz", "tensorboard", "tqdm", "wandb"),
        demos=("moons", "gpt", "mnist", "autoencoder", "resnet"),
        max_lines=11943,
        max_added=4600,
        max_changed=8,
        touched=(
            "activations.py",
            "autoencoder.py",
            "conv.py",
            "demo.py",
            "device.py",
            "gpt.py",
            "mnist.py",
            "moons.py",
        )
        + ("nn/container.py",)
        + ("nn/linear.py", "ops.py", "optim/adadelta.py", "optim/adagrad.py", "optim/adam.py", "optim/optimizer.py")
        + ("optim/rmsprop.py", "optim/sgd.py", "pointwise.py", "pooling.py", "resnet.py", "selection.py"),
        new=tuple(f"kernels_{where}/{name}.py" for where in ("cpu", "gpu") for name in ("__init__", *KERNELS))
        + ("kernels_cpu/elementary.py", "kernels_cpu/elementwise.py", "kernels_cpu/indexing.py", "kernels_cpu/jit.py")
        + ("kernels_cpu/layer_norm.py", "kernels_cpu/layout.py", "kernels_cpu/memory.py", "kernels_cpu/micro_kernel.py")
        + ("kernels_cpu/packing.py", "kernels_cpu/registers.py", "kernels_cpu/threads.py")
        + ("kernels_gpu/elementwise.py", "kernels_gpu/launch.py")
        + ("capture.py", "loops.py", "recording.py"),
        modules=("cuda", "cupy", "cupyx", "numba_cuda", "PIL", "requests"),
    ),
    Stage(
        number=6,
        package="stage6_sequence",
        adds="what depends on what came before: recurrent networks, and attention by tiles",
        dependencies=("llvmlite", "numba", "numpy", "threadpoolctl"),
        optional=("cupy-cuda12x", "cupy-cuda13x", "matplotlib", "numba-cuda", "pillow", "pooch")
        + ("pygraphviz", "tensorboard", "tqdm", "wandb"),
        demos=("moons", "gpt", "mnist", "autoencoder", "resnet", "names"),
        max_lines=13622,
        max_added=1655,
        max_changed=1,
        touched=("demo.py", "gpt.py", "nn/__init__.py", "nn/functional.py"),
        new=("attention.py", "names.py", "recurrent.py", "rms_norm.py", "kernels_cpu/attention.py")
        + ("kernels_cpu/recurrent.py", "kernels_gpu/attention.py", "kernels_gpu/recurrent.py")
        + ("nn/attention.py", "nn/recurrent.py", "nn/transformer.py"),
        beside=("nn/rnn.py",),
        modules=("cuda", "cupy", "cupyx", "numba_cuda", "PIL", "requests"),
    ),
    Stage(
        number=7,
        package="stage7_distributed",
        adds="many processes and machines: gradients are sums, which MPI and NCCL add up",
        dependencies=("llvmlite", "numba", "numpy", "threadpoolctl"),
        optional=("cupy-cuda12x", "cupy-cuda13x", "impi-rt", "matplotlib", "mpi4py", "mpich", "numba-cuda")
        + ("nvidia-nccl-cu12", "nvidia-nccl-cu13", "pillow", "pooch", "pygraphviz", "tensorboard", "tqdm", "wandb"),
        demos=("moons", "gpt", "mnist", "autoencoder", "resnet", "names"),
        max_lines=14117,
        max_added=315,
        max_changed=1,
        touched=("demo.py", "gpt.py", "mnist.py", "nn/__init__.py", "resnet.py", "utils/data/__init__.py")
        + ("utils/data/dataloader.py",),
        new=("distributed.py", "nn/parallel.py", "utils/data/distributed.py"),
        beside=("nccl.py", "nn/sync_batchnorm.py", "together.py", "watch.py"),
        modules=("cuda", "cupy", "cupyx", "mpi4py", "numba_cuda", "PIL", "requests"),
    ),
)


def same_below(stage, arrived, stages=STAGES, apart=()):
    """The rung below, if all that was there on the rung `arrived` stands on both, so that tests of it can't differ.

    The files in folders that are `apart` don't count.
    """
    below = next((other for other in stages if other.number == stage.number - 1), None)
    first = next(other for other in stages if other.number == arrived)
    if not below or arrived > below.number:
        return None
    demos = {f"{demo}.py" for demo in ("demo", *first.demos)}
    names = [name for name in first.files() if name.endswith(".py") and name not in demos]
    names = [name for name in names if not name.endswith("__init__.py") and not name.startswith(tuple(apart))]
    return below if all([says_the_same(below.folder / name, stage.folder / name) for name in names]) else None


def says_the_same(below, here):
    """Whether a file has the text of the one below, or that text with more imports and more functions and classes."""
    if not (below.is_file() and here.is_file()):
        return False
    if below.read_bytes() == here.read_bytes():
        return True
    (old_imports, old), (new_imports, new) = (
        _imports_apart(path.read_text(encoding="utf-8")) for path in (below, here)
    )
    if not old_imports <= new_imports:
        return False
    texts = iter(text for _, text in new)  # what is below stands here too, in that order
    if not all(text in texts for _, text in old):
        return False
    return {name for name, text in new if (name, text) not in old}.isdisjoint({None, *[name for name, _ in old]})


@cache
def _imports_apart(text):
    """What a file imports at its top, as a set; and the rest, each with the name of what it defines, or None."""
    imports, rest = set(), []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            where = (getattr(node, "level", 0), getattr(node, "module", None))
            imports |= {(where, alias.name, alias.asname) for alias in node.names}
        else:
            rest.append((getattr(node, "name", None), ast.dump(node)))
    return imports, rest
