"""Opening files that another process may have replaced: plain files only, and never waiting.

A named pipe in the place of a file would hold up whoever opens it for ever; a link would lead
elsewhere; a device gives data without end. Standard library only: this file travels to the nodes.
"""

from __future__ import annotations

import errno
import os
import stat

MOST_BYTES = 256 << 20  # of a file that is read as a whole


def open_regular(path: str | os.PathLike[str], flags: int, mode: int = 0o666) -> int:
    """A descriptor of a plain file. Raises OSError; also for a link, a pipe or a device."""
    more = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    return _checked(os.open(path, flags | more, mode), path)


def read_regular(
    path: str | os.PathLike[str], most: int = MOST_BYTES, *, follow: bool = False
) -> bytes:
    """What is in a plain file, ``most`` bytes of it. Raises OSError.

    ``follow``: links are followed, as for a file that the user has named.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    fd = _checked(os.open(path, flags), path)
    with os.fdopen(fd, "rb") as file:
        return file.read(most)


def _checked(fd: int, path: str | os.PathLike[str]) -> int:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no plain file", os.fspath(path))
    return fd
