"""Watches what a process writes to a folder, and rebuilds the folder as a power cut at any moment could have left it.

The model is harsher than any file system in use. What was not synced is kept or lost sector by sector, in any order. A
name that was made, moved or removed since its folder was synced is kept or lost by itself. What was synced stays.
"""

import mmap
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECTOR_BYTES = 512
NEVER = 2**63
HEADER = struct.Struct("<c7x4Q")


def library(folder: Path) -> Path:
    """Return disk.c as a library, compiled into `folder`; the test is skipped where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("the watched disk needs a C compiler")
    made = folder / "disk.so"
    if not made.exists():
        draft = folder / f"disk.{os.getpid()}.so"
        command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(draft), str(HERE / "disk.c")]
        subprocess.run(command, check=True)
        draft.replace(made)
    return made


class Switch:
    """Says to all processes on a watched disk at which of their changes it is full; counts the changes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(struct.pack("<3Q", 0, NEVER, NEVER))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 24)

    @property
    def changes(self) -> int:
        return int(struct.unpack_from("<Q", self._map, 0)[0])

    def start(self) -> None:
        """Count from nothing again."""
        struct.pack_into("<Q", self._map, 0, 0)

    def full(self, first: int, until: int = NEVER) -> None:
        struct.pack_into("<2Q", self._map, 8, first, until)

    def room(self) -> None:
        self.full(NEVER)


def environment(so: Path, root: Path, *, log: Path | None = None, switch: Path | None = None) -> dict[str, str]:
    """Return the variables under which a process writes to the watched disk."""
    found = {"LD_PRELOAD": str(so), "DISK_ROOT": str(root)}
    if log is not None:
        found["DISK_LOG"] = str(log)
    if switch is not None:
        found["DISK_SWITCH"] = str(switch)
    return found


@dataclass(frozen=True)
class Event:
    kind: str
    file: int
    offset: int
    name: str
    data: bytes


def events(log: Path) -> list[Event]:
    """Return what happened, in order."""
    content, at, found = log.read_bytes(), 0, []
    while at < len(content):
        kind, file, offset, name_bytes, data_bytes = HEADER.unpack_from(content, at)
        at += HEADER.size
        name = content[at : at + name_bytes].decode()
        at += name_bytes
        found.append(Event(kind.decode(), file, offset, name, content[at : at + data_bytes]))
        at += data_bytes
    return found


@dataclass(eq=False)
class File:
    """A file as the platter has it, and what waits in the cache."""

    durable: bytearray = field(default_factory=bytearray)
    waiting: list[tuple[int, bytes | None]] = field(default_factory=list)  # data at an offset, or a cut to a size

    def sync(self) -> None:
        for offset, data in self.waiting:
            _change(self.durable, offset, data)
        self.waiting.clear()

    def after_a_cut(self, dice: random.Random, kept: float) -> bytes:
        """Return the content that is found after the power came back; `kept` is the share of sectors that made it."""
        content = bytearray(self.durable)
        for offset, data in self.waiting:
            if data is None:
                if dice.random() < kept:
                    _change(content, offset, None)
                continue
            at = 0
            while at < len(data):
                size = min(SECTOR_BYTES - (offset + at) % SECTOR_BYTES, len(data) - at)
                if dice.random() < kept:
                    _change(content, offset + at, data[at : at + size])
                at += size
        return bytes(content)


def _change(content: bytearray, offset: int, data: bytes | None) -> None:
    size = offset if data is None else offset + len(data)
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:size] = data


@dataclass(frozen=True)
class Naming:
    """One change of a folder: `name` now stands for `file` (None: for nothing, "": for a folder)."""

    name: str
    file: "File | str | None"
    instead_of: str | None = None  # a rename takes this name away in the same step


class Disk:
    """The state of a watched folder while its log is played, and its possible states after a cut."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._durable: dict[str, File | str] = {}
        self._names: dict[str, File | str] = {}
        self._waiting: list[Naming] = []
        self._files: dict[int, File] = {}
        self.said = b""

    def play(self, event: Event) -> None:
        """Let one event happen."""
        file = self._files.setdefault(event.file, File())
        match event.kind:
            case "C":
                self._files[event.file] = File()
                self._name(Naming(event.name, self._files[event.file]))
            case "W":
                file.waiting.append((event.offset, event.data))
            case "T":
                file.waiting.append((event.offset, None))
            case "S":
                file.sync()
            case "F":
                self._sync_folder(event.name)
            case "M":
                self._name(Naming(event.name, ""))
            case "U":
                self._name(Naming(event.name, None))
            case "R" | "L":
                moved = self._names.get(event.name, "")
                self._name(Naming(event.data.decode(), moved, event.name if event.kind == "R" else None))
            case "O":
                self.said += event.data

    def _name(self, naming: Naming) -> None:
        self._waiting.append(naming)
        _rename(self._names, naming)

    def _sync_folder(self, folder: str) -> None:
        rest = []
        for naming in self._waiting:
            if folder in (os.path.dirname(naming.name), os.path.dirname(naming.instead_of or naming.name)):
                _rename(self._durable, naming)
            else:
                rest.append(naming)
        self._waiting = rest

    def cut(self, target: Path, dice: random.Random) -> None:
        """Write into `target` what a power cut at this moment leaves."""
        names = dict(self._durable)
        kept_names = dice.choice((0.0, 0.5, 0.9, 1.0))
        for naming in self._waiting:
            if dice.random() < kept_names:
                _rename(names, naming)
        kept = dice.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        contents: dict[int, bytes] = {}
        target.mkdir(parents=True)
        for name, file in sorted(names.items()):
            place = target / os.path.relpath(name, self.root)
            if not place.parent.is_dir():
                continue  # its folder was lost
            if isinstance(file, str):
                place.mkdir(exist_ok=True)
            elif not name.endswith("-shm"):  # SQLite's lock table lives in memory and is made anew
                if id(file) not in contents:
                    contents[id(file)] = file.after_a_cut(dice, kept)
                place.write_bytes(contents[id(file)])


def _rename(names: dict[str, File | str], naming: Naming) -> None:
    if naming.instead_of is not None:
        names.pop(naming.instead_of, None)
        inside = [name for name in names if name.startswith(f"{naming.instead_of}/")]
        for name in inside:  # a folder takes along what is in it
            names[naming.name + name.removeprefix(naming.instead_of)] = names.pop(name)
    if naming.file is None:
        names.pop(naming.name, None)
    else:
        names[naming.name] = naming.file


def cuts(log: Path, root: Path, moments: Sequence[int]) -> Iterator[Disk]:
    """Yield the disk at each of the moments (numbers of events, ascending, repetition allowed) of a log."""
    disk, wanted, at = Disk(root), list(moments), 0
    for number, event in enumerate(events(log)):
        while at < len(wanted) and wanted[at] == number:
            yield disk
            at += 1
        disk.play(event)
