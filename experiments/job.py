"""What a sandbox is given: a read-only folder with the script, the harness and the facts of the run; limits; a channel.

The same for training and for scoring, which differ in their facts. Leaves out the clock and the verdict. Rejected:
mounting our installed package, which holds the track's data beside the harness.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import sandbox
from experiments.outcome import Status
from experiments.sandbox import Level, Limits, Mount, Sandboxed
from experiments.track import Track

PACKAGE = Path(__file__).parent
MODULES = ("harness.py", "answer.py")
TRAIN, ANSWER = "train.py", "experiments/answer.py"
CHECKPOINT_NAME = "model.safetensors"
JOB_INSIDE, OUT_INSIDE, WEIGHTS_INSIDE = "/job", "/out", "/weights"
STDOUT_BYTES_MAX = 256 * 1024
MESSAGE_BYTES_MAX = 4096
MESSAGES_PER_LOOK_MAX = 64
# glibc hands large blocks back at once and gets every page anew, a tenth of all processor time for a batch of logits
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(128 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}


@dataclass(frozen=True, slots=True)
class Task:
    """One script on one track: what `train` and `score` have in common."""

    source: bytes
    track: Track
    device: str
    level: Level
    run_dir: Path
    data_dir: Path  # where the track's data lies: never shown


def write_folder(task: Task, role: str, facts: dict[str, Any]) -> Path:
    """Return a new folder with train.py, run.json and the two modules of ours, readable by anyone."""
    folder = task.run_dir / role
    shutil.rmtree(folder, ignore_errors=True)
    package = folder / "experiments"
    package.mkdir(parents=True)
    for name in MODULES:
        shutil.copyfile(PACKAGE / name, package / name)
    (package / "__init__.py").touch()
    (folder / "train.py").write_bytes(task.source)
    track = task.track
    common = {
        "role": role.partition("-")[0], "seq_len": track.seq_len, "vocab_size": track.vocab_size,
        "budget_s": track.budget_s, "clock": track.clock, "device": sandbox.device_inside(task.device),
        "threads": track.threads, "checkpoint_bytes_max": track.checkpoint_bytes_max, "setup_s": track.setup_s,
        "save_s": track.save_s,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(common | facts))
    for path in (folder, package, *folder.glob("*.*"), *package.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def start(
    task: Task, program: str, folder: Path, *, fds: Sequence[int], mounts: Sequence[Mount] = (), out: Path | None = None
) -> Sandboxed:
    """Return `program` of the job folder running in a sandbox under the track's limits."""
    track, threads = task.track, str(task.track.threads)
    limits = Limits(
        memory_bytes=track.memory_bytes, processes=track.processes, out_bytes=track.out_bytes,
        stdout_bytes=STDOUT_BYTES_MAX,
    )  # fmt: skip
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    return sandbox.start(
        [sandbox.interpreter(), "-s", "-B", f"{JOB_INSIDE}/{program}"],
        level=task.level,
        limits=limits,
        mounts=[Mount(folder, JOB_INSIDE), *mounts],
        out=out,
        env=environment | ALLOCATOR | {"PYTHONHASHSEED": "0"},
        fds=fds,
        device=task.device,
        hide=[task.run_dir, task.data_dir],
    )


class Channel:
    """Our end of the socket to a sandbox: whole datagrams, bounded, unbelieved."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)

    @property
    def their_fd(self) -> int:
        """The descriptor that the sandbox inherits."""
        return self.theirs.fileno()

    def started(self) -> None:
        """Close the sandbox's end on our side, so that its death reads as the end of the channel."""
        self.theirs.close()

    def messages(self, at_most: int = MESSAGES_PER_LOOK_MAX) -> list[dict[str, Any]]:
        """Return what arrived, `at_most` so many; anything that is no JSON object is dropped.

        Plain `recv`: descriptors that a script sends along are closed by the kernel.
        """
        found: list[dict[str, Any]] = []
        for _ in range(at_most):
            try:
                raw = self.ours.recv(MESSAGE_BYTES_MAX)
            except OSError:
                break
            if not raw:
                break
            try:
                message = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(message, dict):
                found.append(message)
        return found

    def wait(self, timeout_s: float) -> None:
        """Return when something arrived or the other end is gone, after `timeout_s` at the latest."""
        poll = select.poll()  # unlike select, for any number of open files
        poll.register(self.ours, select.POLLIN)
        poll.poll(timeout_s * 1000)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> bool:
        """Return whether the message went out; a script that doesn't read is the script's loss."""
        try:
            socket.send_fds(self.ours, [json.dumps(message).encode()], list(fds))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.theirs.close()


def last_words(printed: bytes) -> str:
    """Return the line of a script's output that most likely says why it ended; empty if it printed nothing."""
    lines = [line.strip() for line in printed.decode(errors="replace").splitlines() if line.strip()]
    for line in reversed(lines[-200:]):
        head = line.partition(":")[0]
        if head.replace(".", "").replace("_", "").isalnum() and head.endswith(("Error", "Exception", "Interrupt")):
            return line
    return lines[-1] if lines else ""


def take_checkpoint(out: Path, bytes_max: int, target: Path) -> tuple[Status, str] | None:
    """Copy the checkpoint that a script left in `out` to `target`; return None, or how the run failed for want of one.

    The folder is the script's: the file is opened without following links, and must be a plain file of allowed size.
    """
    try:
        fd = os.open(out / CHECKPOINT_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return "crashed", "it left no checkpoint at run.checkpoint"
    except OSError as error:
        return "refused", f"its checkpoint is no plain file ({error.strerror})"
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        return "refused", "its checkpoint is no plain file"
    with os.fdopen(fd, "rb") as file:
        if status.st_size > bytes_max:
            return "refused", f"its checkpoint has {status.st_size:,} bytes; this track allows {bytes_max:,}"
        if not _looks_like_safetensors(file.read(8), status.st_size):
            return "crashed", "its checkpoint is no safetensors file"
        file.seek(0)
        with target.open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
    target.chmod(0o644)
    return None


def _looks_like_safetensors(first: bytes, size: int) -> bool:
    """Return whether a file of `size` bytes with these first eight can be one: they hold its header's length."""
    return len(first) == 8 and 2 <= int.from_bytes(first, "little") <= size - 8
