"""The folder of a run: where logs and checkpoints go, and what a later run goes on from.

Under a launcher (`PLAUNCH_RUN_DIR`) each `fit` of a program has a folder of its own, `fit-0` and
on, with an index of the checkpoints that were written, wherever they are. The same program in the
same run folder goes on from the newest of them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.runtime.errors import CheckpointError
from engine.runtime.storage.files import replacing

if TYPE_CHECKING:
    from engine.runtime.data.types import State

INDEX = "engine.json"

_fits = 0  # fits of this process so far: the ordinal of the next one


def next_ordinal() -> int:
    """The ordinal of a fit that begins now."""
    global _fits
    _fits += 1
    return _fits - 1


def coming_ordinal() -> int:
    """The ordinal that the next fit will have."""
    return _fits


def launched_dir() -> str | None:
    """The run's folder that a launcher gave."""
    return os.environ.get("PLAUNCH_RUN_DIR") or None


def fit_folder(ordinal: int | None) -> str | None:
    """The folder of a fit (None: of the coming one) in a launcher's run folder, if there is one."""
    run_dir = launched_dir()
    if run_dir is None:
        return None
    return os.path.join(run_dir, f"fit-{coming_ordinal() if ordinal is None else ordinal}")


@dataclass
class Index:
    """The checkpoints of one fit, the newest last; written by rank zero."""

    folder: Path
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False

    @classmethod
    def of_fit(cls, run_dir: str, ordinal: int) -> Index:
        """The index of the n-th fit of a program, with what an earlier attempt left there."""
        folder = Path(run_dir) / f"fit-{ordinal}"
        if (folder / INDEX).exists() and not (folder / INDEX).is_file():  # a pipe would never end
            raise CheckpointError(f"{folder / INDEX} is no plain file")
        try:
            content = json.loads((folder / INDEX).read_text())
        except FileNotFoundError:
            return cls(folder)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder / INDEX} cannot be read: {error}") from error
        return cls(folder, content["checkpoints"], content["complete"])

    def add(self, path: str, epoch: int, step: int) -> None:
        """Record a checkpoint that has been written."""
        entry = {"path": self._shown(path), "epoch": epoch, "step": step}
        kept = [c for c in self.checkpoints if c["path"] != entry["path"]]
        self.checkpoints = [c for c in kept if self._found(c).is_file()] + [entry]
        self.complete = False
        self.write()

    def finish(self, step: int) -> None:
        """Record that the fit came to its end; it counts if the newest checkpoint is of the end."""
        newest = self.checkpoints[-1] if self.checkpoints else None
        self.complete = newest is not None and newest["step"] == step
        if self.checkpoints:
            self.write()

    def remove_others(self, path: str, prefix: str) -> None:
        """Delete recorded files whose names begin so, but that at `path`: it takes their place."""
        for checkpoint in self.checkpoints:
            is_other = checkpoint["path"] != self._shown(path)
            if is_other and self._found(checkpoint).name.startswith(prefix):
                self._found(checkpoint).unlink(missing_ok=True)
        self.checkpoints = [c for c in self.checkpoints if self._found(c).is_file()]
        self.write()

    def newest(self) -> str | None:
        """The checkpoint to go on from; None for a fit that has written none.

        What was recorded and is nowhere to be found is an error: beginning again would throw away
        work without a word.
        """
        if not self.checkpoints:
            return None
        for checkpoint in reversed(self.checkpoints):
            if self._found(checkpoint).is_file():
                return str(self._found(checkpoint))
        raise CheckpointError(
            f"{self.folder / INDEX} names the checkpoint {self.checkpoints[-1]['path']}, which "
            "is not there. Is the folder shared by all nodes? To begin anew, give another run "
            "folder"
        )

    def write(self) -> None:
        """Write the index, whole or not at all."""
        content = {"checkpoints": self.checkpoints, "complete": self.complete}
        with replacing(self.folder / INDEX) as file:
            file.write(json.dumps(content, indent=1).encode())
            file.flush()
            os.fsync(file.fileno())

    def _shown(self, path: str) -> str:
        # Paths inside the run's folder are kept relative: the folder may be moved as a whole.
        absolute = Path(path).resolve()
        root = self.folder.parent.resolve()
        return str(absolute.relative_to(root) if absolute.is_relative_to(root) else absolute)

    def _found(self, checkpoint: State) -> Path:
        return self.folder.parent / str(checkpoint["path"])
