"""What a contributor runs: `nox` for all that must pass, `nox -l` for what there is, `nox -s stage3` for one."""

import ctypes
import os
import platform
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from ladder.stages import STAGES  # noqa: E402

BUILT = [stage for stage in STAGES if stage.exists]
TORCH = "torch==2.13.0"  # what the rungs are compared with
NEEDS = [TORCH, "hypothesis", "matplotlib", "micrograd", "numpy>=2.0", "pytest", "pytest-xdist"]
NEEDS += ["pillow", "pooch", "pygraphviz", "safetensors", "tensorboard", "tqdm", "wandb"]
NEEDS += ["numba", "threadpoolctl"]  # for rung 5
NEEDS += ["numba-cuda>=0.30; sys_platform != 'darwin'"]  # whose simulator its kernels for the GPU are tested in
NEEDS += ["expecttest"]  # what PyTorch's own samples are imported with
NEEDS += ["mpi4py>=4.1", "mpich>=5; sys_platform != 'win32'", "impi-rt; sys_platform == 'win32'"]  # for rung 7
BOOK = ["furo", "ipykernel", "jupytext", "linkchecker", "myst-nb>=1.4", "sphinx>=9", "sphinx-copybutton"]
NEEDS += [f"{package}; python_version >= '3.11'" for package in BOOK]  # which is the oldest that Sphinx supports
NEEDS += ["scikit-learn"]  # has the digits that ours are compared with
NEEDS += ["selenium"]  # drives the browser that the page where you type is tested in
NEEDS += ["rich", "watchfiles"]  # for the exercises

nox.needs_version = ">=2025.2.9"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "ladder", "suite", "kernels", "simulator", "standin", "tools", "book"]

# Tests run side by side, in a process for each core; but each holds PyTorch, and memory may have room for no more. More
# threads than cores would only wait for each other. Kernels have two: how they share their work is part of the tests;
# and they don't spin while they wait, as the other core has its own tests.
SIDE_BY_SIDE = ["-n", "auto", "--maxprocesses", "8", "--dist", "worksteal"]
THREADS = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2", "GOMP_SPINCOUNT": "300"}
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # even where it is set: hundreds of processes import the same modules


@nox.session(default=False)
def environment(session):
    """The one environment of every session that needs PyTorch; they make it themselves."""
    session.install("--no-compile", *NEEDS)  # what is imported is compiled then; of PyTorch that is a small part


def environment_python(session):
    """The Python of the shared environment; a session that uses it requires `environment` and has none itself."""
    return str(session.env_dir.with_name("environment") / ("Scripts" if os.name == "nt" else "bin") / "python")


def in_environment(session, *arguments, **settings):
    """Run the Python of the shared environment, with settings in its environment."""
    session.run(environment_python(session), *arguments, env={**COMPILED, **settings})


def test(session, *arguments, **settings):
    """Run pytest, with settings in its environment; on a GPU in one process, as all would have to share it."""
    side_by_side = [] if "cuda" in arguments else SIDE_BY_SIDE
    in_environment(session, "-m", "pytest", *side_by_side, *arguments, **{**THREADS, **settings})


def with_cuda(session):
    """Put into the environment what rung 5 needs on the GPU, for the CUDA of the driver, where there is one."""
    version = ctypes.c_int()
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return
    extras = nox.project.load_toml(ROOT / "stage5_fast" / "pyproject.toml")["project"]["optional-dependencies"]
    needs = extras["cuda13" if version.value >= 13000 else "cuda12"]
    in_environment(session, "-m", "pip", "install", "--quiet", *needs)


@nox.session(venv_backend="none", requires=["environment"])
def suite(session):
    """Test every rung against PyTorch, in one run, for which all is imported once; `stage3`, say, tests one."""
    test(session, "shared_tests", *session.posargs)


def stage_session(stage):
    """The session that runs the suite on one rung."""

    def run(session):
        if "cuda" in session.posargs:
            with_cuda(session)
        test(session, "shared_tests", "--stage", stage.package, *session.posargs)

    run.__doc__ = (
        f"Test {stage.package} against PyTorch; what follows -- goes to pytest, as --device cuda from rung 5 on."
    )
    nox.session(run, name=f"stage{stage.number}", venv_backend="none", requires=["environment"])


for stage in BUILT:
    stage_session(stage)


COMPILED_FOR = {
    "bounds": {"NUMBA_BOUNDSCHECK": "1"},  # an index beyond an array is an error, not a crash or a wrong number
    "generic": {"NUMBA_CPU_NAME": "generic"},  # any x86-64, with nothing newer than SSE2
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},  # else Numba adds what this machine has
}


@nox.session(venv_backend="none", requires=["environment"])
@nox.parametrize("settings", [nox.param(settings, id=name) for name, settings in COMPILED_FOR.items()])
def kernels(session, settings):
    """Test the kernels, in float32, with bounds checks and compiled for older processors than this one."""
    if "NUMBA_CPU_NAME" in settings and platform.machine() not in ("x86_64", "AMD64"):
        session.skip(f"this is {platform.machine()}, no x86-64")
    if "NUMBA_CPU_FEATURES" in settings:
        ask = "import llvmlite.binding as llvm; print(llvm.get_host_cpu_features().get('avx512f'))"
        if "True" not in session.run(environment_python(session), "-c", ask, silent=True):
            session.skip("this processor has nothing newer than AVX2 itself: stage5 tests what is compiled for it")
    with TemporaryDirectory() as folder:
        chosen = "not float64 or large"
        files = {"stage5_fast": "test_kernels", "stage6_sequence": "test_sequence_kernels"}
        if "NUMBA_BOUNDSCHECK" not in settings and "--whole" not in session.posargs:
            # What a processor has are registers, in which these kernels work; the others leave them to LLVM.
            chosen = "float32 and body_gives and (affine or convolve or in_order or pool or product)"
            files = {"stage5_fast": "test_kernels"}
        for rung, file in files.items():
            tests = [f"shared_tests/{file}.py", "--stage", rung, "-k", chosen, *session.posargs]
            test(session, *tests, **settings, NUMBA_CACHE_DIR=folder)


@nox.session(venv_backend="none", requires=["environment"])
def standin(session):
    """Test rungs 5 and 6 on arrays that behave as a GPU's: rules use only what CuPy supports, without transfers."""
    rungs = ["--stage", "stage5_fast", "--stage", "stage6_sequence"]
    test(session, "shared_tests", *rungs, "--device", "stand-in", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"], default=False)
def sanitizer(session):
    """Run the GPU kernels' tests and some training under CUDA's compute-sanitizer, where there are both."""
    tool = shutil.which("compute-sanitizer")
    if not tool:
        session.skip("not run: there is no compute-sanitizer on the PATH; it comes with the CUDA toolkit")
    with_cuda(session)
    tests = [f"shared_tests/test_{name}.py" for name in ("kernels_gpu", "training")]
    for check in ("memcheck", "racecheck", "initcheck", "synccheck"):
        options = ["--report-api-errors=no"] if check == "memcheck" else []  # those of modules that ask what there is
        command = [tool, f"--tool={check}", *options, "--error-exitcode=1", environment_python(session)]
        session.run(*command, "-m", "pytest", *tests, "--device", "cuda", *session.posargs, external=True)


@nox.session(venv_backend="none", requires=["environment"])
def simulator(session):
    """Test the CUDA kernels of rungs 5 and 6 without a GPU, in Numba's simulator of one."""
    tests = ["shared_tests/test_devices.py", "shared_tests/test_kernels_gpu.py", "--stage", "stage5_fast", "-k"]
    chosen = "test_kernels_gpu and not same_bits or simulated"  # whose threads take turns in one order
    test(session, *tests, chosen, *session.posargs, NUMBA_ENABLE_CUDASIM="1")
    tests = ["shared_tests/test_sequence_kernels_gpu.py", "--stage", "stage6_sequence"]
    test(session, *tests, *session.posargs, NUMBA_ENABLE_CUDASIM="1")


@nox.session(venv_backend="none")
def ladder(session):
    """Check that every rung is the one below plus its lesson; `-- --write` puts the table into the README."""
    session.run(sys.executable, "-m", "ladder", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def tools(session):
    """Test the tools around the ladder: the check, propagation, exercises, benchmarks; and each rung alone."""
    test(session, "tool_tests", *session.posargs)


@nox.session
def lint(session):
    """Check formatting and lint with ruff."""
    session.install("ruff==0.17.5")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session(venv_backend="none", requires=["environment"])
def book(session):
    """Build the book, running all its code, into build/book/index.html; a warning fails it, and so does a dead link."""
    if sys.version_info < (3, 11):
        session.skip("the book needs Python 3.11 or newer, as Sphinx does")
    in_environment(session, "-m", "sphinx", "-W", "--keep-going", "-j", "auto", "-q", "docs", "build/book", **THREADS)
    in_environment(session, "-m", "linkcheck", "--no-status", "--no-robots", "--no-warnings", "build/book/index.html")


NOTEBOOKS = {  # the book's pages that run without PyTorch, and what each needs
    "rung1": {"stage1_scalar": "demo"},
    "array": {"stage2_tensor": "demo"},
    "rung2": {"stage1_scalar": "demo", "stage2_tensor": "demo"},  # beside each other
    "rung3": {"stage3_nn": "demo"},
    "rung4": {"stage4_cnn": "demo"},
    "rung5_cpu": {"stage4_cnn": "demo", "stage5_fast": "demo"},
    "rung5_gpu": {"stage5_fast": "demo"},
    "rung6": {"stage6_sequence": "demo"},
    "rung7": {"stage7_distributed": "demo,mpi"},
    "micrograd": {stage.package: "demo" for stage in BUILT[:5]},
    "step": {stage.package: "demo" for stage in BUILT},
}


@nox.session(requires=["environment"], default=False)
@nox.parametrize("page", [*NOTEBOOKS], ids=[*NOTEBOOKS])
def notebooks(session, page):
    """Write the book's pages as notebooks, and run each where only its rung is installed, with its extra `demo`."""
    folder = ROOT / "build" / "notebooks"
    in_environment(session, "docs/notebooks.py", "write", str(folder))
    session.install("nbclient", "ipykernel", *[f"./{rung}[{extra}]" for rung, extra in NOTEBOOKS[page].items()])
    with session.chdir(folder):  # where no rung lies beside it
        session.run("python", str(ROOT / "docs" / "notebooks.py"), "run", str(folder / f"{page}.ipynb"))


@nox.session(venv_backend="none", requires=["environment"], default=False)
def standalone(session):
    """Build each rung as a wheel from a copy elsewhere, install it alone, and run its demos; `tools` does it too."""
    test(session, "tool_tests/test_standalone.py", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"], default=False)
def check(session):
    """Run the suite on another engine, importable from here or PYTHONPATH: nox -s check -- their_module."""
    if not session.posargs:
        session.error("say which engine to test, as in `nox -s check -- their_module`")
    path = os.pathsep.join(filter(None, [session.invoked_from, os.environ.get("PYTHONPATH")]))
    test(session, "shared_tests", "--stage", *session.posargs, PYTHONPATH=path)


@nox.session(venv_backend="none", default=False)
def diff(session):
    """Show one lesson, in colour: nox -s diff -- 3 4."""
    rungs = {str(stage.number): stage for stage in BUILT}
    if len(session.posargs) != 2 or not rungs.keys() >= set(session.posargs):
        session.error(f"say which two of the rungs {', '.join(rungs)} to compare, as in `nox -s diff -- 3 4`")
    lower, upper = (rungs[number] for number in session.posargs)
    with TemporaryDirectory() as folder:
        for stage in (lower, upper):
            shutil.copytree(stage.folder, Path(folder, stage.package), ignore=shutil.ignore_patterns("__pycache__"))
        show = ["git", "diff", "--no-index", "--histogram", "--no-prefix", "--color=always"]
        with session.chdir(folder):
            session.run(*show, lower.package, upper.package, success_codes=[0, 1])


@nox.session(venv_backend="none", default=False)
def propagate(session):
    """Carry a fix that isn't committed yet to the rungs above: nox -s propagate -- stage2_tensor."""
    session.run(sys.executable, "-m", "ladder.propagate", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"], default=False)
def mutants(session):
    """Plant random changes in a rung and print what the tests don't notice: nox -s mutants -- stage4 --count 100."""
    in_environment(session, "-m", "ladder.mutants", *session.posargs, **THREADS)


@nox.session(venv_backend="none", requires=["environment"], default=False)
def bench(session):
    """Measure the rungs against PyTorch and micrograd; what follows -- goes to benchmarks/bench.py."""
    in_environment(session, "benchmarks/bench.py", *session.posargs)
