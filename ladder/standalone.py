"""What must hold where one rung is installed alone; tool_tests/test_standalone.py runs this there.

`python ladder/standalone.py stage2_tensor` ends with an error that says what doesn't. Standard library only.
"""

import re
import sys
import sysconfig
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from stages import STAGES  # absolute: the folder above, with all the rungs, must stay out of sys.path


def require(got, wanted, what):
    """End the program unless the two are the same."""
    if got != wanted:
        sys.exit(f"{what}: wanted {wanted}, got {got}")


def requirements(distribution):
    """The names of what a distribution depends on, and of what its extras add, each sorted."""
    plain, extra = set(), set()
    for requirement in distribution.requires or ():
        (extra if "extra ==" in requirement else plain).add(re.match(r"[\w.-]+", requirement).group())
    return tuple(sorted(plain)), tuple(sorted(extra))


def main(package):
    (stage,) = [stage for stage in STAGES if stage.package == package]
    others = [other.package for other in STAGES if other != stage and find_spec(other.package)]
    require(others, [], "other rungs that can be imported here")

    folder = Path(sysconfig.get_path("purelib"), package)
    require(Path(import_module(package).__file__).parent.resolve(), folder.resolve(), f"{package} is imported from")

    distribution = metadata.distribution(f"gradual-stage{stage.number}")
    require(requirements(distribution), (stage.dependencies, stage.optional), "dependencies, and those of the extras")

    paths = [path.relative_to(package).as_posix() for path in distribution.files if path.parts[0] == package]
    installed = sorted(path for path in paths if "__pycache__" not in path)
    require(installed, sorted(set(stage.files()) - {"README.md", "pyproject.toml"}), f"files in the wheel of {package}")


if __name__ == "__main__":
    main(sys.argv[1])
