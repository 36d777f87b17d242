"""Tokenizers of the tracks: byte-pair merges learnt from training text, or plain bytes.

Learns with rustbpe (streaming, all cores) and encodes with tiktoken (identical ids, faster). Leaves out storing and
splitting. Rejected: shipping ready merges, because a track's text is then no longer enough to reproduce its tokens.
Every byte of this file is part of every track's id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from ensue.errors import TrackError

Tokens = np.ndarray[Any, np.dtype[np.uint16]]

# Pieces that no merge crosses: contractions, words with the one sign before them, numbers of at most two digits,
# punctuation with its line ends, white space.
PIECES = (
    r"'(?i:s|t|d|m|ll|ve|re)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]"
    r"|\s+(?!\S)"
    r"|\s+"
)
BYTE_VALUES = 256


class Tokenizer(Protocol):
    """Text to token ids. `bos` stands before every document and for no bytes of text."""

    bos: int
    token_bytes: np.ndarray[Any, np.dtype[np.int32]]  # (V,)

    def encode(self, text: str) -> Tokens:
        """Return the ids of `text`, shape (n,)."""
        ...


class ByteTokenizer:
    """One token a byte of UTF-8; byte 0, which no text holds, is `bos`."""

    bos = 0

    def __init__(self, vocab_size: int) -> None:
        if vocab_size != BYTE_VALUES:
            raise TrackError(f"The bytes tokenizer has {BYTE_VALUES} tokens; set vocab_size to {BYTE_VALUES}.")
        self.token_bytes = np.ones(vocab_size, dtype=np.int32)
        self.token_bytes[self.bos] = 0

    def encode(self, text: str) -> Tokens:
        """Return the bytes of `text`, shape (n,). A zero byte in it is a TrackError."""
        encoded = np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.uint16)
        if (encoded == self.bos).any():
            raise TrackError("The text holds zero bytes, which the bytes tokenizer keeps for itself; use bpe.")
        return encoded


class PairTokenizer:
    """Byte-pair encoding: `vocab_size - 1` merges and bytes, then `bos`."""

    def __init__(self, texts: Iterable[str], vocab_size: int) -> None:
        import rustbpe
        import tiktoken

        if vocab_size <= BYTE_VALUES:
            raise TrackError(f"Byte-pair encoding needs more than {BYTE_VALUES} tokens; raise vocab_size.")
        learner = rustbpe.Tokenizer()
        learner.train_from_iterator(iter(texts), vocab_size - 1, pattern=PIECES)
        ranks = {bytes(token): rank for token, rank in learner.get_mergeable_ranks()}
        if len(ranks) != vocab_size - 1:
            raise TrackError(f"The text gives only {len(ranks)} byte pairs; lower vocab_size to {len(ranks) + 1}.")
        self.bos = vocab_size - 1
        self.token_bytes = np.zeros(vocab_size, dtype=np.int32)
        for token, rank in ranks.items():
            self.token_bytes[rank] = len(token)
        self._encoding = tiktoken.Encoding("track", pat_str=PIECES, mergeable_ranks=ranks, special_tokens={})

    def encode(self, text: str) -> Tokens:
        """Return the ids of `text`, shape (n,); it releases the interpreter's lock while it works."""
        return np.array(self._encoding.encode_ordinary(text), dtype=np.uint16)
