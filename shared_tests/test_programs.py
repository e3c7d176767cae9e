"""Programs in PyTorch's idiom print the same numbers under PyTorch and on each rung that has what they need."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch as pytorch

from ladder.stages import ROOT, STAGES

from .capabilities import CAPABILITIES

pytestmark = pytest.mark.host  # programs run in processes of their own, which ask for no device

PROGRAMS = {path.stem: path for path in sorted(Path(__file__).with_name("programs").glob("*.py"))}
NEEDS = {"images": "convolution"}  # what all others need is a program of PyTorch's
DOUBLE = {"in_place", "own_function", "schedules", "shared_layers", "tensors"}  # those that compute in float64
NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf)(?![\w.])")

# Run each program that is named and say where the output of the next begins.
ONE_AFTER_THE_OTHER = """
import runpy, sys
for path in sys.argv[1:]:
    print(f"\\f{path}")
    runpy.run_path(path, run_name="__main__")
"""


def run(*command, folder):
    """What a program prints, run in a process of its own, as a user runs it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_all(paths, folder, before=""):
    """What each program prints, by name; they share a process, as PyTorch and Numba take their time to start."""
    outputs = run("-c", before + ONE_AFTER_THE_OTHER, *paths, folder=folder).split("\f")[1:]
    return {Path(path).stem: output for path, _, output in (text.partition("\n") for text in outputs)}


def assert_same(found, wanted, tolerance):
    """The same text, but for the last digits of its numbers."""
    assert NUMBER.sub("#", found) == NUMBER.sub("#", wanted)
    numbers = [np.array([float(number) for number in NUMBER.findall(text)]) for text in (found, wanted)]
    np.testing.assert_allclose(*numbers, rtol=tolerance, atol=tolerance / 10)


def tolerance(program):
    return 1e-9 if program in DOUBLE else 2e-4


@pytest.fixture(scope="session")
def by_pytorch(tmp_path_factory):
    """What each program prints under PyTorch."""
    return run_all(PROGRAMS.values(), tmp_path_factory.mktemp("pytorch"))


def those_of(stage):
    """The paths of the programs for which a rung has all that they need."""
    number = stage.number or max(CAPABILITIES.values())
    return [path for name, path in PROGRAMS.items() if CAPABILITIES[NEEDS.get(name, "PyTorch's programs")] <= number]


@pytest.fixture(scope="session")
def by_rung(stage, tmp_path_factory):
    """What each program prints after what `python -m stage3_nn.torch program.py` begins with."""
    return run_all(those_of(stage), tmp_path_factory.mktemp("rung"), before=f"import {stage.name}.torch")


def programs():
    """A parameter for each program, with the capability that it takes."""
    marks = {name: pytest.mark.capability(NEEDS.get(name, "PyTorch's programs")) for name in PROGRAMS}
    return [pytest.param(name, marks=marks[name], id=name) for name in PROGRAMS]


@pytest.mark.parametrize("program", programs())
def test_a_program_as_it_stands_prints_what_it_prints_under_pytorch(program, by_rung, by_pytorch):
    assert_same(by_rung[program], by_pytorch[program], tolerance(program))


@pytest.mark.capability("PyTorch's programs")
def test_programs_whose_first_import_is_changed_print_the_same(stage, by_pytorch, tmp_path):
    (tmp_path / "changed").mkdir()
    paths = []
    for path in those_of(stage):
        paths.append(tmp_path / "changed" / path.name)
        text, n = re.subn("(?m)^import torch$", f"from {stage.name} import torch", path.read_text())
        assert n == 1
        paths[-1].write_text(text)
    for name, found in run_all(paths, tmp_path).items():
        assert_same(found, by_pytorch[name], tolerance(name))
    assert paths


@pytest.mark.capability("PyTorch's programs")
def test_a_program_has_its_arguments_its_folder_and_its_name(stage, tmp_path):
    (tmp_path / "beside.py").write_text("import torch\nanswer = torch.tensor(42)\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom beside import answer\nimport torch as first, torch.nn.functional as F\n"
        "if __name__ == '__main__':\n    print(sys.argv, answer.item(), F.relu(first.tensor(-1.0)).item())\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found = run("-m", f"{stage.name}.torch", "../program.py", "--epochs", "3", folder=elsewhere)
    assert found == "['../program.py', '--epochs', '3'] 42 0.0\n"
    failed = subprocess.run(
        [sys.executable, "-m", f"{stage.name}.torch", "nowhere.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert failed.returncode and failed.stderr.startswith("nowhere.py is no file; usage: ")


CONSTRUCTORS = """
import numpy as np, torch
sized = torch.Tensor(), torch.Tensor(3), torch.Tensor(2, 3), torch.LongTensor(torch.Size([2]))
print([tuple(x.shape) for x in sized])
numbers = torch.Tensor([1, 2]), torch.Tensor(np.arange(2.0)), torch.LongTensor(np.array([1, 2])), torch.ByteTensor([1])
for x in numbers + (torch.ones(1).byte(), torch.ones(1).char()):
    print(x.tolist(), str(x.dtype).removeprefix("torch."), x.requires_grad, isinstance(x, torch.Tensor))
print(str(torch.ones(2).type(torch.DoubleTensor).dtype).removeprefix("torch."), torch.zeros(2).add(torch.Tensor([1])))
one = torch.Tensor([0.5])
for x in (torch.tensor([one, one]), torch.tensor([[one], [one]]), torch.tensor([1, torch.tensor([[2]])])):
    print(tuple(x.shape), x.tolist())
for x in ([np.float64(0.1), 1], [np.float32(1), 0.5], [np.arange(2.0)], [0.5], [torch.ones(1).double(), 1]):
    print(str(torch.tensor(x).dtype).removeprefix("torch."))
try:
    torch.tensor([torch.ones(2), torch.ones(2)])
except ValueError:
    print("refused")
"""
CONSTRUCTED = """
[(0,), (3,), (2, 3), (2,)]
[1.0, 2.0] float32 False True
[0.0, 1.0] float32 False True
[1, 2] int64 False True
[1] uint8 False True
[1] uint8 False True
[1] int8 False True
float64 Tensor([1., 1.], dtype=float32)
(2,) [0.5, 0.5]
(2, 1) [[0.5], [0.5]]
(2,) [1, 2]
float64
float32
float64
float32
float64
refused
""".lstrip()


@pytest.mark.capability("PyTorch's programs")
def test_constructors_of_old_programs_and_lists_of_tensors_make_what_pytorchs_make(stage, tmp_path):
    (tmp_path / "program.py").write_text(CONSTRUCTORS)
    assert run("-m", f"{stage.name}.torch", "program.py", folder=tmp_path) == CONSTRUCTED
    theirs = run("program.py", folder=tmp_path).replace("tensor([1., 1.])", "Tensor([1., 1.], dtype=float32)")
    assert theirs == CONSTRUCTED


OTHER_NAMES = """
import torch
from torch import nn
from torch.distributions.bernoulli import Bernoulli
from torch.distributions.kl import kl_divergence
from torch.optim.lr_scheduler import _LRScheduler
x = torch.arange(6.0).reshape(2, 3)
norm = torch.linalg.norm
for y in norm(x), norm(x, "fro", (0, 1)), norm(x, dim=1), norm(x, 1, dim=0), norm(x[1], 3), norm(x, keepdim=True):
    print(tuple(y.shape), round(y.sum().item(), 4))
print(torch.linalg.vector_norm(x, 1).item(), torch.linalg.vector_norm(x, dim=(0, 1), dtype=torch.double).item())
print(round(torch.special.expm1(x).sum().item(), 3), round(torch.special.logsumexp(x, 1).sum().item(), 3))
print(nn.init._calculate_fan_in_and_fan_out(torch.zeros(3, 4, 5, 5)))

class Warm(_LRScheduler):
    def get_lr(self):
        return [rate * self.last_epoch / 5 for rate in self.base_lrs]

warm = Warm(torch.optim.SGD([nn.Parameter(x)], lr=1.0))
warm.optimizer.step()
warm.step()
print(warm.get_last_lr(), kl_divergence(Bernoulli(0.5), Bernoulli(0.5)).item())

@torch.jit.script
def double(x):
    return x * 2

class Model(nn.Module):
    @torch.jit.ignore
    def names(self):
        return {"bias"}

    @torch.jit.unused
    def unused(self):
        return double(x)

class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_variables
        return gradient * 2 * x

v = torch.autograd.Variable(torch.ones(2), requires_grad=True)
Square.apply(v).sum().backward()
print(v.grad.tolist(), torch.autograd.Variable(v, volatile=True).requires_grad)
print(torch.get_num_threads() > 0, torch.jit.is_scripting())
print(double(x).sum().item(), Model().names(), Model().unused().shape == x.shape)
"""


@pytest.mark.capability("PyTorch's programs")
def test_other_names_and_what_is_not_compiled_say_what_pytorchs_say(stage, tmp_path):
    (tmp_path / "program.py").write_text(OTHER_NAMES)
    assert run("-m", f"{stage.name}.torch", "program.py", folder=tmp_path) == run("program.py", folder=tmp_path)
    with pytest.raises(NotImplementedError, match=r"^linalg\.norm: of a matrix only Frobenius' norm is supported, not"):
        stage.part("torch").linalg.norm(stage.package.ones(2, 2), 2)


FUNCTIONS = """
import torch

def op(forward, back):
    return type("Op", (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(back)})

def ones(*shape):
    return torch.ones(*shape, requires_grad=True)

def gradients(op, *inputs):
    for _ in range(2):
        op.apply(*inputs).sum().backward()
    return [x.grad if x.grad is None else x.grad.tolist() for x in inputs if isinstance(x, torch.Tensor)]

double = lambda ctx, x: x * 2
add = lambda ctx, x, y: x + y
passed_on = op(add, lambda ctx, g: (g, g))
print(gradients(op(double, lambda ctx, g: torch.ones(4, 2)), ones(2)), "of a larger shape")
print(gradients(op(add, lambda ctx, g: (g, None)), ones(2), ones(2)), "or none")
print(gradients(op(lambda ctx, x: x.sum(), lambda ctx, g: g.expand(2, 2)), ones(2, 2)), "expanded")
print(gradients(op(lambda ctx, x, k: x * k, lambda ctx, g: (g * 5, None)), ones(2), 5), "of a number")
print(gradients(op(lambda ctx, x: x.view(-1), lambda ctx, g: g.view(2, 2) * 3), ones(2, 2)), "of a view")

x = ones(2)
op(lambda ctx, x: x.sum(), lambda ctx, g: g * torch.ones(2)).apply(x).backward()
print(x.grad.tolist(), "of a loss")

x, y = ones(2), ones(2)
passed_on.apply(x, y).sum().backward()
x.grad.mul_(7)
print(x.grad.tolist(), y.grad.tolist(), "the same for both")

a, b, c, kept = ones(2), ones(2), ones(2), torch.ones(2)

def twice_and_kept(ctx, g):
    g = g * 2
    return g, g, kept

for _ in range(2):
    tripled, five = b * 3, a * 5
    (op(lambda ctx, x, y, z: x + y + z, twice_and_kept).apply(a, tripled, c) + five).sum().backward()
print(a.grad.tolist(), b.grad.tolist(), c.grad.tolist(), kept.tolist(), "added up in place")

x, y = ones(2), ones(2)
inner = y * 3
op(add, lambda ctx, g: (g, None)).apply(x, inner).sum().backward()
print(x.grad.tolist(), y.grad, "nothing further on")

x = ones(2)
z = x * torch.tensor([1.0, 2.0])
(op(double, lambda ctx, g: g.mul_(10)).apply(z) * z.detach()).sum().backward()
print(x.grad.tolist(), "changed in place")

for name, wrong in [("shape", torch.ones(3)), ("shape", torch.ones(1)), ("type", 3.0), ("count", (torch.ones(2),) * 2)]:
    try:
        gradients(op(double, lambda ctx, g: wrong), ones(2))
    except RuntimeError:
        print("a wrong", name)
"""


@pytest.mark.capability("PyTorch's programs")
def test_gradients_of_custom_functions_are_pytorchs(stage, tmp_path):
    """Also where `backward` gives one twice, one that it keeps, none, or changes what it got."""
    (tmp_path / "program.py").write_text(FUNCTIONS)
    assert run("-m", f"{stage.name}.torch", "program.py", folder=tmp_path) == run("program.py", folder=tmp_path)


IMPORTS = """
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
import torch.backends.cudnn as cudnn
import torch.utils.data
from torch import Tensor, autograd, nn, optim
from torch.autograd import Function, Variable
from torch.nn import Module, Parameter, functional, init
from torch.nn.modules.module import Module
from torch.nn.parameter import Parameter
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.data.dataloader import DataLoader
from torch.utils.data.dataset import Dataset
cudnn.benchmark = True
torch.backends.cuda.matmul.allow_tf32 = True
torch.cuda.manual_seed_all(1)
torch.use_deterministic_algorithms(True)
print(torch.cuda.is_available() in (True, False), torch.backends.mps.is_available(), torch.__version__)
print(torch.finfo(torch.float32).eps == 2**-23, torch.get_default_dtype() == torch.float)
print(torch.compile(nn.ReLU())(torch.ones(1)).item())
print(isinstance(torch.zeros(2), torch.Tensor), torch.LongTensor([1, 2]).dtype, torch.FloatTensor(2, 3).shape)
with torch.autocast("cpu", enabled=False):
    scaler = torch.amp.GradScaler(enabled=False)
    print(scaler.scale(torch.ones(1)).item())
"""


@pytest.mark.capability("PyTorch's programs")
def test_every_usual_import_finds_this_rung(stage, tmp_path):
    (tmp_path / "imports.py").write_text(IMPORTS)
    lines = run("-m", f"{stage.name}.torch", "imports.py", folder=tmp_path).splitlines()
    assert lines == ["True False 2.13.0", "True True", "1.0", "True int64 torch.Size([2, 3])", "1.0"]


def table_of(torch):
    """What torch.py says of the rungs: (place, name) -> the rung's sentence."""
    later = type(torch).__getattr__.__globals__["LATER"]
    return {
        (place, name): rung
        for rung, places in later.items()
        for place, names in places.items()
        for name in names.split()
    }


def part_of(torch, place):
    """`torch.nn.functional`, of "nn.functional"."""
    for name in filter(None, place.split(".")):
        torch = getattr(torch, name)
    return torch


@pytest.mark.capability("PyTorch's programs")
def test_what_is_missing_says_on_which_rung_it_arrives(stage):
    ours = stage.part("torch")
    for (place, name), rung in table_of(ours).items():
        assert hasattr(part_of(pytorch, place), name) or importlib.util.find_spec(f"torch.{place}.{name}"), name
        arrives, package = re.fullmatch(r"rung (\d), (\w+)", rung).groups()
        assert {stage.number: stage.package for stage in STAGES}.get(int(arrives), package) == package
        if stage.number and int(arrives) <= stage.number:
            assert hasattr(part_of(ours, place), name), f"{name} is said to arrive on {rung}"
        else:
            with pytest.raises(AttributeError, match=rf"^torch\.(\w+\.)*{name} arrives on {rung}$"):
                getattr(part_of(ours, place), name)
            assert not hasattr(part_of(ours, place), name)
    with pytest.raises(AttributeError, match="^torch.fft is not on this ladder$"):
        ours.fft  # noqa: B018


@pytest.mark.capability("PyTorch's programs")
def test_what_a_rung_adds_is_in_the_table_of_the_rung_below(stage):
    below = [other for other in STAGES if other.exists and other.number == (stage.number or 0) - 1]
    if not below or CAPABILITIES["PyTorch's programs"] == stage.number:
        pytest.skip("the rung below has no torch.py")
    ours, theirs = stage.part("torch"), importlib.import_module(f"{below[0].package}.torch")
    for place in ("", "nn", "nn.functional", "nn.init", "nn.utils", "optim", "optim.lr_scheduler", "utils.data"):
        new = vars(part_of(ours, place)).keys() - vars(part_of(theirs, place)).keys()
        assert new <= {name for (where, name), _ in table_of(ours).items() if where == place}


@pytest.mark.capability("PyTorch's programs")
def test_torch_offers_no_name_that_pytorch_has_not(stage):
    ours = stage.part("torch")
    for place in (
        "",
        "nn",
        "nn.functional",
        "nn.init",
        "nn.utils",
        "optim",
        "optim.lr_scheduler",
        "utils.data",
        "cuda",
    ):
        offered = vars(part_of(ours, place)).items()
        names = {name for name, value in offered if name[0] != "_" and not isinstance(value, ModuleType)}
        assert {name for name in names if not hasattr(part_of(pytorch, place), name)} == set(), place


MISSING = {
    "from torch.nn import LSTM": "torch.nn.LSTM arrives on rung 6, stage6_sequence",
    "import torch.distributed as dist": "torch.distributed arrives on rung 7, stage7_distributed",
    "from torch import fft": "torch.fft is not on this ladder",
    "from torch.fft import fft": "torch.fft is not on this ladder",
    "from torch.nn.utils.rnn import pad_sequence": "torch.nn.utils.rnn arrives on rung 6, stage6_sequence",
}


@pytest.mark.capability("PyTorch's programs")
def test_an_import_of_what_is_missing_is_an_import_error_with_the_same_sentence(stage, tmp_path):
    later = {statement: line for statement, line in MISSING.items() if not has_arrived(stage, line)}
    program = "import torch\n"
    for statement in later:
        program += f"try:\n    {statement}\nexcept ImportError as error:\n    print(error)\n"
    (tmp_path / "program.py").write_text(program)
    assert run("-m", f"{stage.name}.torch", "program.py", folder=tmp_path).splitlines() == list(later.values())


def has_arrived(stage, line):
    """Whether what the line says to arrive on a rung is on this one."""
    rung = re.search(r"arrives on rung (\d)", line)
    return bool(rung and stage.number and int(rung[1]) <= stage.number)


@pytest.mark.capability("PyTorch's programs")
def test_where_pytorch_was_imported_its_modules_stay(stage):
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torch"}
    assert stage.part("torch") is not pytorch
    assert issubclass(stage.package.Tensor, stage.part("torch").Tensor)
    assert before.items() <= sys.modules.items()


@pytest.mark.capability("PyTorch's programs")
def test_a_summary_writer_writes_scalars_that_tensorboard_reads(stage, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = stage.part("torch").utils.tensorboard.SummaryWriter(log_dir=tmp_path)
    for step in range(3):
        writer.add_scalar("Loss/train", stage.package.tensor(0.5 * step), step)
    writer.flush()
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(x.step, x.value) for x in events.Scalars("Loss/train")] == [(0, 0.0), (1, 0.5), (2, 1.0)]


@pytest.mark.capability("PyTorch's programs")
@pytest.mark.parametrize(
    "refused",
    [
        lambda torch: torch.autocast("cuda"),
        lambda torch: torch.amp.GradScaler("cuda"),
        lambda torch: torch.cuda.amp.autocast(),
        lambda torch: torch.set_default_dtype(torch.float64),
        lambda torch: torch.set_printoptions(profile="full"),
    ],
)
def test_a_setting_that_would_change_results_is_refused(stage, refused):
    with pytest.raises(NotImplementedError):
        refused(stage.part("torch"))
