"""Tracks: what is frozen about one research problem, and the hash that names it.

Reads and checks `track.toml`, and derives the id under which results compare. Leaves out the data itself: `recipe`
turns sources into tokens and is loaded only by `prepare`, so that a query never waits for numpy. Rejected: hashing the
folder's bytes, because a reworded title or a better baseline would then split a network's results.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ensue.errors import TrackError
from experiments.definition import DEFINITION_BYTES_MAX, Definition, Number

if TYPE_CHECKING:
    import numpy as np

SCORING_VERSION = 3  # raise it whenever the same logits would get another value or another verdict
TRACKS_FOLDER = Path(__file__).with_name("tracks")
DEFAULT_TRACK = "sotu"
LOCK_NAME = "shards.lock"  # hashes of sources that could not be written into track.toml beforehand
SOURCES_MAX = 256
FROZEN_MODULES = ("recipe.py", "tokenizer.py")  # a changed byte in these may change the tokens, hence the id

Progress = Callable[[str, float], None]  # what is being done, and how much of it is done, 0 to 1


@dataclass(frozen=True, slots=True)
class Source:
    """One file that the data is made from; `sha256` is None until it is pinned."""

    name: str
    split: Literal["train", "val", "every"]  # "every": one document in `val_every` goes to validation
    sha256: str | None
    size_bytes: int | None
    url: str | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How sources become tokens."""

    kind: Literal["text-xz", "parquet"]
    tokenizer: Literal["bpe", "bytes"]
    val_every: int
    column: str  # of parquet files
    bpe_chars: int  # characters of training text that merges are learnt from
    document_chars: int  # characters of one document that merges are learnt from
    sources: tuple[Source, ...]
    prepared: str | None  # digest of the tokens, so that another library version cannot change them unseen


@dataclass(frozen=True, slots=True)
class Track:
    """One research problem. Every field but `title`, `folder` and `baseline` is part of `id`."""

    name: str
    id: str  # sha256 hex: results compare within one id only
    data_id: str  # sha256 hex over what decides the tokens; names the cache folder
    title: str
    folder: Path
    baseline: Path
    metric: str
    direction: Literal["min", "max"]
    clock: Literal["cpu", "wall"]
    budget_s: float
    setup_s: float
    save_s: float
    seq_len: int
    vocab_size: int
    threads: int
    memory_bytes: int
    checkpoint_bytes_max: int
    out_bytes: int
    processes: int
    source_bytes_max: int
    batch_rows: int
    rows_max: int  # rows kept of the validation text; half are the main slice, half the hold-out pool
    holdout_rows: int
    probes: int
    noise_sd: float
    score_s_max: float
    recipe: Recipe

    @property
    def val_tokens_max(self) -> int:
        """Return how many tokens of validation can be used at all."""
        return self.rows_max * (self.seq_len + 1)


@dataclass(frozen=True, slots=True)
class TrackData:
    """The prepared tokens of a track. Validation is held in memory and never lies where a script can see it."""

    folder: Path
    digest: str  # sha256 hex over all of it
    train_path: Path  # little-endian uint16, shape (train_tokens,)
    train_tokens: int
    val_tokens: np.ndarray[Any, np.dtype[np.uint16]]  # (N,)
    token_bytes: np.ndarray[Any, np.dtype[np.int32]]  # (V,) bytes of text a token stands for; 0 for `bos`
    main_rows: np.ndarray[Any, np.dtype[np.uint16]]  # (n, seq_len + 1)
    pool_rows: np.ndarray[Any, np.dtype[np.uint16]]  # (m, seq_len + 1)
    bos: int  # the token before every document


_NUMBERS = (
    Number("budget", "budget_s", 0.1, 86_400, whole=False),
    Number("budget", "setup_s", 0.1, 3_600, whole=False),
    Number("budget", "save_s", 0, 600, whole=False),
    Number("model", "seq_len", 2, 65_536),
    Number("model", "vocab_size", 256, 65_536),  # token ids are stored as uint16
    Number("model", "threads", 1, 256),
    Number("limits", "memory_bytes", 1 << 26, 1 << 42),
    Number("limits", "checkpoint_bytes", 1 << 10, 1 << 40, field="checkpoint_bytes_max"),
    Number("limits", "out_bytes", 1 << 10, 1 << 41),
    Number("limits", "processes", 1, 4_096),
    Number("limits", "source_bytes", 1 << 10, 1 << 20, 131_072, field="source_bytes_max"),
    Number("scoring", "batch_rows", 1, 4_096),
    Number("scoring", "rows_max", 4, 1 << 20, 1 << 16),
    Number("scoring", "holdout_rows", 1, 1 << 16, 64),
    Number("scoring", "probes", 1, 1 << 16),
    Number("scoring", "noise_sd", 0, 1e6, whole=False),
    Number("scoring", "score_s_max", 0.1, 36_000, whole=False),
)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HEX64 = re.compile(r"[0-9a-f]{64}")


def available() -> list[str]:
    """Return the names of the tracks that come with this package, the default one first."""
    names = [path.parent.name for path in TRACKS_FOLDER.glob("*/track.toml")]
    return sorted(names, key=lambda name: (name != DEFAULT_TRACK, name))


def load(name_or_path: str | Path, *, lock: Path | None = None) -> Track:
    """Return the track of this name, or in this folder; `lock` stands in for the folder's own.

    Raises TrackError when there is none, or its `track.toml` is not one.
    """
    folder = TRACKS_FOLDER / name_or_path if _NAME.fullmatch(str(name_or_path)) else Path(name_or_path)
    if not (folder / "track.toml").is_file() and (Path(name_or_path) / "track.toml").is_file():
        folder = Path(name_or_path)
    if not (folder / "track.toml").is_file():
        raise TrackError(f"There is no track at {folder}; choose one of {', '.join(available())}, or give a folder.")
    locked = _read_lock(lock or folder / LOCK_NAME)
    return _build(folder.resolve(), Definition(folder / "track.toml"), locked)


def prepare(track: Track, cache_dir: Path, on_progress: Progress | None = None, *, pin: bool = False) -> TrackData:
    """Return the track's tokens, made once and kept in `cache_dir`, their hashes checked every time.

    `pin` first downloads sources without a hash and writes their hashes into the track's lock, which gives the track
    its final id. Raises TrackError (unpinned source), DataDamaged, DownloadFailed, DiskFull.
    """
    from experiments import data  # here, so that reading a definition needs neither numpy nor a tokenizer

    return data.prepare(track, cache_dir, on_progress or (lambda _what, _done: None), pin=pin)


def _build(folder: Path, definition: Definition, locked: Mapping[str, Any]) -> Track:
    name = definition.text("", "name")
    if not _NAME.fullmatch(name):
        raise definition.fail("name must be lower-case letters, digits and dashes, at most 32")
    title = definition.text("", "title")
    definition.text("", "description", "-", chars_max=2_000)
    texts: dict[str, Any] = {
        "name": name,
        "metric": definition.text("", "metric"),
        "direction": definition.choice("", "direction", ("min",)),
        "clock": definition.choice("budget", "clock", ("cpu", "wall")),
    }
    numbers: dict[str, Any] = {spec.field or spec.key: definition.number(spec) for spec in _NUMBERS}
    recipe = _recipe(definition, locked)
    definition.done()
    if numbers["save_s"] >= numbers["budget_s"]:
        raise definition.fail("save_s must be shorter than budget_s")
    data = _data_content(recipe, numbers["vocab_size"], numbers["rows_max"] * (numbers["seq_len"] + 1))
    rules = {"scoring_version": SCORING_VERSION, "data": data}
    return Track(
        id=_digest({**texts, **numbers, **rules}),
        data_id=_digest({name: value for name, value in data.items() if name != "prepared"}),
        title=title,
        folder=folder,
        baseline=_baseline(folder, definition),
        recipe=recipe,
        **texts,
        **numbers,
    )


def _recipe(definition: Definition, locked: Mapping[str, Any]) -> Recipe:
    entries = definition.take("data", "files")
    if not isinstance(entries, list) or not 1 <= len(entries) <= SOURCES_MAX:
        raise definition.fail(f"[data] needs 1 to {SOURCES_MAX} [[data.files]]")
    prepared = definition.text("data", "prepared", locked.get("prepared", ""))
    if prepared and not _HEX64.fullmatch(prepared):
        raise definition.fail("prepared must be 64 hex digits")
    sources = tuple(_source(entry, locked, definition) for entry in entries)
    if len({source.name for source in sources}) != len(sources):
        raise definition.fail("two [[data.files]] have the same name")
    return Recipe(
        kind=definition.choice("data", "kind", ("text-xz", "parquet")),
        tokenizer=definition.choice("data", "tokenizer", ("bpe", "bytes"), "bpe"),
        val_every=int(definition.number(Number("data", "val_every", 2, 1_000, 20))),
        column=definition.text("data", "column", "text"),
        bpe_chars=int(definition.number(Number("data", "bpe_chars", 1, 1e10, 1_000_000_000))),
        document_chars=int(definition.number(Number("data", "document_chars", 1, 1e9, 1_000_000_000))),
        sources=sources,
        prepared=prepared or None,
    )


def _source(entry: object, locked: Mapping[str, Any], definition: Definition) -> Source:
    if not isinstance(entry, dict):
        raise definition.fail("[[data.files]] must be a table")
    unknown = set(entry) - {"name", "split", "sha256", "bytes", "url"}
    if unknown:
        raise definition.fail(f"unknown key {min(unknown)} in [[data.files]]")
    name, url = entry.get("name"), entry.get("url")
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise definition.fail("each of [[data.files]] needs a name without folders")
    split = entry.get("split", "every")
    if split not in ("train", "val", "every"):
        raise definition.fail(f"split of {name} must be train, val or every")
    pinned = locked.get("files", {}).get(name, {})
    sha256, size_bytes = entry.get("sha256", pinned.get("sha256")), entry.get("bytes", pinned.get("bytes"))
    if sha256 is not None and not (isinstance(sha256, str) and _HEX64.fullmatch(sha256)):
        raise definition.fail(f"sha256 of {name} must be 64 hex digits")
    if size_bytes is not None and (type(size_bytes) is not int or size_bytes < 0):
        raise definition.fail(f"bytes of {name} must be a whole number")
    if url is not None and not (isinstance(url, str) and url.startswith("https://")):
        raise definition.fail(f"url of {name} must begin with https://")
    return Source(name=name, split=split, sha256=sha256, size_bytes=size_bytes, url=url)


def _read_lock(path: Path) -> dict[str, Any]:
    """Return the lock's content, `{"files": {name: {sha256, bytes}}, "prepared": sha256}`; empty without a lock."""
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(DEFINITION_BYTES_MAX))
        files = content["files"]
        if all(_HEX64.fullmatch(entry["sha256"]) and type(entry["bytes"]) is int for entry in files.values()):
            return {"files": files, "prepared": str(content.get("prepared", ""))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrackError(f"{path} is damaged; restore it, or delete it and run autoresearch prepare --pin.") from error
    raise TrackError(f"{path} is damaged; restore it, or delete it and run autoresearch prepare --pin.")


def _data_content(recipe: Recipe, vocab_size: int, val_tokens_max: int) -> dict[str, Any]:
    """Everything that decides the tokens. Where a source is fetched from does not: its hash does."""
    content: dict[str, Any] = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    content["sources"] = [[source.name, source.split, source.sha256] for source in recipe.sources]
    content |= {"vocab_size": vocab_size, "val_tokens_max": val_tokens_max}
    here = Path(__file__).parent
    content["modules"] = {name: hashlib.sha256((here / name).read_bytes()).hexdigest() for name in FROZEN_MODULES}
    return content


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _baseline(folder: Path, definition: Definition) -> Path:
    """Return the track's first script: its own, or for the default track the train.py at the root of the repository."""
    own = folder / "baseline.py"
    if own.is_file():
        return own
    if folder.parent == TRACKS_FOLDER.resolve() and folder.name == DEFAULT_TRACK:
        return TRACKS_FOLDER.resolve().parent.parent / "train.py"
    raise definition.fail("baseline.py is missing beside it")
