"""How the sandbox's tests run something inside: a snippet or a script of the zoo, watched as a supervisor watches."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.sandbox import Level, Limits, Mount, interpreter, start

ZOO = Path(__file__).parent.parent / "zoo"
MIB = 1 << 20
SMALL = Limits(memory_bytes=256 * MIB, processes=40, open_files=256, scratch_bytes=32 * MIB, out_bytes=24 * MIB,
               out_files=16, shm_bytes=16 * MIB, stdout_bytes=64 * 1024)
POLL_S = 0.02


def distinct(levels: Mapping[str, Level]) -> dict[str, Level]:
    """Returns each level once, under its first name: without control groups "no cgroup" is what there is anyhow."""
    labels: dict[str, str] = {}
    return {name: level for name, level in levels.items() if labels.setdefault(level.label, name) == name}


@dataclass(frozen=True)
class Trial:
    """What became of a run: how it ended, what it printed, which limit it broke and who was still alive after it."""

    status: int | None
    text: str
    broken: str | None
    cpu_s: float
    survivors: list[int]
    slowest_poll_s: float


def marked(token: str) -> list[int]:
    """Returns the live processes whose environment holds `token`: the way to find survivors, wherever they hide."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
            state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if token.encode() in environment and state not in "ZX":
            found.append(int(name))
    return found


def snippet(code: str, **options: object) -> Trial:
    """Runs Python code inside."""
    return trial([interpreter(), "-c", code], **options)  # type: ignore[arg-type]


def attack(name: str, **options: object) -> Trial:
    """Runs a script of the zoo inside, as the runner would."""
    mount = Mount(ZOO / f"{name}.py", "/job/train.py")
    return trial([interpreter(), "/job/train.py"], mounts=[mount], **options)  # type: ignore[arg-type]


def trial(argv: Sequence[str], *, level: Level, limits: Limits = SMALL, mounts: Sequence[Mount] = (),
          out: Path | None = None, env: Mapping[str, str] | None = None, seconds: float = 20.0,
          fds: Sequence[int] = ()) -> Trial:
    """Runs `argv` until it ends, breaks a limit or `seconds` have passed, kills it, and counts who is left."""
    token = f"{os.getpid()}-{time.monotonic_ns()}"
    running = start(argv, level=level, limits=limits, mounts=mounts, out=out, fds=fds,
                    env={**(env or {}), "SANDBOX_TRIAL": token})
    broken, slowest_s, deadline = None, 0.0, time.monotonic() + seconds
    with running:
        while running.wait(POLL_S) is None and time.monotonic() < deadline and broken is None:
            before = time.monotonic()
            broken = running.check()
            running.cpu_s()
            slowest_s = max(slowest_s, time.monotonic() - before)
        broken = broken or running.check()
        status = running.poll()
        running.kill()
        cpu_s, text = running.cpu_s(), running.output().decode(errors="replace")
    return Trial(status, text, broken, cpu_s, marked(token), slowest_s)
