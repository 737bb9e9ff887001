"""Files appear whole, none is lost, and others may read them."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dacformer.errors import UserError
from dacformer.files import (
    check_writable,
    new_file,
    read_training_state,
    replacing,
    safe_names,
    training_folder,
    write_safetensors,
    write_text,
)


def test_new_file_adds_number_to_existing_name(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        names.append(new_file(tmp_path / "take.wav").name)
        (tmp_path / names[-1]).touch()
    assert names == ["take.wav", "take_2.wav", "take_3.wav"]


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_replacing_uses_permissions_of_umask(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "text", "a")
    write_safetensors(tmp_path / "weights", {"a": torch.zeros(2, 3).T})
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "text": 0o666 & ~umask,
        "weights": 0o666 & ~umask,
    }


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127 + "x"])
def test_replacing_writes_longest_name(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "a")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_replacing_keeps_old_file_on_failure(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"


# The folder of a training


def test_training_folder_takes_one_training_at_a_time(tmp_path: Path) -> None:
    with training_folder(tmp_path / "run"):
        with pytest.raises(UserError, match="Another training is writing to"), training_folder(tmp_path / "run"):
            pass
        with training_folder(tmp_path / "other"):
            pass
    with training_folder(tmp_path / "run"):
        pass


def test_training_folder_lock_ends_with_killed_process(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from dacformer.files import training_folder\n"
        "with training_folder(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], cwd=Path(__file__).parents[1])
    assert killed.returncode == -9 and (tmp_path / "run").is_dir()
    with training_folder(tmp_path / "run"):
        pass


@pytest.mark.parametrize(
    ("run", "problem"), [("file", "File exists"), ("file/below", "Not a directory"), ("x" * 300, "File name too long")]
)
def test_training_folder_refuses_impossible_folder_in_one_line(tmp_path: Path, run: str, problem: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=f"cannot be written \\({problem}\\).*run=runs/NAME"),
        training_folder(tmp_path / run),
    ):
        pass


def test_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\(No space left on device\).*Make room"), training_folder(tmp_path / "run"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["rain", "old door", "Ünïcode 😀", "a.b"], ["rain", "old door", "Ünïcode 😀", "a.b"]),
        (["../../../escaped", "/etc", "..", ""], ["_._.._.._escaped", "_etc", "__", "_"]),
        (["a/b", "a:b", "a_b"], ["a_b_2", "a_b_3", "a_b"]),
        (["Rain", "rain"], ["Rain", "rain_2"]),
        (
            ["\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}"],
            ["é", "e\N{COMBINING ACUTE ACCENT}_2"],
        ),
        (["CON", "nul.txt", "con2"], ["_CON", "_nul.txt", "con2"]),
        (["x\0\n", "\ud800"], ["x__", "_"]),
    ],
)
def test_safe_names_keep_what_they_can(names: list[str], expected: list[str]) -> None:
    assert [safe_names(names)[name] for name in names] == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(codec=None)), unique=True))
def test_safe_names_are_distinct_and_stay_in_their_folder(names: list[str]) -> None:
    safe = safe_names(names)
    assert set(safe) == set(names) and len({name.casefold() for name in safe.values()}) == len(names)
    for name in safe.values():
        assert Path("run", f"{name}.wav").resolve().parent == Path("run").resolve()
        assert len(f"{name}.wav".encode()) <= 255


def fill(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")


@pytest.mark.parametrize("name", ["folder", "file/x", "file/y/x", "a" * 300, "pipe", "a\0b"])
def test_check_writable_refuses_impossible_file(tmp_path: Path, name: str) -> None:
    fill(tmp_path)
    with pytest.raises(UserError, match=r"^Cannot write [^\n]*\.$"):
        check_writable(tmp_path / name)


@pytest.mark.parametrize("name", ["file", "new", "new/er/x", "folder/x", "🐝", "a" * 255])
def test_check_writable_changes_nothing(tmp_path: Path, name: str) -> None:
    fill(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    check_writable(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_check_writable_refuses_read_only_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o400)
    with pytest.raises(UserError, match="may not be changed"):
        check_writable(tmp_path / "file")
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        check_writable(tmp_path / "new")


def test_write_error_has_reason_of_system(tmp_path: Path) -> None:
    fill(tmp_path)
    with (
        pytest.raises(UserError, match=r"Cannot write .*file/x: (Not a directory|File exists)"),
        replacing(tmp_path / "file" / "x"),
    ):
        pass


def test_read_training_state_refuses_a_tensor_of_more_elements_than_its_file_holds(tmp_path: Path) -> None:
    whole = {"step": 3, "moments": [torch.arange(4.0), {"view": torch.arange(6.0)[2:]}]}
    torch.save(whole, tmp_path / "whole.pt")
    read = read_training_state(tmp_path / "whole.pt", "cpu")
    assert read["step"] == 3 and torch.equal(read["moments"][1]["view"], whole["moments"][1]["view"])
    torch.save({"moments": [torch.zeros(1).expand(1000)]}, tmp_path / "claimed.pt")
    with pytest.raises(ValueError, match="more elements than its file holds"):
        read_training_state(tmp_path / "claimed.pt", "cpu")
