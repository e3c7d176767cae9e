"""Each rung stands alone: installed from a copy elsewhere with what it depends on and no more, it runs its demos."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ladder.stages import ROOT, STAGES

# A proxy where nobody listens stands for a machine without a network, an empty folder for one without MNIST.
NOBODY = "http://127.0.0.1:9"
ALONE = {"http_proxy": NOBODY, "https_proxy": NOBODY, "no_proxy": ""}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.exists], ids=lambda stage: stage.package)
def test_a_rung_stands_alone(stage):
    with TemporaryDirectory() as folder:
        copy = shutil.copytree(stage.folder, Path(folder, "copy"), ignore=shutil.ignore_patterns("__pycache__"))
        python = Path(folder, "venv", "Scripts" if os.name == "nt" else "bin", "python")
        run(sys.executable, "-m", "venv", "--without-pip", Path(folder, "venv"))
        run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile", copy)
        shutil.rmtree(copy)
        Path(folder, "cifar10").mkdir()  # a few images, as an epoch of ResNet-20 takes long even on the digits
        for name in ("data_batch_1", "test_batch"):
            Path(folder, "cifar10", f"{name}.bin").write_bytes(bytes(20 * 3073))
        alone = {**os.environ, **ALONE, "GRADUAL_DATA": folder}
        alone.pop("PYTHONPATH", None)
        run(python, ROOT / "ladder" / "standalone.py", stage.package, cwd=folder, env=alone)
        for demo in stage.demos:
            short = "--steps" if demo == "gpt" else "--epochs", 1
            run(python, "-m", f"{stage.package}.{demo}", *short, cwd=folder, env=alone)
            alone["GRADUAL_KERNELS"] = "numpy"  # the first demo shows that kernels compile here, which takes long


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
