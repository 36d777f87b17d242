"""The recipe: sources to documents, documents to tokens, tokens to rows.

Deterministic: the same sources give the same tokens on every machine. Leaves out files, caches and downloads (`data`).
Rejected: shipping tokens instead of text, because nobody could then check what they stand for.
Every byte of this file is part of every track's id.
"""

from __future__ import annotations

import itertools
import lzma
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ensue.errors import DataDamaged, TrackError
from experiments.tokenizer import ByteTokenizer, PairTokenizer, Tokenizer, Tokens
from experiments.track import Recipe, Source

SEPARATOR = "\f"  # between the documents of a text
TEXT_BYTES_MAX = 256 << 20
XZ_MEMORY_BYTES_MAX = 512 << 20
DOCUMENTS_AT_ONCE = 256
Split = Literal["train", "val"]
Done = Callable[[float], None]  # 0 to 1


def documents(recipe: Recipe, paths: Mapping[str, Path], split: Split, done: Done) -> Iterator[str]:
    """Yield the documents of one split in their order; `paths` says where each source lies.

    Raises DataDamaged for a source that cannot be read.
    """
    wanted = [source for source in recipe.sources if source.split in (split, "every")]
    position = itertools.count()
    for index, source in enumerate(wanted):
        done(index / len(wanted))
        share = _Share(done, index, len(wanted))
        texts = (
            _read_xz(paths[source.name]) if recipe.kind == "text-xz" else _read_parquet(recipe, source, paths, share)
        )
        if source.split != "every":
            yield from texts
            continue
        for text in texts:
            is_val = next(position) % recipe.val_every == recipe.val_every - 1
            if is_val == (split == "val"):
                yield text
    done(1.0)


def learn(recipe: Recipe, vocab_size: int, paths: Mapping[str, Path], done: Done) -> Tokenizer:
    """Return the track's tokenizer, learnt from a bounded beginning of the training documents alone."""
    if recipe.tokenizer == "bytes":
        return ByteTokenizer(vocab_size)
    return PairTokenizer(_bounded(documents(recipe, paths, "train", done), recipe), vocab_size)


def tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[Tokens]:
    """Yield the ids of each document in order, each with `bos` before it."""
    bos = np.array([tokenizer.bos], dtype=np.uint16)
    source = iter(texts)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        while batch := list(itertools.islice(source, DOCUMENTS_AT_ONCE)):
            for ids in pool.map(tokenizer.encode, batch):
                yield np.concatenate([bos, ids])


def first(arrays: Iterable[Tokens], tokens_max: int) -> Iterator[Tokens]:
    """Yield arrays until `tokens_max` tokens are out; the last is cut."""
    left = tokens_max
    for array in arrays:
        yield array[:left]
        left -= len(array)
        if left <= 0:
            return


def rows(val_tokens: Tokens, seq_len: int, rows_max: int) -> tuple[Tokens, Tokens]:
    """Return the main slice and the hold-out pool, each of shape (n, seq_len + 1).

    Rows do not overlap; even ones are the main slice, odd ones the pool, so both are drawn from all documents.
    """
    count = min(len(val_tokens) // (seq_len + 1), rows_max)
    if count < 4:
        raise TrackError(f"Validation has {len(val_tokens)} tokens, too few for rows of {seq_len + 1}; lower seq_len.")
    table = val_tokens[: count * (seq_len + 1)].reshape(count, seq_len + 1)
    return np.ascontiguousarray(table[0::2]), np.ascontiguousarray(table[1::2])


class _Share:
    """Progress within one source of several."""

    def __init__(self, done: Done, index: int, count: int) -> None:
        self._done, self._index, self._count = done, index, count

    def __call__(self, fraction: float) -> None:
        self._done((self._index + fraction) / self._count)


def _bounded(texts: Iterator[str], recipe: Recipe) -> Iterator[str]:
    chars = 0
    for text in texts:
        if chars >= recipe.bpe_chars:
            return
        piece = text[: min(recipe.document_chars, recipe.bpe_chars - chars)]
        chars += len(piece)
        yield piece


def _read_xz(path: Path) -> Iterator[str]:
    try:
        decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES_MAX)
        raw = decoder.decompress(path.read_bytes(), max_length=TEXT_BYTES_MAX)
        if not decoder.eof:
            raise DataDamaged(f"{path} is cut short or unpacks to more than {TEXT_BYTES_MAX} bytes; restore the file.")
        text = raw.decode("utf-8")
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataDamaged(f"{path} cannot be unpacked ({error}); restore the file.") from error
    return iter(text.split(SEPARATOR))


def _read_parquet(recipe: Recipe, source: Source, paths: Mapping[str, Path], done: Done) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    path = paths[source.name]
    try:
        with pyarrow.parquet.ParquetFile(path) as shard:
            for group in range(shard.num_row_groups):
                done(group / shard.num_row_groups)
                column: Any = shard.read_row_group(group, columns=[recipe.column]).column(recipe.column)
                for text in column.to_pylist():
                    if not isinstance(text, str):
                        raise DataDamaged(f"{path} holds something else than text in column {recipe.column}.")
                    yield text
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise DataDamaged(
            f"{path} is not a parquet file with a column {recipe.column} ({error}); fetch it anew."
        ) from error
