"""The prepared tokens of a track on disk: made once, kept under a hash, checked at every use.

Layout of `cache_dir`: one folder a data id (`train.u16`, `val.u16`, `token_bytes.i32`, `manifest.json`), and `sources/`
for downloads. Leaves out how text becomes tokens (`recipe`) and how bytes travel (`fetch`). Rejected: healing a
damaged cache unseen, because bytes that change by themselves are something the owner of the disk should hear of.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ensue.errors import AlreadyRunning, DataDamaged, DiskFull, TrackError
from experiments import recipe
from experiments.fetch import fetch
from experiments.tokenizer import Tokens
from experiments.track import LOCK_NAME, Progress, Source, Track, TrackData, load

FORMAT_VERSION = 1
MANIFEST_BYTES_MAX = 64 * 1024
LOCK_WAIT_S_MAX = 3600.0
LOCK_RETRY_S = 0.1
FILES = ("train.u16", "val.u16", "token_bytes.i32")


def prepare(track: Track, cache_dir: Path, on_progress: Progress, *, pin: bool) -> TrackData:
    """Return the track's tokens; see `track.prepare`."""
    with _disk_errors(cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True)
        loose = [source for source in track.recipe.sources if source.sha256 is None]
        if pin and (loose or track.recipe.prepared is None):
            return _pin(track, loose, cache_dir, on_progress)
        if loose:
            raise TrackError(
                f"Track {track.name} names {len(loose)} files whose hashes are not known yet; "
                f"run autoresearch prepare --track {track.name} --pin to fetch them and write down their hashes."
            )
        return _ready(track, cache_dir, on_progress)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ready(track: Track, cache_dir: Path, on_progress: Progress) -> TrackData:
    folder = cache_dir / track.data_id
    with _locked(cache_dir / f"{track.data_id}.lock", on_progress):
        if not (folder / "manifest.json").exists():
            _build(track, cache_dir, folder, on_progress)
        return _load(track, folder)


def _pin(track: Track, loose: list[Source], cache_dir: Path, on_progress: Progress) -> TrackData:
    """Fetch and hash what has no hash, make the tokens of it, and only then write the lock."""
    lock = track.folder / LOCK_NAME
    if not os.access(track.folder, os.W_OK):
        raise TrackError(f"{lock} cannot be written; copy the track's folder to where you may write.")
    paths = {source.name: _source_path(track, source, cache_dir, on_progress) for source in loose}
    files = {
        source.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        if (path := paths.get(source.name))
        else {"sha256": source.sha256, "bytes": source.size_bytes}
        for source in track.recipe.sources
    }
    draft = cache_dir / f"{track.data_id}.pins"
    _write_whole(draft, {"files": files})
    try:
        data = _ready(load(track.folder, lock=draft), cache_dir, on_progress)
    except DataDamaged:
        for path in paths.values():
            path.unlink()  # or the next try would find the same bytes
        raise
    finally:
        draft.unlink()
    _write_whole(lock, {"files": files, "prepared": data.digest})
    return data


def _build(track: Track, cache_dir: Path, folder: Path, on_progress: Progress) -> None:
    """Make the folder whole or not at all."""
    paths = {source.name: _source_path(track, source, cache_dir, on_progress) for source in track.recipe.sources}
    building = folder.with_name(f"{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)  # what a killed process left; the lock is ours
    shutil.rmtree(folder, ignore_errors=True)  # a folder without a manifest
    building.mkdir()
    try:
        manifest = _fill(track, building, paths, on_progress)
        (building / "manifest.json").write_text(json.dumps(manifest, sort_keys=True), encoding="ascii")
        _sync(building / "manifest.json")
        _sync(building)
        building.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fill(track: Track, building: Path, paths: dict[str, Path], on_progress: Progress) -> dict[str, Any]:
    """Write the files of a data folder; return its manifest."""

    def telling(what: str) -> recipe.Done:
        return lambda done: on_progress(what, done)

    def texts(split: recipe.Split) -> Iterator[str]:
        return recipe.documents(track.recipe, paths, split, telling(f"encoding {split}"))

    tokenizer = recipe.learn(track.recipe, track.vocab_size, paths, telling("learning the tokenizer"))
    val = recipe.first(recipe.tokens(tokenizer, texts("val")), track.val_tokens_max)
    files = {
        "train.u16": _write(building / "train.u16", recipe.tokens(tokenizer, texts("train"))),
        "val.u16": _write(building / "val.u16", val),
        "token_bytes.i32": _write(building / "token_bytes.i32", iter([tokenizer.token_bytes])),
    }
    return {"version": FORMAT_VERSION, "bos": tokenizer.bos, "files": files}


def _write(path: Path, arrays: Iterator[Any]) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for array in arrays:
            raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
            digest.update(raw)
            size += len(raw)
            file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": digest.hexdigest(), "bytes": size}


def _load(track: Track, folder: Path) -> TrackData:
    """Return what the folder holds. Raises DataDamaged unless every byte is as it was written."""
    fix = f"delete the folder {folder} and run autoresearch prepare --track {track.name}"
    try:
        with (folder / "manifest.json").open("rb") as file:
            manifest = json.loads(file.read(MANIFEST_BYTES_MAX))
        listed = {name: (manifest["files"][name]["sha256"], manifest["files"][name]["bytes"]) for name in FILES}
        bos = int(manifest["bos"])
        right = manifest["version"] == FORMAT_VERSION and all(
            (folder / name).stat().st_size == size and sha256_of(folder / name) == sha256
            for name, (sha256, size) in listed.items()
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise DataDamaged(f"The prepared data of track {track.name} is incomplete; {fix}.") from error
    if not right:
        raise DataDamaged(f"The prepared data of track {track.name} fails its hash; {fix}.")
    digest = hashlib.sha256(json.dumps([bos, listed], sort_keys=True).encode("ascii")).hexdigest()
    if track.recipe.prepared not in (None, digest):
        raise DataDamaged(
            f"The tokens of track {track.name} came out otherwise than its definition says, probably from another "
            f"version of rustbpe or tiktoken; install the versions of this release, then {fix}."
        )
    val_tokens: Tokens = np.fromfile(folder / "val.u16", dtype="<u2").astype(np.uint16)
    main_rows, pool_rows = recipe.rows(val_tokens, track.seq_len, track.rows_max)
    return TrackData(
        folder=folder,
        digest=digest,
        train_path=folder / "train.u16",
        train_tokens=listed["train.u16"][1] // 2,
        val_tokens=val_tokens,
        token_bytes=np.fromfile(folder / "token_bytes.i32", dtype="<i4").astype(np.int32),
        main_rows=main_rows,
        pool_rows=pool_rows,
        bos=bos,
    )


def _source_path(track: Track, source: Source, cache_dir: Path, on_progress: Progress) -> Path:
    """Return where a source lies, with the hash it must have."""
    beside = track.folder / source.name
    if source.url is not None and not beside.exists():
        return _download(source, cache_dir, on_progress)
    try:
        if sha256_of(beside) == source.sha256:
            return beside
    except FileNotFoundError as error:
        raise DataDamaged(f"{beside} of track {track.name} is missing; restore the file.") from error
    raise DataDamaged(f"{beside} does not have the hash that track {track.name} names; restore the file.")


def _download(source: Source, cache_dir: Path, on_progress: Progress) -> Path:
    """Return where the source of a url lies in the cache, fetched if it is not there."""
    assert source.url is not None
    folder = cache_dir / "sources"
    folder.mkdir(exist_ok=True)
    path = folder / f"{hashlib.sha256(source.url.encode()).hexdigest()[:16]}-{source.name}"

    def tell(here: int, total: int | None) -> None:
        on_progress(f"fetching {source.name}", here / total if total else 0.0)

    with _locked(folder / ".lock", on_progress):
        fetch(source.url, path, sha256=source.sha256, size_bytes=source.size_bytes, on_progress=tell)
    return path


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="ascii")
    _sync(fresh)
    fresh.replace(path)


@contextlib.contextmanager
def _locked(path: Path, on_progress: Progress) -> Iterator[None]:
    """Hold a lock among processes, which the system frees when its holder dies; AlreadyRunning after a long wait."""
    with path.open("wb") as file:
        start = time.monotonic()
        while not _try_lock(file):
            waited_s = time.monotonic() - start
            if waited_s > LOCK_WAIT_S_MAX:
                raise AlreadyRunning(f"Another process has held {path} for an hour; end it, or wait and start again.")
            on_progress("waiting for another process to finish this", min(waited_s / LOCK_WAIT_S_MAX, 1.0))
            time.sleep(LOCK_RETRY_S)
        yield


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"The disk of {folder} is full; free some room and start again.") from error
        raise DataDamaged(
            f"The data folder {folder} cannot be used ({error}); check its rights and its disk."
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
