"""Metrics as a table: `metrics.csv`, a row for each set of values."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.loggers.folders.base import DEFAULT_NAME, FolderLogger
from engine.runtime.storage.files import open_to_append, replacing
from engine.runtime.storage.hparams_file import as_mapping, write_hparams

if TYPE_CHECKING:
    from engine.runtime.data.types import Hyperparameters, Metrics

METRICS_FILE = "metrics.csv"
FIRST_COLUMNS = ("epoch", "step")
MAX_UNFLUSHED_S = 5.0


class CSVLogger(FolderLogger):
    """Writes `metrics.csv` and `hparams.yaml` into the run's folder.

    Args:
        save_dir: the folder of all experiments. By default None: where the run's other files go.
        name: the folder within it; "" or None for none. By default `"lightning_logs"`.
        version: the run's number, or the name of its folder. By default None: the next number.
        prefix: text before each metric's name, with a hyphen in between. By default none.
        flush_logs_every_n_steps: after how many optimizer steps rows are written to the file; at
            the latest after 5 seconds. By default 100.

    Example:
        A table in `results/lightning_logs/version_0/metrics.csv`::

            Trainer(logger=CSVLogger("results"))
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        name: str | None = DEFAULT_NAME,
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(save_dir, name, version, prefix)
        self._flush_every = flush_logs_every_n_steps
        self._step = 0
        self._flushed_step = 0
        self._flush_due = time.monotonic() + MAX_UNFLUSHED_S
        self.hparams: dict[str, Any] = {}

    def _open(self) -> MetricsFile:
        return MetricsFile(Path(self.log_dir) / METRICS_FILE)

    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Add one row."""
        self.experiment.add({**self._named(metrics), "step": step})
        self._step = self._step if step is None else step
        steps_behind = abs(self._step - self._flushed_step)
        if steps_behind >= self._flush_every or time.monotonic() >= self._flush_due:
            self.save()

    def log_hyperparams(self, params: Hyperparameters, **kwargs: Any) -> None:
        """Keep the hyper-parameters in `hparams.yaml`."""
        self.hparams.update(as_mapping(params))
        self.experiment.write_hparams(self.hparams)

    def save(self) -> None:
        """Write out the rows that wait."""
        self._flushed_step = self._step
        self._flush_due = time.monotonic() + MAX_UNFLUSHED_S
        if self._experiment is not None:
            self._experiment.flush()

    def finalize(self, status: str) -> None:
        """Write out the rows that wait and close the file."""
        if self._experiment is not None:
            self._experiment.close()


class MetricsFile:
    """A CSV file that only grows: killed at any moment, all rows up to the last flush are in it.

    When a metric comes for the first time, its column is added by a new file that takes the place
    of the old one at once, with every row it had. That happens a few times in a run; otherwise a
    flush is one write to the end of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._hparams: dict[str, Any] = {}
        self._file: io.BufferedWriter | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Take one row; it is in the file after the next flush."""
        self._rows.append({key: _cell(value) for key, value in row.items()})

    def write_hparams(self, params: Mapping[str, Any]) -> None:
        """Write the hyper-parameters beside the table."""
        self._hparams = dict(params)
        write_hparams(self.path.parent, params)

    def flush(self) -> None:
        """Append the rows that wait, as whole lines."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        file = self._file or self._open()
        seen = dict.fromkeys(key for row in rows for key in row)
        new = [key for key in seen if key not in self.columns]
        if new:
            file = self._add_columns(new)
        text = io.StringIO()
        csv.DictWriter(text, self.columns, restval="", lineterminator="\n").writerows(rows)
        file.write(text.getvalue().encode())
        file.flush()

    # By the names of 1.x.

    NAME_METRICS_FILE = METRICS_FILE
    NAME_HPARAMS_FILE = "hparams.yaml"

    @property
    def log_dir(self) -> str:
        """The folder of the run."""
        return str(self.path.parent)

    @property
    def metrics_file_path(self) -> str:
        """The table."""
        return str(self.path)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """All rows, each with what it has: read from the file."""
        self.flush()
        if not self.path.exists():
            return []
        with open(self.path, newline="") as file:
            rows = list(csv.DictReader(file))
        return [{name: _number(text) for name, text in row.items() if text} for row in rows]

    @property
    def hparams(self) -> dict[str, Any]:
        """The hyper-parameters that were written."""
        return dict(self._hparams)

    def log_metrics(self, metrics_dict: Mapping[str, Any], step: int | None = None) -> None:
        """Take one row."""
        self.add({**metrics_dict, "step": step})

    def log_hparams(self, params: Mapping[str, Any]) -> None:
        """Write the hyper-parameters, these beside those that were."""
        self.write_hparams({**self._hparams, **params})

    def save(self) -> None:
        """Write out the rows that wait."""
        self.flush()

    def close(self) -> None:
        """Flush and close; a later row opens the file again."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> io.BufferedWriter:
        """Open for appending, after what an earlier run of this version left."""
        file: io.BufferedWriter = open_to_append(self.path)
        size = _whole_lines(self.path)
        if size != file.tell():
            file.truncate(size)  # a line cut short by a kill is no row
        if size and not self.columns:
            with open(self.path, newline="") as old:
                self.columns = next(csv.reader(old))
        self._file = file
        return file

    def _add_columns(self, new: list[str]) -> io.BufferedWriter:
        """Put a file with more columns in the place of this one."""
        ordered = [key for key in FIRST_COLUMNS if key in new and not self.columns]
        self.columns += ordered + [key for key in new if key not in ordered]
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(self.columns)
        padding = b"," * len(new) + b"\n"
        with open(self.path, "rb") as old, replacing(self.path) as grown:
            grown.write(header.getvalue().encode())
            old.readline()
            grown.writelines(line[:-1] + padding for line in old)
        if self._file is not None:
            self._file.close()
        return self._open()


def _cell(value: object) -> Any:
    """A value as it stands in the table."""
    return value.item() if isinstance(value, torch.Tensor) else value


def _number(text: str) -> Any:
    """A cell as a number, where it is one."""
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text


def _whole_lines(path: Path) -> int:
    """The length of the file up to its last line end."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        end = size
        while end > 0:
            start = max(0, end - 4096)
            file.seek(start)
            cut = file.read(end - start).rfind(b"\n")
            if cut >= 0:
                return start + cut + 1
            end = start
    return 0
