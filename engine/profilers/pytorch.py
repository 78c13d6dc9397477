"""Operators and kernels, as torch's own profiler sees them."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import torch

from engine.profilers.base import Profiler
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.storage.files import make_folder

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
MOST_ROWS = 20


class PyTorchProfiler(Profiler):
    """Runs `torch.profiler` for a few steps of the run, with the run's actions by name.

    Unless `schedule` says otherwise: the first step is left out, one is to warm up, three are
    recorded. What is recorded stays in memory, so a run is never recorded as a whole by default.
    With a `dirpath` or `filename` a trace for a browser (chrome://tracing) lies beside the report.
    All actions have their names in it, those of `record_functions`, too. Further keyword arguments
    go to `torch.profiler.profile`.

    Args:
        dirpath: the folder of the report. By default None: the run's folder, if there is a
            `filename`, else the report goes to the terminal.
        filename: the end of the report's name, without its suffix. By default None.
        group_by_input_shapes: whether an operator has a row for each shape of its inputs. By
            default False.
        export_to_chrome: whether a trace is written beside the report. By default True.
        row_limit: the number of rows of the table. By default 20.
        sort_by_key: the column to sort by, as `torch.profiler` calls it. By default None: the total
            time on the device.
        output_filename: folder and name as one path, as in 1.0 to 1.2. By default None.
        path_to_export_trace: another name of `dirpath`.
        record_functions: accepted and without effect: all actions have their names in the trace.
        record_module_names: without effect; True warns.
        emit_nvtx: refused, as the profile would be that of NVIDIA's tools. By default False.
        options: further arguments of `torch.profiler.profile`.

    Raises:
        MisconfigurationException: `emit_nvtx` is True.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (the arguments are those that scripts already use)
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = MOST_ROWS,
        sort_by_key: str | None = None,
        output_filename: str | os.PathLike[str] | None = None,
        path_to_export_trace: str | os.PathLike[str] | None = None,
        record_functions: Collection[str] | None = None,
        record_module_names: bool | None = None,
        emit_nvtx: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(dirpath or path_to_export_trace, filename, output_filename)
        if emit_nvtx:
            raise MisconfigurationException(
                "PyTorchProfiler(emit_nvtx=True): the profile of NVIDIA's tools is theirs; run the "
                "script under nsys without a profiler of ours"
            )
        if record_module_names:
            rank_zero_warn(
                "PyTorchProfiler(record_module_names=True) has no effect: actions of the run are "
                "named, modules are not; with_stack=True shows the lines that called an operator"
            )
        self._by_shapes = group_by_input_shapes
        self._exports = export_to_chrome
        self._row_limit = row_limit
        self._sort_by = sort_by_key
        self._options = options
        self._profile: Any = None
        self._actions: dict[str, Any] = {}
        self._steps = 0

    def setup(
        self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None
    ) -> None:
        """Begin to record."""
        super().setup(stage, local_rank, log_dir)
        schedule = torch.profiler.schedule(wait=1, warmup=1, active=3, repeat=1)
        options = {"schedule": schedule, "record_shapes": self._by_shapes, **self._options}
        self._profile = torch.profiler.profile(**options)
        self._profile.start()
        self._actions, self._steps = {}, 0

    def start(self, action_name: str) -> None:
        """Give what follows a name; a step's beginning ends the step before."""
        if action_name in STEPS and self._profile is not None:
            if self._steps:
                self._profile.step()
            self._steps += 1
        action = torch.profiler.record_function(action_name)
        action.__enter__()  # type: ignore[no-untyped-call]
        self._actions[action_name] = action

    def stop(self, action_name: str) -> None:
        """End the name."""
        action = self._actions.pop(action_name, None)
        if action is not None:
            action.__exit__(None, None, None)

    def summary(self) -> str:
        """The operators that took longest."""
        if self._profile is None:
            return ""
        self._profile.stop()
        profile, self._profile = self._profile, None
        if profile.profiler is None or profile.events() is None or not profile.events():
            return (
                f"Profiler report: the {self._steps} steps of this run are fewer than the schedule "
                "leaves out before it records"
            )
        trace = self.path(".pt.trace.json")
        if self._exports and trace is not None:
            make_folder(trace.parent)
            profile.export_chrome_trace(str(trace))
        averages = profile.key_averages(group_by_input_shape=self._by_shapes)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        sort_by = self._sort_by or f"{device}_time_total"
        table = averages.table(sort_by=sort_by, row_limit=self._row_limit)
        return f"Profiler report\n{table}"

    def teardown(self, stage: str | None = None) -> None:
        """Stop what a failed run has left."""
        if self._profile is not None:
            self._profile.stop()
        self._profile, self._actions = None, {}
