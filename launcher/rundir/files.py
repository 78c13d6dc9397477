"""Files in folders that others may be able to write: nothing there is followed or waited for.

A link, a pipe or a device in a file's place is refused by name; new files are made under random
names and never through a link. No folder or file of ours can be written by everybody, whatever the
umask is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from launcher.core.regular import open_regular

APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
JSON_BYTES = 8 << 20  # of job.json and an entry of the index: a command line at most
RESULT_BYTES = 128 << 20


def make_folder(path: str | Path, mode: int = 0o755) -> None:
    """Make a folder, and those above it, that nobody else can write. Raises OSError.

    Where the folder around is writable for its group (a project's, say), so is the new one if the
    umask allows it.
    """
    folder, missing = Path(path), []
    while not folder.is_dir():
        if folder.is_symlink():
            raise OSError(errno.ELOOP, "it is a link to nothing", str(folder))
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        wanted = mode if one == Path(path) else 0o755
        with contextlib.suppress(FileExistsError):  # somebody else has just made it
            os.mkdir(one, wanted | (_for_the_group(one.parent) if wanted & 0o050 else 0))
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def _for_the_group(folder: Path) -> int:
    """The right to write, where the folder around gives it to the group and to nobody else."""
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    return mode & stat.S_IWGRP if not mode & stat.S_IWOTH else 0


def open_own(path: str | Path, flags: int, mode: int = 0o644) -> int:
    """Open a file to be written; returns its descriptor.

    Raises OSError with a reason for what is no plain file, or has a second name elsewhere.
    """
    target = Path(path)
    if mode & 0o040:  # what the group may read, it may write where the folder is the group's
        mode |= _for_the_group(target.parent) & 0o020
    try:
        fd = os.open(target, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _strange(error.errno, target) from None
        raise
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(fd)
        raise _strange(errno.EINVAL, target)
    return fd


def _strange(number: int, path: Path) -> OSError:
    what = "a link" if path.is_symlink() else "no plain file"
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.lstat(path).st_mode):
            what = "a file that has a second name elsewhere (a hard link)"
    return OSError(number, f"it is {what}", str(path))


def read_whole(path: str | Path, limit: int) -> bytes:
    """The bytes of a plain file. Raises OSError, also for what is no file or is too large."""
    with open_to_read(path) as fd, open(fd, "rb", closefd=False) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit >> 20} MiB", str(path))
    return data


@contextlib.contextmanager
def open_to_read(path: str | Path) -> Iterator[int]:
    """A plain file's descriptor; a pipe or a link in its place is an OSError, not a wait."""
    fd = open_regular(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def write_whole(path: str | Path, data: bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Write so that a reader finds all of it or none; ``durable``: also after a power cut.

    What stood under this name, a link too, is replaced and not written through.
    """
    target = Path(path)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(target).st_mode) and not target.is_symlink():
            raise _strange(errno.EINVAL, target)
    part = target.with_name(f".{target.name[:100]}.{os.urandom(8).hex()}")
    fd = open_own(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    if durable:
        _settle(target.parent)


def _settle(folder: Path) -> None:
    """The new name, too, is to outlast a power cut; not every file system can be asked."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
