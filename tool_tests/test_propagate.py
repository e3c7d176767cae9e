"""A fix climbs the ladder, in a git repository of three small rungs, and what can't climb is named and left alone."""

import subprocess

import pytest

from ladder import propagate
from ladder.stages import Stage

OPS = "".join(f"line {i}\n" for i in range(1, 13))
FILES = {
    "one": {"__init__.py": "", "ops.py": OPS, "tensor.py": "tensor\n"},
    "two": {"__init__.py": "", "ops.py": OPS + "line 13\n", "tensor.py": "tensor\n", "nn.py": "nn\n"},
    "three": {
        "__init__.py": "",
        "ops.py": OPS.replace("line 2\n", "other 2\n"),
        "tensor.py": "tensor\n",
        "nn.py": "nn\n",
    },
}


def git(root, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def write(root, files):
    for package, texts in files.items():
        (root / package).mkdir(exist_ok=True)
        for name, text in texts.items():
            (root / package / name).write_bytes(text.encode())


def stages(root):
    common = {"adds": "", "dependencies": (), "optional": (), "demos": (), "max_lines": 0, "root": root}
    return [Stage(number, package, **common) for number, package in enumerate(["one", "two", "three", "four"], 1)]


@pytest.fixture
def root(tmp_path):
    write(tmp_path, FILES)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "ladder")
    return tmp_path


def read(root, path):
    return (root / path).read_bytes().decode()


def fix(root, old, new, package="one"):
    (root / package / "ops.py").write_bytes(read(root, f"{package}/ops.py").replace(old, new).encode())


def run(root, capsys, package="one"):
    code = propagate.main([package], stages(root))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_fix_is_merged_into_every_rung_above(root, capsys):
    fix(root, "line 8\n", "line eight\n")
    code, out, _ = run(root, capsys)
    assert code == 0 and out == "two/ops.py: carried\nthree/ops.py: carried\n"
    assert read(root, "two/ops.py") == (OPS + "line 13\n").replace("line 8", "line eight")
    assert read(root, "three/ops.py") == OPS.replace("line 2\n", "other 2\n").replace("line 8", "line eight")


def test_rungs_below_do_not_change(root, capsys):
    fix(root, "line 8\n", "line eight\n", package="two")
    code, out, _ = run(root, capsys, "two")
    assert code == 0 and out == "three/ops.py: carried\n"
    assert read(root, "one/ops.py") == OPS


def test_a_second_run_changes_nothing(root, capsys):
    fix(root, "line 8\n", "line eight\n")
    run(root, capsys)
    code, out, _ = run(root, capsys)
    assert code == 0 and out == "two/ops.py: has it already\nthree/ops.py: has it already\n"


def test_a_staged_fix_is_carried_too(root, capsys):
    fix(root, "line 8\n", "line eight\n")
    git(root, "add", ".")
    assert run(root, capsys)[0] == 0
    assert "line eight" in read(root, "three/ops.py")


def test_a_fix_that_conflicts_is_reported_and_nothing_of_it_is_written(root, capsys):
    fix(root, "line 2\n", "line two\n")
    fix(root, "line 8\n", "line eight\n")
    code, out, err = run(root, capsys)
    assert code == 1 and "two/ops.py: carried" in out and "Left as they were: 1." in err
    assert "three/ops.py: left as it was: the fix conflicts with other lines here" in out
    assert "other 2" in out and "line two" in out and "line eight" not in out
    assert read(root, "three/ops.py") == FILES["three"]["ops.py"]


def test_a_fix_to_a_file_that_a_rung_above_lacks_is_named(root, capsys):
    git(root, "rm", "--quiet", "three/tensor.py")
    git(root, "commit", "--quiet", "-m", "gone")
    (root / "one/tensor.py").write_text("fixed\n")
    code, out, _ = run(root, capsys)
    assert code == 1 and "three/tensor.py: left as it was: HEAD has no such file here" in out
    assert read(root, "two/tensor.py") == "fixed\n" and not (root / "three/tensor.py").exists()


def test_a_new_file_is_copied_up(root, capsys):
    (root / "one/draw.py").write_text("draw\n")
    assert run(root, capsys)[0] == 0
    assert read(root, "two/draw.py") == read(root, "three/draw.py") == "draw\n"


def test_a_new_file_does_not_overwrite_another_of_its_name(root, capsys):
    (root / "one/nn.py").write_text("another\n")
    code, out, _ = run(root, capsys)
    assert code == 1 and "two/nn.py: left as it was: another file has this name here" in out
    assert read(root, "two/nn.py") == "nn\n"


def test_a_new_file_does_not_overwrite_one_that_git_does_not_know(root, capsys):
    (root / "one/draw.py").write_text("draw\n")
    (root / "two/draw.py").write_text("mine\n")
    code, out, _ = run(root, capsys)
    assert code == 1 and "two/draw.py: left as it was: it has changes that are not committed" in out
    assert read(root, "two/draw.py") == "mine\n"


def test_a_deleted_file_is_deleted_above_where_it_is_the_same(root, capsys):
    (root / "one/tensor.py").unlink()
    (root / "one/ops.py").unlink()
    code, out, _ = run(root, capsys)
    assert code == 1 and "two/tensor.py: carried" in out
    assert not (root / "two/tensor.py").exists() and not (root / "three/tensor.py").exists()
    assert "two/ops.py: left as it was: it differs from the file that was deleted" in out
    assert read(root, "two/ops.py") == FILES["two"]["ops.py"]


def test_a_file_with_other_changes_is_left_alone(root, capsys):
    fix(root, "line 8\n", "line eight\n")
    (root / "two/ops.py").write_text("in the middle of something\n")
    code, out, _ = run(root, capsys)
    assert code == 1 and "two/ops.py: left as it was: it has changes that are not committed" in out
    assert read(root, "two/ops.py") == "in the middle of something\n"
    assert "line eight" in read(root, "three/ops.py")


def test_a_file_that_is_not_text_is_replaced_where_it_is_the_same_and_named_elsewhere(root, capsys):
    for package, content in {"one": b"\0a", "two": b"\0a", "three": b"\0b"}.items():
        (root / package / "digits.npz").write_bytes(content)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "digits")
    (root / "one/digits.npz").write_bytes(b"\0new")
    code, out, _ = run(root, capsys)
    assert code == 1 and "two/digits.npz: carried" in out and "three/digits.npz: left as it was" in out
    assert (root / "two/digits.npz").read_bytes() == b"\0new" and (root / "three/digits.npz").read_bytes() == b"\0b"


def test_a_readme_is_not_carried(root, capsys):
    (root / "one/README.md").write_text("one\n")
    code, _, err = run(root, capsys)
    assert code == 2 and "nothing in one differs from HEAD" in err


def test_nothing_to_carry_says_so(root, capsys):
    code, _, err = run(root, capsys)
    assert code == 2 and "nothing in one differs from HEAD" in err


def test_an_unknown_rung_gets_the_names_of_the_rungs(root, capsys):
    code, _, err = run(root, capsys, "four")
    assert code == 2 and "'four' is no rung; wanted one of one, two, three" in err


def test_the_top_rung_has_nothing_above_it(root, capsys):
    fix(root, "line 8\n", "line eight\n", package="three")
    code, _, err = run(root, capsys, "three")
    assert code == 2 and "no rung above three" in err


def test_no_rung_named_says_how_to_name_one(root, capsys):
    assert propagate.main([], stages(root)) == 2
    assert "nox -s propagate -- stage2_tensor" in capsys.readouterr().err


def test_outside_a_git_repository_it_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write(tmp_path, FILES)
    code, _, err = run(tmp_path, capsys)
    assert code == 2 and "not a git repository" in err


def test_a_repository_without_a_commit_says_so(tmp_path, capsys):
    write(tmp_path, FILES)
    git(tmp_path, "init", "--quiet")
    code, _, err = run(tmp_path, capsys)
    assert code == 2 and "git knows no HEAD" in err
