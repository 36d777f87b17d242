"""What this machine computes with: found by running one real kernel in a child process, never by asking for names.

The parent never imports torch; `python -m experiments.device` is the child that does. Leaves out keeping the answer:
the caller caches it. Rejected: `torch.cuda.is_available()` alone, which says yes on cards that the installed kernels
do not support.
"""

from __future__ import annotations

import functools
import json
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ensue.errors import ExperimentError

PROBE_TIMEOUT_S = 180.0
EVERY = "every"  # asks the child for all devices instead of one
KERNEL_SIDE = 1024
KERNEL_REPEATS = 8
PROCESSOR_REPEATS = 40  # some of them undisturbed, also where other programs use the same core
VECTOR_UNITS = ("avx2", "avx")
MEMORY_TIERS_GIB = (2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 141, 192, 256)


@dataclass(frozen=True, slots=True)
class Hardware:
    """One device and how fast it is; `hardware_class` is what compares.

    `gflops` is the best matrix product seen, in 1e9 operations a second: of time on a GPU; of processor time, times
    `threads`, on a processor.
    """

    device: str  # as torch names it: cpu, cuda:0, mps
    kind: str  # cpu, cuda or mps
    model: str
    memory_bytes: int
    threads: int
    gflops: float
    hardware_class: str
    dtype: str  # the dtype that training should compute in
    software: str

    def to_json(self) -> str:
        """Return the JSON that `from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Hardware:
        """Return what `to_json` wrote; ExperimentError when it is something else."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise ExperimentError(
                f"The saved calibration cannot be read ({error}); run autoresearch doctor."
            ) from error


def probe(device: str | None = None, *, threads: int = 2) -> Hardware:
    """Return the hardware that `device` is (the best that works if None), measured in a child process.

    Takes seconds, most of it importing torch. Raises ExperimentError when no kernel runs.
    """
    return Hardware.from_json(_asked(device or "The best device", str(threads), *([device] if device else [])))


def every() -> list[str]:
    """Return the devices for one worker each: all CUDA cards on which a kernel runs, else the best device.

    Takes seconds, in a child process. Raises ExperimentError when no kernel runs.
    """
    return [str(device) for device in json.loads(_asked("Some device", EVERY))]


def _asked(who: str, *arguments: str) -> str:
    """Return the last line that the child says; ExperimentError where it says none."""
    command = [sys.executable, "-m", "experiments.device", *arguments]
    environment = os.environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # the order in which the sandbox counts them
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExperimentError(
            f"{who} gave no answer in {PROBE_TIMEOUT_S:.0f} s; check its driver, or choose --device cpu."
        ) from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ExperimentError(f"{who} does not run a matrix product ({last[:200]}); choose --device cpu.")
    return done.stdout.decode().strip().rpartition("\n")[2]


@functools.cache
def usable_device() -> str:
    """Return the best device on which a kernel runs, tried in this process: for scripts run by hand only."""
    return _best_device(None)


def hardware_class(kind: str, model: str, memory_bytes: int, threads: int, gflops: float) -> str:
    """Return the class within which runs compare: device, memory tier and speed to a factor of two.

    A class is named by its lower end: 128 is from 128 to below 256.
    """
    if kind == "cpu":
        bucket = 2 ** math.floor(math.log2(max(gflops, 1.0)))
        return f"cpu-{threads}t-{_vector_unit()}-{bucket}"
    tier = min(MEMORY_TIERS_GIB, key=lambda gib: abs(gib - memory_bytes / (1 << 30)))
    words = "".join(c if c.isalnum() else "-" for c in model.lower().replace("nvidia", "").replace("geforce", ""))
    name = "-".join(word for word in words.split("-") if word)
    return f"{kind}-{name or 'unknown'}-{tier}"[:64]


def _vector_unit() -> str:
    machine = platform.machine().lower()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return machine
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    if "avx512f" in flags:
        return "avx512"
    return next((name for name in VECTOR_UNITS if name in flags), machine)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _best_device(wanted: str | None) -> str:
    """Return the wanted device, or the first of cuda, mps, cpu, on which a small product comes out right."""
    candidates = [wanted] if wanted else ["cuda:0", "mps", "cpu"]
    found = next(filter(_works, candidates), None)
    if found is None:
        raise SystemExit(f"no kernel runs on {' or '.join(candidates)}")
    return found


def _works(device: str) -> bool:
    """Return whether a small product comes out right there; what goes wrong is said on standard error."""
    import torch

    kind = device.partition(":")[0]
    present = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}.get(kind, lambda: True)
    try:
        if not present():
            return False
        ones = torch.ones(64, 64, device=device)
        return float((ones @ ones)[0, 0]) == 64
    except (RuntimeError, AssertionError) as error:
        print(f"{device}: {error}", file=sys.stderr)
        return False


def _every_device() -> list[str]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [card for card in (f"cuda:{number}" for number in range(count)) if _works(card)] or [_best_device(None)]


def _measure_processor(threads: int) -> float:
    """Return the best rate of a float32 matrix product in 1e9 operations a processor second, times `threads`.

    One thread on its own clock: what others take from the machine does not count, nor does waiting for a slower thread.
    """
    import torch

    torch.set_num_threads(1)
    left, right = (torch.randn(KERNEL_SIDE, KERNEL_SIDE) for _ in range(2))
    best = math.inf
    for _ in range(PROCESSOR_REPEATS):
        began = time.thread_time()
        torch.mm(left, right)
        best = min(best, time.thread_time() - began)
    torch.set_num_threads(threads)
    return threads * 2 * KERNEL_SIDE**3 / best / 1e9


def _measure(device: str, dtype: Any) -> float:
    """Return the best rate of a matrix product in 1e9 operations a second."""
    import torch

    side = 4 * KERNEL_SIDE
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = math.inf
    for _ in range(KERNEL_REPEATS):
        began = time.perf_counter()
        float((left @ right)[0, 0])  # reading one element waits for the device
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best / 1e9


def _describe(threads: int, wanted: str | None) -> Hardware:
    import torch

    torch.set_num_threads(threads)
    device = _best_device(wanted)
    kind = device.partition(":")[0]
    software = (
        f"python {platform.python_version()}, torch {torch.__version__}, {platform.system()} {platform.machine()}"
    )
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(device)
        model, memory = str(properties.name), int(properties.total_memory)
        dtype = "bfloat16" if properties.major >= 8 else "float32"
        software += f", cuda {torch.version.cuda}"
    else:
        model = _cpu_model() if kind == "cpu" else "apple"
        memory, dtype = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "float32"
    gflops = _measure_processor(threads) if kind == "cpu" else _measure(device, getattr(torch, dtype))
    return Hardware(
        device=device, kind=kind, model=model, memory_bytes=memory, threads=threads, gflops=round(gflops, 1),
        hardware_class=hardware_class(kind, model, memory, threads, gflops), dtype=dtype, software=software,
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == EVERY:
        print(json.dumps(_every_device()))
        raise SystemExit
    print(_describe(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None).to_json())
