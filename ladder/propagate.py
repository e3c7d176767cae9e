"""Carry a fix up the ladder: what changed on one rung since HEAD, as a three-way patch for every rung above.

`python -m ladder.propagate stage2_tensor` takes each file that differs from HEAD there, and merges its change
into the same file of the rungs above. A file either takes the whole change or stays as it is and is named, with the
reason; the exit code is then 1. Running it again does no harm. Needs the standard library and git only.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from .stages import STAGES

NOT_CARRIED = {"README.md"}  # each rung tells its own story


class CannotCarry(Exception):
    """Why a change, or the whole fix, can't be carried."""


def git(*arguments, root):
    """The finished `git` process, with its output as bytes."""
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True)


def changed_files(folder):
    """The files of a folder that differ from HEAD, new and deleted ones included, relative to it."""
    head = git("rev-parse", "--verify", "HEAD", root=folder)
    if head.returncode:
        raise CannotCarry(f"git knows no HEAD to compare with: {head.stderr.decode(errors='replace').strip()}")
    changed = git("diff", "--name-only", "--no-renames", "--relative", "-z", "HEAD", "--", ".", root=folder)
    new = git("ls-files", "--others", "--exclude-standard", "-z", "--", ".", root=folder)
    return sorted({name.decode() for name in (changed.stdout + new.stdout).split(b"\0") if name})


def in_head(folder, name):
    """A file's bytes as HEAD has them, with the line ends of the working tree; None where it has no such file."""
    shown = git("cat-file", "--filters", f"HEAD:./{name}", root=folder)
    return None if shown.returncode else shown.stdout


def on_disk(folder, name):
    """A file's bytes in the working tree, or None."""
    return (folder / name).read_bytes() if (folder / name).is_file() else None


def merge(base, ours, theirs):
    """`ours` with the change that leads from `base` to `theirs`. None stands for no file."""
    if ours in (base, theirs):
        return theirs
    if ours is None:
        raise CannotCarry("HEAD has no such file here")
    if base is None:
        raise CannotCarry("another file has this name here")
    if theirs is None:
        raise CannotCarry("it differs from the file that was deleted")
    with tempfile.TemporaryDirectory() as folder:
        names = ["here", "HEAD", "the fix"]
        for name, content in zip(names, (ours, base, theirs)):
            Path(folder, name).write_bytes(content)
        labels = [argument for name in names for argument in ("-L", name)]
        merged = git("merge-file", "-p", "--diff3", *labels, *names, root=folder)
    if merged.returncode > 127:
        raise CannotCarry(merged.stderr.decode(errors="replace").strip())
    if merged.returncode:
        raise CannotCarry(
            "the fix conflicts with other lines here\n" + conflicts(merged.stdout.decode(errors="replace"))
        )
    return merged.stdout


def conflicts(merged):
    """The conflicting parts of a merged text, from marker to marker."""
    lines, inside = [], False
    for line in merged.splitlines():
        inside = inside or line == "<<<<<<< here"
        if inside:
            lines.append("    " + line)
        inside = inside and line != ">>>>>>> the fix"
    return "\n".join(lines)


def carry(name, source, target):
    """Bring the change of one file from one rung's folder to another's; says whether there was anything to do."""
    here, committed = on_disk(target, name), in_head(target, name)
    merged = merge(in_head(source, name), committed, on_disk(source, name))
    if merged == here:
        return False
    if here != committed:
        raise CannotCarry("it has changes that are not committed")
    if merged is None:
        (target / name).unlink()
    else:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(merged)
    return True


def propagate(package, stages):
    """Carry the fix from one rung to those above it, telling what happens; returns how many files didn't take it."""
    built = {stage.package: stage.folder for stage in stages if stage.exists}
    if package not in built:
        raise CannotCarry(f"{package!r} is no rung; wanted one of {', '.join(built)}")
    above = list(built)[list(built).index(package) + 1 :]
    if not above:
        raise CannotCarry(f"there is no rung above {package}")
    names = [name for name in changed_files(built[package]) if name not in NOT_CARRIED]
    if not names:
        raise CannotCarry(f"nothing in {package} differs from HEAD; carry a fix before you commit it")
    left = 0
    for target in above:
        for name in names:
            try:
                outcome = "carried" if carry(name, built[package], built[target]) else "has it already"
            except CannotCarry as reason:
                outcome = f"left as it was: {reason}"
                left += 1
            print(f"{target}/{name}: {outcome}")
    return left


def main(arguments=None, stages=STAGES):
    """Run from the command line: one argument, the rung that was fixed. Returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("propagate: say which rung has the fix, as in `nox -s propagate -- stage2_tensor`", file=sys.stderr)
        return 2
    try:
        left = propagate(arguments[0], stages)
    except CannotCarry as reason:
        print(f"propagate: {reason}", file=sys.stderr)
        return 2
    if left:
        print(f"Left as they were: {left}. Make the change there by hand, then run `nox -s ladder`.", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
