"""The git history of train.py: one branch a device, one commit an experiment, parents as lineage.

The only module that speaks git. The repository is bare and written with plumbing commands: no index to be left
locked, no hooks, none of the owner's git configuration. A checked-out copy was rejected: devices would fight over it.
Nothing here is truth: the store holds every source, and a lost workspace costs only its history.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ensue.errors import DiskFull, ExperimentError

FILE = "train.py"
MESSAGE_CHARS_MAX = 2000
LOCK_WAIT_S = 30.0  # for another process of this node that works in the same repository
STALE_LOCK_WAIT_S = 1.0  # a git process that outlived its killed parent is given this long to finish
LOOSE_OBJECTS_MAX = 1000  # about; three to an experiment, 30 KiB loose, then packed to less than 1 KiB

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsync=committed,reference",
    "core.logAllRefUpdates=false",
    f"gc.auto={LOOSE_OBJECTS_MAX}",
    "gc.autoDetach=false",
    "gc.writeCommitGraph=false",
    "gc.pruneExpire=never",
)


class Workspace:
    """A bare git repository at `path` in which `device` has the branch agent/<device>."""

    def __init__(self, path: Path | str, device: str) -> None:
        self.path = Path(path).absolute()
        self.branch = f"agent/{_ref_name(device)}"
        try:
            import git  # here and not above: importing it without a git program fails
        except ImportError:
            raise ExperimentError("The git program was not found: install git and start again.") from None
        self._failed: type[Exception] = git.GitCommandError
        self._git: Any = git.Git(str(self.path.parent))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._open()
        except OSError as error:
            raise ExperimentError(f"The workspace {self.path} cannot be used ({error.strerror}).") from None

    def commit(
        self, source: str | bytes, message: str, parent_commit: str | None, *, experiment: str | None = None
    ) -> str:
        """Return the id of a new commit of `source`, kept under refs/experiments/<experiment> (default: its id).

        Raises ExperimentError if the parent is not in this workspace or git cannot write.
        """
        data = source.encode() if isinstance(source, str) else source
        if parent_commit is not None and not self.has(parent_commit):
            raise ExperimentError(f"The workspace has no commit {parent_commit[:12]!a}: commit its source first.")
        with self._locked():
            blob = self._run("hash-object", "-w", "--stdin", stdin=data)
            tree = self._run("mktree", stdin=f"100644 blob {blob}\t{FILE}\n".encode())
            parents = ("-p", parent_commit) if parent_commit else ()
            sha = self._run("commit-tree", tree, *parents, "-F", "-", stdin=_clean(message).encode())
            self._run("update-ref", f"refs/experiments/{_ref_name(experiment or sha)}", sha)
            self._run("gc", "--auto", "--quiet")
        return sha

    def advance(self, sha: str) -> None:
        """Move this device's branch to a commit; done for kept results only."""
        if not self.has(sha):
            raise ExperimentError(f"The workspace has no commit {sha[:12]!a}: commit its source first.")
        with self._locked():
            self._run("update-ref", f"refs/heads/{self.branch}", sha)

    def head(self) -> str | None:
        """Return the commit that this device's branch stands at, None before the first kept result."""
        return self._resolve(f"refs/heads/{self.branch}")

    def find(self, experiment: str) -> str | None:
        """Return the commit kept under refs/experiments/<experiment>, None if there is none."""
        return self._resolve(f"refs/experiments/{_ref_name(experiment)}")

    def has(self, sha: str) -> bool:
        """Return whether a commit is here."""
        return bool(_SHA.match(sha)) and self._resolve(sha) is not None

    def source(self, sha: str) -> bytes:
        """Return the script of a commit; raises ExperimentError if it is not here."""
        if not self.has(sha):
            raise ExperimentError(f"The workspace has no commit {sha[:12]!a}: look it up with `autoresearch log`.")
        data: bytes = self._git_call("cat-file", "blob", f"{sha}:{FILE}", raw=True)
        return data

    def parents(self, sha: str) -> tuple[str, ...]:
        """Return the ids of a commit's parents."""
        return tuple(self._run("rev-list", "--parents", "-n", "1", sha).split()[1:])

    def _resolve(self, name: str) -> str | None:
        """Return the commit that a full ref name or commit id stands for, None if there is none."""
        try:
            return self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}") or None
        except ExperimentError:
            return None

    def _open(self) -> None:
        """Create what is missing of the repository; doing it again to a whole or half-made one harms nothing."""
        if not all((self.path / part).exists() for part in ("HEAD", "config", "objects", "refs")):
            self._drop_stale_locks()
            self._run("init", "--quiet", "--bare", "--template=", "--initial-branch", self.branch, str(self.path))
        self._drop_stale_locks()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the one writer's lock; the system lets go of it when its holder dies."""
        handle = os.open(self.path / "workspace.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ExperimentError(
                            f"Another process has held the workspace {self.path} for {LOCK_WAIT_S:.0f} s: end it."
                        ) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(handle)

    def _drop_stale_locks(self) -> None:
        """Remove lock files of git processes that were killed; we hold the writer's lock, so nobody else's are here."""
        found = self._git_locks()
        deadline = time.monotonic() + STALE_LOCK_WAIT_S
        while found and time.monotonic() < deadline:
            time.sleep(0.02)
            found = self._git_locks()
        for lock in found:
            lock.unlink(missing_ok=True)

    def _git_locks(self) -> list[Path]:
        top = [self.path / f"{part}.lock" for part in ("index", "HEAD", "config", "packed-refs", "shallow", "gc.pid")]
        return [lock for lock in top if lock.exists()] + list((self.path / "refs").rglob("*.lock"))

    def _run(self, *arguments: str, stdin: bytes | None = None) -> str:
        return str(self._git_call(*arguments, stdin=stdin)).strip()

    def _git_call(self, *arguments: str, stdin: bytes | None = None, raw: bool = False) -> Any:
        """Run one git command with nothing of the caller's git environment; a failure becomes an ExperimentError."""
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        fixed = self._environment()
        strays = [name for name in os.environ if name.startswith("GIT_") and name not in fixed]
        unset = ["env", *(word for name in strays for word in ("-u", name))] if strays else []
        command = [*unset, self._git.GIT_PYTHON_GIT_EXECUTABLE or "git", *settings, *arguments]
        more: dict[str, Any] = {"strip_newline_in_stdout": False, "stdout_as_string": not raw}
        try:
            with _spooled(stdin or b"") as stream:
                return self._git.execute(command, env=fixed, istream=stream, **more)
        except self._failed as error:
            detail = " ".join(str(getattr(error, "stderr", "")).split())[-300:]
            if "No space left on device" in detail or "Disk quota exceeded" in detail or self._is_full():
                raise DiskFull(f"the disk of {self.path} is full: make room there") from None
            raise ExperimentError(f"git {arguments[0]} failed in {self.path}: {detail or error}") from None

    def _is_full(self) -> bool:
        """Return whether the disk refuses a page more; git does not always say why it failed."""
        try:
            with tempfile.TemporaryFile(dir=self.path, buffering=0) as file:
                file.write(bytes(4096))
        except OSError as error:
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        return False

    def _environment(self) -> dict[str, str]:
        """Return what git is told in its environment; every other GIT_ variable of the caller's is unset."""
        git_dir = str(self.path)
        fixed = {
            "GIT_DIR": git_dir,
            "GIT_COMMON_DIR": git_dir,
            "GIT_OBJECT_DIRECTORY": f"{git_dir}/objects",
            "GIT_INDEX_FILE": f"{git_dir}/index",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "LC_ALL": "C",
        }
        for who in ("AUTHOR", "COMMITTER"):
            fixed |= {f"GIT_{who}_NAME": "autoresearch", f"GIT_{who}_EMAIL": "agent@localhost", f"GIT_{who}_DATE": ""}
        return fixed


@contextmanager
def _spooled(data: bytes) -> Iterator[IO[bytes]]:
    """Yield `data` as a file at its start: a pipe would block on a script longer than its buffer."""
    with tempfile.TemporaryFile() as stream:
        stream.write(data)
        stream.seek(0)
        yield stream


def _ref_name(text: str) -> str:
    """Return `text` as one component of a ref name: what git forbids there becomes a dash."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:100]
    if not name:
        raise ExperimentError(f"{text[:40]!a} cannot name a branch: use letters, digits and dashes.")
    return name


def _clean(message: str) -> str:
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in message)[:MESSAGE_CHARS_MAX]
    return text.strip() or "experiment"
