"""How the engine writes files of its own, also into folders that others may write to.

Links in the place of such a file are not followed, names of partial files can't be foretold, and
nothing is made that everybody may write to, whatever the umask says.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

FOLDER_MODE, FILE_MODE = 0o775, 0o664  # less what the umask takes


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and those above it, where they are missing."""
    folder = Path(path)
    if not folder.is_dir():
        make_folder(folder.parent)
        try:
            os.mkdir(folder, FOLDER_MODE)
        except FileExistsError:
            if not folder.is_dir():
                raise


def file_mode() -> int:
    """The mode of a new file."""
    umask = os.umask(0o077)
    os.umask(umask)
    return FILE_MODE & ~umask


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` at the end, if all went well.

    It is open for writing and reading. Raises OSError.
    """
    target = Path(path)
    make_folder(target.parent)
    handle, partial = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), file_mode())  # mkstemp made it private
        os.replace(partial, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise


def write_whole(path: str | os.PathLike[str], text: str, errors: str = "strict") -> None:
    """Write a text file that is there whole or not at all. Raises OSError."""
    with replacing(path) as file:
        file.write(text.encode(errors=errors))


def open_new(path: str | os.PathLike[str]) -> Any:
    """A text file that nobody else has open, in the place of what was there. Raises OSError."""
    make_folder(Path(path).parent)
    with suppress(FileNotFoundError):
        os.unlink(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, FILE_MODE), "w", encoding="utf-8")


def open_to_append(path: str | os.PathLike[str]) -> Any:
    """A file to write at the end of, made if it is missing. Raises OSError, also for a link."""
    make_folder(Path(path).parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(path, flags, FILE_MODE), "ab")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(
            errno.ELOOP,
            "it is a link, which somebody may have put there for the engine to write through: "
            "remove it, or give another folder",
            os.fspath(path),
        ) from error
