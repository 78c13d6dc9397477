"""Stands in for NVIDIA's pynvml: answers from the JSON file that PLAUNCH_GPU_DRIVER names.

Put this folder first on PYTHONPATH; the launcher then ships this file to its nodes, too. The file
is read at each nvmlInit::

    {"init_error": 0,
     "gpus": [{"uuid": "GPU-...", "name": "...", "memory_total": 0, "memory_used": 0,
               "reserved": 0, "compute_pids": [], "graphics_pids": [], "compute_mode": 0,
               "mig": [{"uuid": "MIG-...", "gi": 1, "ci": 0}],
               "errors": {"nvmlDeviceGetName": 15}}]}

All keys of a GPU but ``uuid`` may be missing. ``errors``: which call fails, by which code. A GPU
with ``mig`` (also an empty list) is in MIG mode.
"""

import json
import os

NVML_SUCCESS = 0
NVML_ERROR_UNINITIALIZED = 1
NVML_ERROR_INVALID_ARGUMENT = 2
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_FUNCTION_NOT_FOUND = 13
NVML_ERROR_GPU_IS_LOST = 15
NVML_ERROR_RESET_REQUIRED = 16
NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
NVML_ERROR_UNKNOWN = 999
NVML_COMPUTEMODE_DEFAULT = 0
NVML_COMPUTEMODE_PROHIBITED = 2
NVML_COMPUTEMODE_EXCLUSIVE_PROCESS = 3
nvmlMemory_v2 = 0x02000028

_WORDS = {
    NVML_ERROR_UNINITIALIZED: "Uninitialized",
    NVML_ERROR_INVALID_ARGUMENT: "Invalid Argument",
    NVML_ERROR_NOT_SUPPORTED: "Not Supported",
    NVML_ERROR_NO_PERMISSION: "Insufficient Permissions",
    NVML_ERROR_NOT_FOUND: "Not Found",
    NVML_ERROR_DRIVER_NOT_LOADED: "Driver Not Loaded",
    NVML_ERROR_LIBRARY_NOT_FOUND: "NVML Shared Library Not Found",
    NVML_ERROR_FUNCTION_NOT_FOUND: "Function Not Found",
    NVML_ERROR_GPU_IS_LOST: "GPU is lost",
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: "RM has detected an NVML/RM version mismatch.",
    NVML_ERROR_UNKNOWN: "Unknown Error",
}
_state = None


class NVMLError(Exception):
    def __init__(self, value):
        super().__init__(value)
        self.value = value

    def __str__(self):
        return _WORDS.get(self.value, f"NVML Error with code {self.value}")


class NVMLLibraryMismatchError(Exception):
    pass


class _Record:
    def __init__(self, **values):
        self.__dict__.update(values)


def _ask(handle, call):
    if _state is None:
        raise NVMLError(NVML_ERROR_UNINITIALIZED)
    code = handle.get("errors", {}).get(call, 0)
    if code == "mismatch":
        raise NVMLLibraryMismatchError(call)
    if code:
        raise NVMLError(code)
    return handle


def nvmlInit():
    global _state
    try:
        with open(os.environ["PLAUNCH_GPU_DRIVER"], encoding="utf-8") as file:
            state = json.load(file)
    except (KeyError, OSError):
        raise NVMLError(NVML_ERROR_LIBRARY_NOT_FOUND) from None
    if state.get("init_error"):
        raise NVMLError(state["init_error"])
    _state = state


def nvmlShutdown():
    global _state
    if _state is None:
        raise NVMLError(NVML_ERROR_UNINITIALIZED)
    _state = None


def nvmlDeviceGetCount():
    return len(_ask(_state or {}, "nvmlDeviceGetCount")["gpus"])


def nvmlDeviceGetHandleByIndex(index):
    if _state is None:
        raise NVMLError(NVML_ERROR_UNINITIALIZED)
    return _ask(_state["gpus"][index], "nvmlDeviceGetHandleByIndex")


def nvmlDeviceGetUUID(handle):
    return _ask(handle, "nvmlDeviceGetUUID")["uuid"]


def nvmlDeviceGetName(handle):
    return _ask(handle, "nvmlDeviceGetName").get("name", "Fake GPU")


def nvmlDeviceGetMemoryInfo(handle, version=None):
    _ask(handle, "nvmlDeviceGetMemoryInfo_v2" if version else "nvmlDeviceGetMemoryInfo")
    used = handle.get("memory_used", 0)
    if not version:  # the older call counts the driver's reserve as used
        used += handle.get("reserved", 0)
    return _Record(total=handle.get("memory_total", 80 * 2**30), used=used)


def nvmlDeviceGetComputeMode(handle):
    if "gi" in handle:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return _ask(handle, "nvmlDeviceGetComputeMode").get("compute_mode", NVML_COMPUTEMODE_DEFAULT)


def _processes(handle, call, key):
    return [_Record(pid=pid) for pid in _ask(handle, call).get(key, [])]


def nvmlDeviceGetComputeRunningProcesses(handle):
    return _processes(handle, "nvmlDeviceGetComputeRunningProcesses", "compute_pids")


def nvmlDeviceGetComputeRunningProcesses_v2(handle):
    return _processes(handle, "nvmlDeviceGetComputeRunningProcesses_v2", "compute_pids")


def nvmlDeviceGetGraphicsRunningProcesses(handle):
    return _processes(handle, "nvmlDeviceGetGraphicsRunningProcesses", "graphics_pids")


def nvmlDeviceGetGraphicsRunningProcesses_v2(handle):
    return _processes(handle, "nvmlDeviceGetGraphicsRunningProcesses_v2", "graphics_pids")


def nvmlDeviceGetMigMode(handle):
    if "gi" in handle:
        raise NVMLError(NVML_ERROR_INVALID_ARGUMENT)
    on = int("mig" in _ask(handle, "nvmlDeviceGetMigMode"))
    return [on, on]


def nvmlDeviceGetMaxMigDeviceCount(handle):
    return 7 if "mig" in _ask(handle, "nvmlDeviceGetMaxMigDeviceCount") else 0


def nvmlDeviceGetMigDeviceHandleByIndex(handle, index):
    if index >= len(_ask(handle, "nvmlDeviceGetMigDeviceHandleByIndex")["mig"]):
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    return handle["mig"][index]


def nvmlDeviceGetGpuInstanceId(handle):
    return _ask(handle, "nvmlDeviceGetGpuInstanceId")["gi"]


def nvmlDeviceGetComputeInstanceId(handle):
    return _ask(handle, "nvmlDeviceGetComputeInstanceId")["ci"]
