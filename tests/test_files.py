"""Written files and folders are whole: the old content or the new one, whatever interrupts."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import (
    MANIFEST,
    check_output_folder,
    output_folder,
    read_bytes,
    remove_staged,
    write_bytes,
    write_text,
)

FOREIGN = "{} holds {}, which edge-lstm did not write; --force keeps it and goes on"


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every entry below a folder: its content, None for a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def python(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True)


def message_of(error: pytest.ExceptionInfo[EdgeLstmError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_written_file_has_the_usual_permissions_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "é\n")
    finally:
        os.umask(before)
    assert tree(tmp_path) == {"a": b"\xc3\xa9\n"}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None) -> None:
    target = tmp_path / "a.bin"
    if old is not None:
        target.write_bytes(old)
    before = tree(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EdgeLstmError) as error:
        write_bytes(target, b"new")
    assert message_of(error) == f"can't write {target}: No space left on device"
    assert tree(tmp_path) == before


def test_a_write_that_stops_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    code = (
        "import resource, signal, sys\n"
        "from edge_lstm.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    write_bytes(sys.argv[1], b'n' * 100000)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = python(code, target)
    assert done.stdout == f"EdgeLstmError can't write {target}: File too large\n"
    assert done.stderr == ""
    assert tree(tmp_path) == {"a.bin": b"old"}


def test_sigkill_before_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    code = (
        "import os, signal, sys\n"
        "from edge_lstm.files import write_bytes\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_bytes(sys.argv[1], b'new')\n"
    )
    assert python(code, target).returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    write_bytes(target, b"newer")  # what the killed one left is in nobody's way
    assert target.read_bytes() == b"newer"


def test_an_interrupt_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"new")
    assert tree(tmp_path) == {"a": b"old"}


def test_what_is_no_place_for_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    before = sorted(p.name for p in tmp_path.iterdir())
    for name, why in (
        ("missing/a", "No such file or directory"),
        ("folder", "Is a directory"),
        ("pipe", "it is a device or a pipe, and should be a file"),
        ("device", "it is a device or a pipe, and should be a file"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(EdgeLstmError) as error:
            write_bytes(tmp_path / name, b"")
        assert message_of(error) == f"can't write {tmp_path / name}: {why}"
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert Path("/dev/null").is_char_device()


def test_a_link_stays_and_the_file_it_names_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_reading_is_limited(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    assert read_bytes(file, at_most=5) == b"12345"
    for path, at_most, message in (
        (file, 4, f"{file} has more than 4 bytes, which is the most accepted"),
        (tmp_path / "b", 4, f"can't read {tmp_path / 'b'}: No such file or directory"),
        (tmp_path, 4, f"can't read {tmp_path}: Is a directory"),
    ):
        with pytest.raises(EdgeLstmError) as error:
            read_bytes(path, at_most=at_most)
        assert message_of(error) == message


def test_reading_a_device_without_end_needs_no_more_than_the_limit() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EdgeLstmError, match=r"^/dev/zero has more than 1000 bytes, which is the most accepted$"):
        read_bytes("/dev/zero", at_most=1000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def make(target: Path, *names: str, force: bool = False) -> None:
    with output_folder(target, force=force) as folder:
        for name in names:
            (folder / name).write_text(f"new {name}")


@pytest.mark.parametrize("state", ["missing", "missing parents", "empty", "ours", "ours, removed in part"])
def test_a_folder_that_holds_nothing_of_others_is_replaced(tmp_path: Path, state: str) -> None:
    target = tmp_path / ("x/y/out" if state == "missing parents" else "out")
    if state == "empty":
        target.mkdir()
    if state.startswith("ours"):
        make(target, "a", "stale")
    if state.endswith("in part"):
        (target / "a").unlink()
    make(target, "a", "b")
    assert tree(target) == {"a": b"new a", "b": b"new b", MANIFEST: b'["a", "b"]\n'}
    assert [p.name for p in target.parent.iterdir()] == ["out"]


def test_a_folder_with_somebodys_file_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "out"
    make(target, "a", "b")
    (target / "notes.txt").write_text("mine")
    (target / "b").write_text("changed")
    before, entered = tree(tmp_path), False
    with pytest.raises(EdgeLstmError) as error, output_folder(target):
        entered = True
    assert not entered
    assert message_of(error) == FOREIGN.format(target, "notes.txt")
    with pytest.raises(EdgeLstmError) as error:
        check_output_folder(target, force=False)
    assert message_of(error) == FOREIGN.format(target, "notes.txt")
    assert tree(tmp_path) == before


def test_force_keeps_what_is_not_ours_and_writes_ours(tmp_path: Path) -> None:
    target = tmp_path / "out"
    make(target, "a", "stale")
    (target / "mine").mkdir()
    (target / "mine" / "deep").write_text("mine")
    (target / "notes.txt").write_text("mine")
    check_output_folder(target, force=True)
    for _ in range(2):
        make(target, "a", "b", force=True)
        assert tree(tmp_path) == {
            "out": None,
            "out/a": b"new a",
            "out/b": b"new b",
            "out/mine": None,
            "out/mine/deep": b"mine",
            "out/notes.txt": b"mine",
            f"out/{MANIFEST}": b'["a", "b"]\n',
        }
    with pytest.raises(EdgeLstmError) as error:
        make(target, "a")  # kept does not mean claimed
    assert message_of(error) == FOREIGN.format(target, "mine")


@pytest.mark.parametrize(
    "manifest",
    [
        json.dumps(["../x", "/etc/passwd", "a/../../x", ".", "..", ""]),
        json.dumps([None, 1, {"a": 1}, ["a"], 1.5, True]),
        json.dumps({"keep": 1}),
        json.dumps("keep"),
        "[" * 100_000,
        "null",
        "",
        "\0",
        '["keep"',
    ],
)
def test_a_hostile_manifest_touches_nothing_outside_and_claims_nothing(tmp_path: Path, manifest: str) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (tmp_path / "x").write_text("outside")
    (target / MANIFEST).write_text(manifest)
    (target / "keep").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(EdgeLstmError) as error:
        make(target, "a")
    assert message_of(error) == FOREIGN.format(target, "keep")
    assert tree(tmp_path) == before
    make(target, "a", force=True)
    assert tree(tmp_path) == {
        "out": None,
        "out/a": b"new a",
        "out/keep": b"mine",
        f"out/{MANIFEST}": b'["a"]\n',
        "x": b"outside",
    }


def test_a_manifest_that_is_no_utf8_claims_nothing(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(b'["keep\xff"]')
    (tmp_path / "keep").touch()
    with pytest.raises(EdgeLstmError, match="holds keep, which edge-lstm did not write"):
        check_output_folder(tmp_path, force=False)


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt, EdgeLstmError])
@pytest.mark.parametrize("existed", [True, False])
def test_an_exception_leaves_the_old_folder(tmp_path: Path, stop: type[BaseException], existed: bool) -> None:
    target = tmp_path / "out"
    if existed:
        make(target, "a")
    before = tree(tmp_path)
    with pytest.raises(stop), output_folder(target) as folder:  # noqa: PT012
        (folder / "a").write_text("half")
        raise stop
    assert tree(tmp_path) == before


def test_an_interrupt_between_the_two_renames_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    make(target, "old")
    before, rename = tree(tmp_path), Path.rename

    def interrupted(self: Path, to: Path) -> Path:
        if self.suffix == ".new":
            raise KeyboardInterrupt
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(target, "new")
    assert tree(tmp_path) == before


def test_a_write_error_in_the_block_is_one_line(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(EdgeLstmError) as error, output_folder(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert message_of(error) == f"can't write {target}: No space left on device"
    assert tree(tmp_path) == {}


def test_sigkill_in_the_block_leaves_the_old_folder_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    make(target, "a", "b")
    before = tree(target)
    code = (
        "import os, signal, sys\n"
        "from edge_lstm.files import output_folder\n"
        "with output_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'a').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert python(code, target).returncode == -signal.SIGKILL
    assert tree(target) == before
    make(target, "c")  # and the next run is not in anybody's way
    assert sorted(tree(target)) == ["c", MANIFEST]


def test_places_that_cannot_be_replaced_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = tree(tmp_path)
    for path, message in (
        (tmp_path / "file", f"{tmp_path / 'file'} is a file, and should be a folder"),
        (Path(), ". is in use and can't be replaced; name a folder in it"),
        (tmp_path, f"{tmp_path} is in use and can't be replaced; name a folder in it"),
        (Path("/proc"), "/proc is in use and can't be replaced; name a folder in it"),
    ):
        for force in (False, True):
            with pytest.raises(EdgeLstmError) as error:
                check_output_folder(path, force=force)
            assert message_of(error) == message
            with pytest.raises(EdgeLstmError) as error:
                make(path, "a", force=force)
            assert message_of(error) == message
    assert tree(tmp_path) == before


def test_a_link_to_a_folder_stays_and_the_folder_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "real", "stale")
    (tmp_path / "link").symlink_to("real")
    make(tmp_path / "link", "a")
    assert (tmp_path / "link").is_symlink()
    assert sorted(tree(tmp_path / "real")) == ["a", MANIFEST]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_what_killed_writers_of_a_folder_left_is_deleted(tmp_path: Path) -> None:
    for name in (".run.0a1b2c3d.new", "run", ".run.0a1b2c3d.old", ".other.0a1b2c3d.new", ".run.mine.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.elstm").touch()
    remove_staged(tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".other.0a1b2c3d.new",
        ".run.0a1b2c3d.old",
        ".run.mine.new",
        "run",
    ]
