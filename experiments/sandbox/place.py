"""A folder of the host that stands for the script's root where nothing can be mounted.

What a caller wants shown as /job lies at ROOT/job, and the script is told the root (`SANDBOX_ROOT`). Leaves out who may
use what. Rejected: showing the node's own folders, whose names and parents a script would learn, and which nobody but
their owner may enter.
"""

import contextlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.sandbox import tree
from experiments.sandbox.bounds import Mount
from experiments.sandbox.removal import remove_tree

PREFIX = "autoresearch-place-"
ROOT_NAME = "SANDBOX_ROOT"
WRITABLE = ("scratch", "tmp")
OUT = "out"


class Place:
    """One sandbox's folder. What is written in there takes room on the disk until `remove`."""

    def __init__(
        self, mounts: Sequence[Mount], out: Path | None, uid: int | None, own: Sequence[Path] = ()
    ) -> None:
        """`own` are paths of the host that are shown where they are, even below what a script takes for its own."""
        me = tree.process(os.getpid())
        self.root = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-{me.started if me else 0}-"))
        self.root.chmod(0o711)
        self._insides = [f"/{name}" for name in (*WRITABLE, OUT)]
        self._own = [str(path) for path in own]
        self.shown: list[Mount] = []
        for name in WRITABLE:
            (self.root / name).mkdir(mode=0o700)
            if uid is not None:
                os.chown(self.root / name, uid, uid)
        if out is not None:
            (self.root / OUT).symlink_to(out)
        for mount in mounts:
            self.shown.append(self._show(mount))

    @property
    def writable(self) -> list[Path]:
        """The folders for a script's own files."""
        return [self.root / name for name in WRITABLE]

    def _show(self, mount: Mount) -> Mount:
        if str(mount.host) == mount.inside:
            return mount
        target = self.root / mount.inside.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if mount.host.is_dir():
            shutil.copytree(mount.host, target, symlinks=True, copy_function=_link_or_copy)
        else:
            _link_or_copy(str(mount.host.resolve()), str(target))
        self._insides.append(mount.inside)
        return Mount(target, mount.inside)

    def translated(self, words: Sequence[str]) -> list[str]:
        """Returns words with each path of the script's world replaced by where it lies here."""
        return [f"{self.root}{word}" if self._is_inside(word) else word for word in words]

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Returns the environment with such paths replaced, and the root's name in it."""
        return {**dict(zip(env, self.translated(list(env.values())), strict=True)), ROOT_NAME: str(self.root)}

    def _is_inside(self, word: str) -> bool:
        return _is_below(word, self._insides) and not _is_below(word, self._own)

    def kill_left(self) -> int:
        """Kills what still runs with this folder for its root; returns how many processes that were."""
        return _kill_in([self.root])

    def remove(self) -> None:
        """Deletes the folder; nobody may use it any more."""
        remove_tree(self.root)


def _is_below(word: str, tops: Sequence[str]) -> bool:
    return any(word == top or word.startswith(f"{top}/") for top in tops)


def reap() -> int:
    """Kills what dead nodes of this user left running in such folders, deletes them; returns how many it killed."""
    dead = [folder for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _is_dead(folder)]
    killed = _kill_in(dead)
    for folder in dead:
        with contextlib.suppress(OSError):
            remove_tree(folder)
    return killed


def _kill_in(folders: Sequence[Path]) -> int:
    killed = 0
    for name in filter(str.isdigit, os.listdir("/proc") if folders else ()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            if any(f"{ROOT_NAME}={folder}".encode() in words for folder in folders):
                os.kill(int(name), signal.SIGKILL)
                killed += 1
    return killed


def _is_dead(folder: Path) -> bool:
    named = re.fullmatch(rf"{PREFIX}(\d+)-(\d+)-\w+", folder.name)
    owner = tree.process(int(named[1])) if named else None
    try:
        mine = folder.lstat().st_uid == os.geteuid()
    except OSError:
        return False
    gone = named is not None and (owner is None or not owner.alive or owner.started != int(named[2]))
    return mine and gone


def _link_or_copy(source: str, target: str) -> str:
    """A second name costs nothing; across file systems it takes a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        os.chmod(target, 0o444)
    return target
