"""PyTorch's names for what is on this rung, so that a program written for PyTorch runs on it unchanged.

`python -m stage5_fast.torch program.py …`, or another rung's name, runs it. In a program, `from stage5_fast import
torch` does the same for what it imports afterwards, such as `import torch.nn as nn`; only where PyTorch itself was
imported before, its modules stay in their places. What is asked for and isn't here is an error that says where it
arrives.
"""

import os
import runpy
import sys
from abc import ABC
from contextlib import ContextDecorator
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from . import aliases, autograd, creation, distributions, engine, nn, optim, random, reporters, utils
from .device import device as device_named, moved

LATER = {
    "rung 4, stage4_cnn": {
        "nn": """
            AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d AvgPool1d AvgPool2d BatchNorm2d
            CircularPad1d CircularPad2d ConstantPad1d ConstantPad2d Conv1d Conv2d ConvTranspose1d ConvTranspose2d Fold
            MaxPool1d MaxPool2d PixelShuffle PixelUnshuffle ReflectionPad1d ReflectionPad2d ReplicationPad1d
            ReplicationPad2d Unfold Upsample UpsamplingBilinear2d UpsamplingNearest2d ZeroPad1d ZeroPad2d
        """,
        "nn.functional": """
            adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d avg_pool1d avg_pool2d conv1d
            conv2d conv_transpose1d conv_transpose2d fold interpolate max_pool1d max_pool2d pixel_shuffle
            pixel_unshuffle unfold upsample
        """,
    },
    "rung 6, stage6_sequence": {
        "nn": """
            GRU GRUCell LSTM LSTMCell MultiheadAttention RMSNorm RNN RNNCell Transformer TransformerDecoder
            TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer
        """,
        "nn.functional": "multi_head_attention_forward rms_norm scaled_dot_product_attention",
        "nn.utils": "rnn",
    },
    "rung 7, stage7_distributed": {
        "": "distributed",
        "nn.parallel": "DistributedDataParallel",
        "utils.data": "distributed",
    },
}
SAME = {  # PyTorch's other names for a module
    "distributions.bernoulli": "distributions",
    "distributions.categorical": "distributions",
    "distributions.kl": "distributions",
    "distributions.normal": "distributions",
    "nn.modules": "nn",
    "nn.modules.module": "nn",
    "nn.parameter": "nn",
    "optim.optimizer": "optim",
    "utils.data.dataloader": "utils.data",
    "utils.data.dataset": "utils.data",
    "utils.data.sampler": "utils.data",
}
OLD = """
constant eye kaiming_normal kaiming_uniform normal orthogonal uniform xavier_normal xavier_uniform
"""  # of initialization, which PyTorch still has without the underscore at their end
IN_PLACE = """
abs acos acosh asin asinh atan atanh ceil clamp clamp_max clamp_min clip cos cosh erf erfc exp exp2 expm1 fill floor
frac log log10 log1p log2 nan_to_num neg reciprocal relu round rsqrt sigmoid sin sinh sqrt square tan tanh trunc
xlogy zero
"""
SPECIAL = "erf erfc exp2 expm1 log1p log_softmax logsumexp round softmax xlogy"
UNCOMPILED = "ignore", "script", "script_method", "unused"
SEEDS = "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"
OUR_OWN = {"Value", "capture", "datasets", "hinge_loss", "refuse"}  # names that aren't PyTorch's
ROOMS = {"activations", "attention", "conv", "distributed", "nn", "optim", "padding", "pooling", "resize"}
ROOMS |= {"rms_norm", "utils"}  # whose names are PyTorch's


def absent(name):
    """The sentence for a name that this rung hasn't."""
    place, _, last = name.removeprefix("torch").removeprefix(".").rpartition(".")
    for rung, found in LATER.items():
        if last in found.get(place, "").split():
            return f"{name} arrives on {rung}"
    return f"{name} is not on this ladder"


class Place(ModuleType):
    """A module under PyTorch's name, with the names that this rung has."""

    def __init__(self, name, *sources, **more):
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.__path__ = []  # so that what it lacks is looked for as a module too, and `Absent` is asked
        for source in sources:
            vars(self).update(offered(source))
        vars(self).update(more)

    def __getattr__(self, name):
        raise AttributeError(absent(f"{self.__name__}.{name}"))


class Absent:
    """Where Python looks for modules: what begins with `torch.` and isn't in a Place is nowhere."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """An error, as the module isn't here; None for other names, which are others' to find."""
        if name.startswith("torch."):
            raise ModuleNotFoundError(absent(name))  # without name=: `from torch import …` would hide the sentence


def offered(module):
    """The names that a module lists or else has, without those that it has from the rooms below."""
    listed = getattr(module, "__all__", None) or [name for name, value in vars(module).items() if _own(name, value)]
    return {name: getattr(module, name) for name in listed if name not in OUR_OWN}


def _own(name, value):
    room = (getattr(value, "__module__", None) or "").removeprefix(f"{__package__}.").partition(".")[0]
    return name[0] != "_" and room in ROOMS


# What PyTorch's programs ask for besides, and what it is here


def compile(model=None, *, fullgraph=False, dynamic=None, backend="inductor", mode=None, options=None, disable=False):
    """The model or function itself: nothing is compiled."""
    return model if model is not None else lambda model: model


def get_default_dtype():
    """float32, which Python's floats become."""
    return aliases.float32


def set_default_dtype(d):
    """Nothing for float32; any other is refused."""
    if d != aliases.float32:
        raise NotImplementedError(f"set_default_dtype: Python's floats become float32 here, not {d}; give dtype=")


def set_default_device(device):
    """Nothing for the CPU; any other is refused."""
    if device_named(device).type != "cpu":
        raise NotImplementedError(
            f"set_default_device: tensors are made on the CPU here, not on {device}; give device="
        )


def set_printoptions(precision=None, threshold=None, edgeitems=None, linewidth=None, profile=None, sci_mode=None):
    """How numbers are printed, by NumPy, whose arrays it holds for as well."""
    if profile is not None or sci_mode:
        raise NotImplementedError("set_printoptions: profile and sci_mode=True are not supported")
    suppress = None if sci_mode is None else True
    np.set_printoptions(precision, threshold, edgeitems, linewidth, suppress)


def linalg_norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """Frobenius' norm of a matrix, or (Σ|x|ᵖ)^(1/p) of vectors along a dim, for p = ord; by default p = 2."""
    if ord not in (None, "fro") and (A.ndim if dim is None else np.size(dim)) == 2:
        raise NotImplementedError(f"linalg.norm: of a matrix only Frobenius' norm is supported, not ord={ord!r}")
    return vector_norm(A, 2 if ord in (None, "fro") else ord, dim, keepdim, dtype=dtype)


def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """(Σ|x|ᵖ)^(1/p) along dims, for p = ord."""
    return aliases.norm(x if dtype is None else x.to(dtype), ord, dim, keepdim)


def as_it_is(obj=None, *args, **options):
    """The function or module itself: nothing is compiled."""
    return obj if obj is not None else as_it_is


def accepted(*args, **options):
    """Nothing: a setting of speed or of memory, which changes no result."""


def cuda_is_available():
    """Whether there is a GPU that this rung can use."""
    try:
        moved(np.zeros(0), "cuda")
    except (ImportError, RuntimeError):
        return False
    return True


def current_accelerator():
    """The GPU, if there is one."""
    return device_named("cuda") if cuda_is_available() else None


def cuda_manual_seed(seed):
    """Where there is a GPU, `manual_seed`: one generator serves both; else nothing, as in PyTorch."""
    if cuda_is_available():
        random.manual_seed(seed)


class autocast(ContextDecorator):
    """Nothing, if not enabled; mixed precision is refused."""

    def __init__(self, device_type="cuda", dtype=None, enabled=True, cache_enabled=None):
        if enabled:
            raise NotImplementedError("autocast: there is no mixed precision here; only enabled=False works")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class GradScaler:
    """A scaler of losses that scales nothing, if not enabled; it belongs to mixed precision, which is refused."""

    def __init__(
        self,
        device="cuda",
        init_scale=65536.0,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
        enabled=True,
    ):
        if enabled:
            raise NotImplementedError("GradScaler: there is no mixed precision here; only enabled=False works")

    def scale(self, outputs):
        """The loss itself."""
        return outputs

    def step(self, optimizer, *args, **kwargs):
        """The optimizer's step."""
        return optimizer.step(*args, **kwargs)

    unscale_ = update = accepted


def legacy(dtype):
    """`FloatTensor` and the like: given sizes an uninitialized tensor of the dtype, given a sequence one of that."""

    made = partial(creation.legacy, dtype=dtype)
    made.dtype = dtype  # so that `x.type(torch.FloatTensor)` takes it for its dtype
    return made


class Tensor(engine.Tensor, ABC):
    """`torch.Tensor`: every tensor is one. To make one is what `FloatTensor` does, unlike the rung's own `Tensor`."""

    __slots__ = ()

    def __new__(cls, *data):
        return legacy(aliases.float32)(*data)

    @classmethod
    def __subclasshook__(cls, kind):
        return issubclass(kind, engine.Tensor)


class SummaryWriter:
    """Scalars for TensorBoard, whose package must be installed; PyTorch's other kinds of figures aren't written."""

    def __init__(self, log_dir=None, comment=""):
        self.log_dir = log_dir or f"runs/{datetime.now():%b%d_%H-%M-%S}{comment}"
        self._log = reporters.TensorBoard(str(self.log_dir))
        self._log.writer = self._log.writer(self._log.folder)

    def add_scalar(self, tag, scalar_value, global_step=None):
        """Write a number under a name, and a step."""
        self._log.report("step", global_step or 0, {tag: float(scalar_value)})

    flush = accepted  # each number is written at once

    def close(self):
        self._log.end({})


def places():
    """PyTorch's modules by name, as far as this rung has something of them."""
    here = offered(sys.modules[__package__])
    here |= {name: getattr(np, name) for name in ("e", "finfo", "iinfo", "inf", "nan", "newaxis", "pi")}
    here |= {name.removeprefix("torch."): legacy(dtype) for name, dtype in aliases.TYPES.items()}
    here |= {f"{name}_": getattr(engine.Tensor, f"{name}_") for name in IN_PLACE.split()}
    here |= {
        "Tensor": Tensor,
        "dtype": np.dtype,
        "compile": compile,
        "set_printoptions": set_printoptions,
        "__version__": "2.13.0",
    }
    here |= {"get_default_dtype": get_default_dtype, "set_default_dtype": set_default_dtype}
    here |= {"set_default_device": set_default_device, "autocast": autocast, "get_num_threads": os.cpu_count}
    here |= dict.fromkeys(["set_num_threads", "set_float32_matmul_precision", "use_deterministic_algorithms"], accepted)
    modes = {name: here[name] for name in ("enable_grad", "inference_mode", "no_grad", "set_grad_enabled")}
    seeds = {name: getattr(random, name) for name in SEEDS}
    gpu = {"is_available": cuda_is_available, "device_count": lambda: int(cuda_is_available())}
    olds = {name: getattr(nn.init, f"{name}_") for name in OLD.split()}
    upsample = {"upsample": nn.functional.interpolate} if hasattr(nn.functional, "interpolate") else {}
    flags = {"enabled": True, "benchmark": False, "deterministic": False, "allow_tf32": False}
    mixed = {"autocast": autocast, "GradScaler": GradScaler}
    found = [
        Place("torch", **here),
        Place("torch.nn", nn),
        Place("torch.nn.functional", nn.functional, **upsample),
        Place("torch.nn.init", nn.init, _calculate_fan_in_and_fan_out=nn.init._fans, **olds),
        Place("torch.nn.utils", nn.utils, clip_grad_norm=nn.utils.clip_grad_norm_),
        Place("torch.nn.parallel", *([nn.parallel] if hasattr(nn, "parallel") else [])),
        Place("torch.optim", optim),
        Place("torch.optim.lr_scheduler", optim.lr_scheduler, _LRScheduler=optim.lr_scheduler.LRScheduler),
        Place("torch.utils"),
        Place("torch.utils.data", utils.data),
        Place("torch.utils.tensorboard", SummaryWriter=SummaryWriter),
        Place("torch.autograd", autograd, **modes),
        Place("torch.autograd.function", Function=autograd.Function, once_differentiable=autograd.once_differentiable),
        Place("torch.linalg", matmul=aliases.matmul, norm=linalg_norm, vector_norm=vector_norm),
        Place("torch.special", **{name: getattr(aliases, name) for name in SPECIAL.split()}),
        Place("torch.jit", **dict.fromkeys(UNCOMPILED, as_it_is), ScriptModule=nn.Module, is_scripting=lambda: False),
        Place("torch.distributions", distributions),
        Place("torch.random", **seeds),
        Place("torch.amp", **mixed),
        Place(
            "torch.cuda", **gpu, manual_seed=cuda_manual_seed, manual_seed_all=cuda_manual_seed, empty_cache=accepted
        ),
        Place("torch.cuda.amp", autocast=partial(autocast, "cuda"), GradScaler=partial(GradScaler, "cuda")),
        Place("torch.accelerator", **gpu, current_accelerator=current_accelerator),
        Place("torch.backends"),
        Place("torch.backends.cudnn", **flags, is_available=cuda_is_available),
        Place("torch.backends.cuda", matmul=SimpleNamespace(allow_tf32=False)),
        Place("torch.backends.mps", is_available=lambda: False, is_built=lambda: False),
    ]
    if hasattr(nn.utils, "rnn"):  # from rung 6 on
        found.append(Place("torch.nn.utils.rnn", nn.utils.rnn))
    if hasattr(nn, "parallel"):  # from rung 7 on
        found.append(Place("torch.distributed", sys.modules[__package__].distributed))
        found.append(Place("torch.utils.data.distributed", utils.data.distributed))
    found = {place.__name__: place for place in found}
    found |= {f"torch.{name}": found[f"torch.{same}"] for name, same in SAME.items()}
    for name, place in found.items():
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(found[parent], last, place)
    return found


def main():
    """Run the program that the command line names, with what follows its name as its arguments."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        missing = "".join(f"{name} is no file; " for name in sys.argv[1:2])
        sys.exit(f"{missing}usage: python -m {__package__}.torch program.py …")
    import_module(f"{__package__}.torch")
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
else:
    _found = places()
    sys.modules[__name__] = _found["torch"]
    if not hasattr(sys.modules.get("torch"), "__file__"):  # PyTorch's has one; another rung's is replaced
        sys.modules.update(_found)
        sys.meta_path.insert(0, Absent)
