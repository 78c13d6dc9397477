"""What the NVIDIA driver says of this machine's GPUs, as JSON data.

This file travels to the nodes: standard library only, and nothing heavy is imported before a
driver is seen. ``pynvml`` (one pure file) travels along.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any

    Unit = dict[str, Any]  # the fields of launcher.controller.placing.gpus.Gpu

# A machine without any of these has no NVIDIA driver (the second: Windows' own, under WSL).
DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg")
# One more file that counts as a driver: the tests' stand-in.
DRIVER_VARIABLE = "PLAUNCH_GPU_DRIVER"


def probe_node(visible: str | None, own: Collection[str] = ()) -> dict[str, Any]:
    """Return ``{"gpus": [...], "visible": visible, "error": ""}``; see
    ``launcher.controller.placing.gpus.Gpu``.

    ``visible`` is the CUDA_VISIBLE_DEVICES that the node's processes would inherit (None: not
    set), ``own`` are UUIDs that this very run has leased. ``error`` says why a machine with a
    driver can't be asked. May take seconds on a machine whose driver has to wake its GPUs.
    """
    from launcher.agent.node.gpu_lease import holder

    boards, error = _ask_driver()
    units = visible_units(visible, boards)
    for unit in units:
        if unit["uuid"] and unit["uuid"] not in own:
            unit["leased"] = holder(unit["uuid"])
    if boards and not units:
        error = f"CUDA_VISIBLE_DEVICES={visible} leaves none of {len(boards)}"
    return {"gpus": units, "visible": visible, "error": error}


def visible_units(visible: str | None, boards: Sequence[Sequence[Unit]]) -> list[Unit]:
    """Apply CUDA_VISIBLE_DEVICES as CUDA and torch do; pure.

    ``boards`` are the GPUs in PCI order, each as its units: itself, or its MIG instances. The
    order of the list is kept, it ends at the first entry that is invalid, and an entry that is
    there twice leaves nothing. Numbers are taken in PCI order; CUDA's own default order, fastest
    first, differs only where a machine has GPUs of several kinds (CUDA_DEVICE_ORDER). A number
    or a GPU's UUID stands for the first instance where the GPU is in MIG mode. Each unit gets its
    ``index``: what a number in ``--gpus`` means, the place in this list.
    """
    if visible is None:
        return [{**unit, "index": i} for i, board in enumerate(boards) for unit in board]
    find = _by_name if visible.startswith(("GPU-", "MIG-")) else _by_number
    found: list[Unit] = []
    for entry in _entries(visible):
        unit = find(entry, boards)
        if unit is None:
            break
        if any(_same(unit, other) for other in found):
            return []
        found.append({**unit, "index": len(found)})
    return found


def _entries(visible: str) -> list[str]:
    """Split at the commas, up to the first entry of another kind; nothing if one is repeated.

    A number is read as C's strtoul does: ``1x`` is 1; ``x`` and ``-1`` are none.
    """
    kind = visible[:4] if visible.startswith(("GPU-", "MIG-")) else ""
    entries: list[str] = []
    for entry in visible.split(","):
        if not kind:
            entry = _leading_number(entry.strip())
        if not entry.startswith(kind) or not entry:
            break
        if entry in entries:
            return []
        entries.append(entry)
    return entries


def _leading_number(text: str) -> str:
    digits = text.removeprefix("+")
    end = 0
    while end < len(digits) and digits[end] in "0123456789":
        end += 1
    return str(int(digits[:end])) if 0 < end < 10 else ""


def _by_number(entry: str, boards: Sequence[Sequence[Unit]]) -> Unit | None:
    number = int(entry)
    return boards[number][0] if number < len(boards) and boards[number] else None


def _same(one: Unit, other: Unit) -> bool:
    return (one["machine_index"], one["uuid"]) == (other["machine_index"], other["uuid"])


def _by_name(entry: str, boards: Sequence[Sequence[Unit]]) -> Unit | None:
    """Find the one board or instance whose UUID begins like that."""
    matches = []
    for board in boards:
        if board and (board[0]["parent"] or board[0]["uuid"]).startswith(entry):
            matches.append(board[0])
        matches += [
            unit
            for unit in board
            if unit["parent"] and (unit["uuid"].startswith(entry) or unit["mig_name"] == entry)
        ]
    return matches[0] if len(matches) == 1 else None


def has_driver() -> bool:
    """Whether this machine has an NVIDIA driver; quick."""
    extra = os.environ.get(DRIVER_VARIABLE)
    return any(map(os.path.exists, (*DRIVER_FILES, *([extra] if extra else []))))


def _ask_driver() -> tuple[list[list[Unit]], str]:
    if not has_driver():
        return [], ""
    try:
        import pynvml as nvml
    except ImportError:
        return [], "the Python package nvidia-ml-py is missing"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        none = (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED)
        return [], "" if getattr(error, "value", None) in none else f"NVML: {error}"
    try:
        return [_board(nvml, index) for index in range(nvml.nvmlDeviceGetCount())], ""
    except nvml.NVMLError as error:
        return [], f"NVML: {error}"
    finally:
        nvml.nvmlShutdown()


def _board(nvml: Any, index: int) -> list[Unit]:
    """One GPU as its units. Whatever the driver refuses about it is that unit's ``problem``."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(nvml.nvmlDeviceGetUUID(handle))
    except nvml.NVMLError as error:
        return [_unit(index, "", usable=False, problem=f"the driver says: {error}")]
    try:
        if (_optional(nvml, nvml.nvmlDeviceGetMigMode, handle) or [0])[0] == 1:
            return _instances(nvml, handle, index, uuid)
    except nvml.NVMLError as error:
        return [_unit(index, uuid, problem=f"the driver says: {error}")]
    return [_describe(nvml, handle, index, uuid)]


def _instances(nvml: Any, handle: Any, index: int, uuid: str) -> list[Unit]:
    instances = []
    for number in range(_optional(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        try:
            instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            mig_uuid = _text(nvml.nvmlDeviceGetUUID(instance))
        except nvml.NVMLError:
            continue  # no instance at that place
        unit = _describe(nvml, instance, index, mig_uuid)
        gi = _optional(nvml, nvml.nvmlDeviceGetGpuInstanceId, instance)
        ci = _optional(nvml, nvml.nvmlDeviceGetComputeInstanceId, instance)
        unit |= {"parent": uuid, "mig_name": f"MIG-{uuid}/{gi}/{ci}"}
        instances.append(unit)
    empty = _unit(index, "", usable=False, problem="MIG mode is on, but it has no MIG instance")
    return instances or [empty | {"parent": uuid}]


def _describe(nvml: Any, handle: Any, index: int, uuid: str) -> Unit:
    unit = _unit(index, uuid)
    try:
        unit["name"] = _text(nvml.nvmlDeviceGetName(handle))
        memory = _memory(nvml, handle)
        unit["memory_total"], unit["memory_used"] = int(memory.total), int(memory.used)
        mode = _optional(nvml, nvml.nvmlDeviceGetComputeMode, handle)
        unit["exclusive"] = mode == nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
        if mode == nvml.NVML_COMPUTEMODE_PROHIBITED:
            unit |= {"usable": False, "problem": "its compute mode is Prohibited"}
        unit["processes"] = _processes(nvml, handle)
    except nvml.NVMLError as error:
        lost = (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED)
        unit["usable"] = unit["usable"] and getattr(error, "value", None) not in lost
        unit["problem"] = f"the driver says: {error}"
    return unit


def _unit(index: int, uuid: str, *, usable: bool = True, problem: str = "") -> Unit:
    return {
        "index": index,
        "machine_index": index,
        "uuid": uuid,
        "name": "",
        "memory_total": 0,
        "memory_used": 0,
        "processes": [],
        "exclusive": False,
        "leased": "",
        "parent": "",
        "mig_name": "",
        "usable": usable,
        "problem": problem,
    }


def _memory(nvml: Any, handle: Any) -> Any:
    """Memory in bytes, where the driver can tell (since 510) without its own reserve in `used`."""
    try:
        return nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except nvml.NVMLError:
        return nvml.nvmlDeviceGetMemoryInfo(handle)


def _processes(nvml: Any, handle: Any) -> list[list[Any]]:
    """Each process on the GPU, for compute or graphics, as ``[pid, user]``."""
    pids: set[int] = set()
    for kind in ("Compute", "Graphics"):
        for version in ("", "_v2"):  # the second: drivers before 510
            ask = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses{version}", None)
            found = _optional(nvml, ask, handle) if ask is not None else None
            if found is not None:
                pids |= {int(process.pid) for process in found}
                break
    return [[pid, _owner(pid)] for pid in sorted(pids)]


def _owner(pid: int) -> str:
    try:
        from launcher.agent.node.gpu_lease import user_name

        return user_name(os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return ""  # ended meanwhile, or of another container


def _optional(nvml: Any, ask: Callable[[Any], Any], handle: Any) -> Any:
    """Ask what not every GPU and driver can answer; None if it can't."""
    try:
        return ask(handle)
    except nvml.NVMLLibraryMismatchError:
        return None
    except nvml.NVMLError as error:
        cannot = (
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            nvml.NVML_ERROR_INVALID_ARGUMENT,
        )
        if getattr(error, "value", None) in cannot:
            return None
        raise


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
