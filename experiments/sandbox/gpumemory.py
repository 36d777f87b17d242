"""How much of a card's memory a script uses, as NVIDIA's management library tells (NVML, through ctypes).

The library comes with the driver. Where it can say it, the use of the script's own processes counts; where it cannot,
as in many containers, what the card's use has grown by since the start. Leaves out killing. Rejected: `nvidia-smi`, up
to half a second a look.
"""

import ctypes
import functools
from collections.abc import Iterable

LIBRARY = "libnvidia-ml.so.1"
PROCESSES_MAX = 256
NOT_AVAILABLE = (1 << 64) - 1
DONE = 0


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_uint64), ("free", ctypes.c_uint64), ("used", ctypes.c_uint64)]


class _Process(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_uint64), ("gpu_instance", ctypes.c_uint),
                ("compute_instance", ctypes.c_uint)]


class Card:
    """One card from the start of a run on. OSError if the library or the card is not there."""

    def __init__(self, minor: int, library: str = LIBRARY) -> None:
        self._nvml = _loaded(library)
        self._handle = self._find(minor)
        self._before_bytes = self.total_used_bytes()

    def total_used_bytes(self) -> int:
        """Returns what everybody on the card uses."""
        memory = _Memory()
        self._check(self._nvml.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)))
        return int(memory.used)

    def used_bytes(self, pids: Iterable[int]) -> int:
        """Returns what these processes use; where that is not told, what has been added since the start."""
        count, found = ctypes.c_uint(PROCESSES_MAX), (_Process * PROCESSES_MAX)()
        answer = self._nvml.nvmlDeviceGetComputeRunningProcesses_v3(self._handle, ctypes.byref(count), found)
        wanted = set(pids)
        told = [one for one in found[: count.value] if one.pid in wanted] if answer == DONE else []
        if told and all(one.used != NOT_AVAILABLE for one in told):
            return sum(int(one.used) for one in told)
        return max(0, self.total_used_bytes() - self._before_bytes)

    def _find(self, minor: int) -> ctypes.c_void_p:
        count = ctypes.c_uint()
        self._check(self._nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
        for index in range(count.value):
            handle, number = ctypes.c_void_p(), ctypes.c_uint()
            self._check(self._nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)))
            self._check(self._nvml.nvmlDeviceGetMinorNumber(handle, ctypes.byref(number)))
            if number.value == minor:
                return handle
        raise OSError(f"NVIDIA's management library knows no card /dev/nvidia{minor}")

    @staticmethod
    def _check(answer: int) -> None:
        if answer != DONE:
            raise OSError(f"NVIDIA's management library answered with error {answer}")


@functools.cache
def _loaded(library: str) -> ctypes.CDLL:
    nvml = ctypes.CDLL(library)
    for name in ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetCount_v2",
                 "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetMinorNumber"):
        if not hasattr(nvml, name):
            raise OSError(f"NVIDIA's management library has no {name}: the driver is too old")
    Card._check(nvml.nvmlInit_v2())
    return nvml
