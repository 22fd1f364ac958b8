"""Writing files and folders so that an interruption leaves either the old result or the new one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_lstm.errors import EdgeLstmError

MANIFEST = "edge-lstm.manifest.json"
"""Lists the files of a folder that edge-lstm wrote, and so may replace."""


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it.

    Raises:
        EdgeLstmError: The file can't be written; the old one, if any, is as it was.
    """
    target = Path(os.path.realpath(path))  # a link stays, and what it names is written
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            raise EdgeLstmError(f"can't write {path}: it is a device or a pipe, and should be a file")
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EdgeLstmError(f"can't write {path}: {error.strerror or error}") from error


def write_text(path: str | Path, text: str) -> None:
    """``write_bytes`` of UTF-8 text."""
    write_bytes(path, text.encode())


def read_bytes(path: str | Path, *, at_most: int) -> bytes:
    """A file's content.

    Raises:
        EdgeLstmError: It is missing, unreadable or larger than ``at_most`` bytes.
    """
    source = Path(path)
    try:
        with source.open("rb") as file:
            data = file.read(at_most + 1)  # a device or a pipe does not say its size
    except OSError as error:
        raise EdgeLstmError(f"can't read {source}: {error.strerror or error}") from error
    if len(data) > at_most:
        raise EdgeLstmError(f"{source} has more than {at_most} bytes, which is the most accepted")
    return data


@contextlib.contextmanager
def output_folder(path: str | Path, *, force: bool = False, nested: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of ``path`` when the block ends without an exception.

    A folder that is missing, empty, or holds only what an earlier run of edge-lstm wrote is replaced. One that
    holds anything else is refused, or with ``force`` replaced, its other files being kept. With ``nested`` the manifest
    names the files of folders in it too; else these are replaced as a whole.

    Raises:
        EdgeLstmError: The folder holds something else and ``force`` is not given, or can't be written.
    """
    check_output_folder(path, force=force)
    target = Path(os.path.realpath(path))
    staged = target.parent / f".{target.name}.{secrets.token_hex(4)}.new"
    try:
        staged.mkdir(parents=True)
        try:
            yield staged
            _write_manifest(staged, nested=nested)
            _swap(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except EdgeLstmError as error:
        if str(staged) not in str(error):
            raise
        raise EdgeLstmError(str(error).replace(str(staged), str(path))) from error  # name what was asked for
    except OSError as error:
        raise EdgeLstmError(f"can't write {path}: {error.strerror or error}") from error


def remove_staged(path: str | Path) -> None:
    """Delete the temporary folders that processes left which were killed while ``output_folder`` wrote ``path``.

    Raises:
        EdgeLstmError: One can't be deleted.
    """
    target = Path(os.path.realpath(path))
    staged = re.compile(re.escape(f".{target.name}.") + "[0-9a-f]{8}[.]new")
    try:
        for entry in target.parent.iterdir():
            if staged.fullmatch(entry.name):
                shutil.rmtree(entry)
    except OSError as error:
        raise EdgeLstmError(f"can't delete what was left beside {path}: {error.strerror or error}") from error


def check_output_folder(path: str | Path, *, force: bool) -> None:
    """Refuse, before any work is done, a folder that ``output_folder`` would refuse.

    Raises:
        EdgeLstmError: See ``output_folder``.
    """
    target = Path(path)
    try:
        if target.exists() and not target.is_dir():
            raise EdgeLstmError(f"{target} is a file, and should be a folder")
        if target.is_dir() and (os.path.ismount(target) or target.resolve() in (Path.cwd(), *Path.cwd().parents)):
            raise EdgeLstmError(f"{target} is in use and can't be replaced; name a folder in it")
        foreign = _foreign(target)
    except OSError as error:
        raise EdgeLstmError(f"can't write {target}: {error.strerror or error}") from error
    if foreign and not force:
        raise EdgeLstmError(f"{target} holds {foreign[0]}, which edge-lstm did not write; --force keeps it and goes on")


def _foreign(folder: Path) -> list[str]:
    """Entries of a folder that no manifest claims: at its top, and in folders of which the manifest names files."""
    if not folder.is_dir():
        return []
    try:
        listed = json.loads((folder / MANIFEST).read_text())
        ours = {str(name) for name in listed} if isinstance(listed, list) else set()
    except (OSError, ValueError, RecursionError):
        ours = set()
    parts = {name.partition("/")[0] for name in ours if "/" in name}
    nested = [e for e in folder.iterdir() if e.name in parts and e.is_dir() and not e.is_symlink()]
    top = [e.name for e in folder.iterdir() if e.name not in ours | {MANIFEST} and e not in nested]
    return sorted([*top, *(name for part in nested for name in _files(folder, part) if name not in ours)])


def _files(folder: Path, part: Path) -> list[str]:
    """Every file below a part of a folder, relative to the folder."""
    return [path.relative_to(folder).as_posix() for path in part.rglob("*") if not path.is_dir() or path.is_symlink()]


def _write_manifest(folder: Path, *, nested: bool) -> None:
    names = _files(folder, folder) if nested else [e.name for e in folder.iterdir()]
    write_text(folder / MANIFEST, json.dumps(sorted(names)) + "\n")


def _swap(staged: Path, target: Path) -> None:
    if not target.exists():
        staged.rename(target)
        return
    old = staged.with_suffix(".old")
    foreign = _foreign(target)
    target.rename(old)
    try:
        staged.rename(target)
    except BaseException:
        old.rename(target)
        raise
    for name in foreign:
        if not (target / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (old / name).rename(target / name)
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
