"""The archive that torch.save writes, looked at before torch reads it.

torch.save compresses nothing, and puts every part in the file once. An archive that says otherwise
would become more than it is, and is refused. What decides how an archive is read, its directory and
the pickle in it, is read once: torch gets what was looked at, whoever changes the file meanwhile.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from dataclasses import dataclass
from typing import IO, Any

from engine.runtime.errors import CheckpointError

PICKLE = "data.pkl"
_END, _END64, _LOCATOR, _LOCAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x03\x04"
_LOCAL_SIZE = 30  # of a part's own header, without its name and what else is in it


@dataclass(frozen=True)
class Archive:
    """An archive of torch's: its parts by name with their sizes, and the pickle among them."""

    file: IO[bytes]  # to be read in the place of the one that was given
    size: int
    parts: dict[str, int]
    pickle: bytes

    @property
    def digest(self) -> bytes:
        """What tells the pickle from any other: what is outside of it can't run code."""
        return hashlib.sha256(self.pickle).digest()


def archive(file: IO[bytes], name: str) -> Archive:
    """Look at an archive that begins where `file` stands, which is its beginning.

    Raises CheckpointError, with `name`, if it is none that torch.save writes.
    """
    size = file.seek(0, os.SEEK_END)
    tail_at = _directory_at(file, size, name)
    file.seek(tail_at)
    steady = Steady(file, size, [(tail_at, file.read(size - tail_at))])
    try:
        with zipfile.ZipFile(steady) as found:
            infos = sorted(found.infolist(), key=lambda info: info.header_offset)
    except (zipfile.BadZipFile, struct.error, ValueError, OSError, NotImplementedError) as error:
        raise CheckpointError(
            f"{name} cannot be read; it may be damaged, or a part of a file. It said: {error}"
        ) from error
    for info, end in zip(
        infos, [*(info.header_offset for info in infos[1:]), tail_at], strict=True
    ):
        _check_part(info, end, name)
    parts = {_name_in(info.filename): info for info in infos}
    if len(parts) < len(infos) or len({info.filename.partition("/")[0] for info in infos}) > 1:
        raise _foreign(name, "has parts of the same name, or of several archives")
    if "constants.pkl" in parts:
        raise _foreign(name, "is a TorchScript program")
    if PICKLE not in parts:
        raise _foreign(name, f"has no {PICKLE}")
    pickle = _keep(steady, parts[PICKLE], name)
    steady.seek(0)
    sizes = {part: info.file_size for part, info in parts.items()}
    return Archive(steady, size, sizes, pickle)  # type: ignore[arg-type]  # a raw file is one, too


def _name_in(filename: str) -> str:
    return filename.partition("/")[2].lower()  # torch's reader takes both cases for one


def _directory_at(file: IO[bytes], size: int, name: str) -> int:
    """Where the directory begins that every reader of archives finds."""
    file.seek(max(0, size - 22))
    end = file.read(22)
    if end[:4] != _END or end[20:] != b"\0\0":
        raise CheckpointError(
            f"{name} cannot be read; it may be damaged, or a part of a file. It has no end of an "
            "archive where torch.save puts it"
        )
    length, at = struct.unpack("<II", end[12:20])
    tail = size - 22
    file.seek(max(0, size - 42))
    locator = file.read(20)
    if locator[:4] == _LOCATOR:
        (tail,) = struct.unpack("<Q", locator[8:16])
        file.seek(min(tail, size))
        end64 = file.read(56)
        if end64[:4] != _END64 or len(end64) < 56 or tail + 56 != size - 42:
            raise _foreign(name, "has no directory where its end says so")
        length, at = struct.unpack("<QQ", end64[40:56])
    if at + length != tail:
        raise _foreign(name, "has something before or after it")
    return int(at)


def _check_part(info: zipfile.ZipInfo, end: int, name: str) -> None:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise _foreign(name, f"has a compressed part: {info.filename!r}")
    least = info.header_offset + _LOCAL_SIZE + len(info.filename.encode()) + info.file_size
    if least > end:
        raise _foreign(name, f"has a part that shares its bytes with another: {info.filename!r}")


def _keep(steady: Steady, info: zipfile.ZipInfo, name: str) -> bytes:
    """The bytes of a part, which `steady` reads from memory from now on, with their header."""
    steady.seek(info.header_offset)
    header = steady.read(_LOCAL_SIZE)
    if header[:4] != _LOCAL or len(header) < _LOCAL_SIZE:
        raise _foreign(name, f"has a part without a header: {info.filename!r}")
    more = sum(struct.unpack("<HH", header[26:30]))
    steady.seek(info.header_offset)
    whole = steady.read(_LOCAL_SIZE + more + info.file_size)
    if len(whole) < _LOCAL_SIZE + more + info.file_size:
        raise _foreign(name, f"ends within a part: {info.filename!r}")
    steady.keep(info.header_offset, whole)
    return whole[_LOCAL_SIZE + more :]


def _foreign(name: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{name} {why}; torch.save writes no such file, and it is not read. Save it anew with "
        "torch.save where it came from"
    )


class Steady(io.RawIOBase):
    """A file of which some parts are read from memory, as they were when they were looked at."""

    def __init__(self, file: IO[bytes], size: int, kept: list[tuple[int, bytes]]) -> None:
        self._file, self._size, self._kept, self._at = file, size, kept, 0

    def keep(self, at: int, data: bytes) -> None:
        """From now on these bytes are at this place."""
        self._kept.append((at, data))

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def tell(self) -> int:
        """As of any file."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, from file and memory."""
        view = memoryview(buffer).cast("B")
        begin, end = self._at, min(self._at + len(view), self._size)
        if begin >= end:
            return 0
        inside = next(((at, d) for at, d in self._kept if at <= begin and end <= at + len(d)), None)
        if inside is not None:
            view[: end - begin] = memoryview(inside[1])[begin - inside[0] : end - inside[0]]
        else:
            self._file.seek(begin)
            end = begin + _fill(self._file, view[: end - begin])
            for at, data in self._kept:
                first, last = max(begin, at), min(end, at + len(data))
                if first < last:
                    view[first - begin : last - begin] = memoryview(data)[first - at : last - at]
        self._at = end
        return end - begin


def _fill(file: Any, view: memoryview) -> int:
    if hasattr(file, "readinto"):
        done = 0
        while done < len(view) and (count := file.readinto(view[done:])):
            done += count
        return done
    data = file.read(len(view))
    view[: len(data)] = data
    return len(data)
