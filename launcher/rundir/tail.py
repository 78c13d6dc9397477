"""Files that grow: what was added since the last look, as bytes."""

from __future__ import annotations

from pathlib import Path

from launcher.rundir.files import open_to_read

CHUNK = 1 << 20


class Tail:
    """Reads a file from ``position`` on while it is written; it may not be there yet."""

    def __init__(self, path: Path, position: int = 0) -> None:
        self.path = path
        self._position = position

    def read(self) -> bytes:
        """What is new, at most a MiB; empty if there is nothing."""
        try:
            # Opened anew each time: that is when a network file system looks at the server.
            with open_to_read(self.path) as fd, open(fd, "rb", 0, closefd=False) as file:
                if file.seek(0, 2) < self._position:
                    self._position = 0  # it was begun anew
                file.seek(self._position)
                data = file.read(CHUNK)
        except OSError:
            return b""
        self._position += len(data)
        return data
