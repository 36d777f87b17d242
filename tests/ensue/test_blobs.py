"""Packing: small, exact, bounded, and checked on the way back."""

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from bodies import NETWORK, sha
from hypothesis import given
from hypothesis import strategies as st

from ensue.blobs import BLOB_BYTES_MAX, CHAIN_DEPTH_MAX, Blob, pack, unpack
from ensue.errors import StoreDamaged, StoreError
from ensue.store import Store


@given(st.binary(max_size=3000), st.none() | st.binary(max_size=3000))
def test_unpack_gives_back_what_was_packed(data: bytes, base: bytes | None) -> None:
    assert unpack(pack(data, base), base) == data


@given(st.binary(max_size=300), st.none() | st.binary(max_size=50))
def test_any_other_bytes_unpack_or_are_refused(packed: bytes, base: bytes | None) -> None:
    for frame in (packed, zstandard.FRAME_HEADER + packed):
        with suppress(StoreDamaged):
            assert len(unpack(frame, base)) <= BLOB_BYTES_MAX


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(BLOB_BYTES_MAX * 50))
    assert len(bomb) < 100_000
    with pytest.raises(StoreDamaged, match="size"):
        unpack(bomb, None)
    undeclared = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(BLOB_BYTES_MAX * 2))
    with pytest.raises(StoreDamaged):
        unpack(undeclared, None)


def test_a_blob_has_a_bound() -> None:
    assert Blob(bytes(BLOB_BYTES_MAX)).sha256
    with pytest.raises(StoreError, match="shorten"):
        Blob(bytes(BLOB_BYTES_MAX + 1))


def script(dice: random.Random) -> list[bytes]:
    return [
        b"    line_%d = %d * width + offset_%d" % (n, dice.randrange(10**6), dice.randrange(99)) for n in range(600)
    ]


def test_a_chain_of_edits_is_small_and_every_blob_of_it_reads_back(tmp_path: Path) -> None:
    dice = random.Random(1)
    lines = script(dice)
    blobs: list[Blob] = []
    for number in range(200):
        lines[dice.randrange(600)] = b"    EDITED_%d = %d" % (number, dice.randrange(10**6))
        blobs.append(Blob(b"\n".join(lines), blobs[-1].sha256 if blobs else None))
    with Store(tmp_path / "replica", NETWORK) as store:
        store.ingest([], blobs)
        rows = store._database.rows("SELECT depth, length(data) FROM blobs")
        assert max(depth for depth, _ in rows) == CHAIN_DEPTH_MAX
        assert sum(size for _, size in rows) / len(rows) < 250
        assert [store.blob(blob.sha256) for blob in blobs] == [blob.data for blob in blobs]


def test_blobs_that_do_not_resemble_their_parent_stand_alone(tmp_path: Path) -> None:
    first = Blob(os.urandom(20_000))
    second = Blob(os.urandom(20_000), first.sha256)
    orphan = Blob(b"text", sha("nowhere"))
    empty = Blob(b"", first.sha256)
    child = Blob(b"child of nothing", empty.sha256)
    with Store(tmp_path / "replica", NETWORK) as store:
        store.ingest([], [first, second, orphan, empty, child, first])
        assert [depth for (depth,) in store._database.rows("SELECT depth FROM blobs LIMIT 3")] == [0, 0, 0]
        for blob in (first, second, orphan, empty, child):
            assert store.blob(blob.sha256) == blob.data


def edits(count: int, seed: int = 1) -> list[Blob]:
    dice = random.Random(seed)
    lines = script(dice)
    blobs: list[Blob] = []
    for number in range(count):
        lines[dice.randrange(600)] = b"    EDITED_%d = %d" % (number, dice.randrange(10**6))
        blobs.append(Blob(b"\n".join(lines), blobs[-1].sha256 if blobs else None))
    return blobs


@pytest.mark.parametrize("order", ["backwards", "shuffled"])
def test_a_blob_is_packed_anew_when_what_it_resembles_comes(tmp_path: Path, order: str) -> None:
    blobs = edits(120)
    arriving = blobs[::-1] if order == "backwards" else random.Random(2).sample(blobs, len(blobs))
    with Store(tmp_path / "replica", NETWORK) as store:
        for blob in arriving:
            store.ingest([], [blob])
        rows = store._database.rows("SELECT depth, base IS NULL, length(data) FROM blobs")
        assert max(depth for depth, _, _ in rows) <= CHAIN_DEPTH_MAX
        assert sum(alone for _, alone, _ in rows) < len(rows) / 4
        assert [store.blob(blob.sha256) for blob in blobs] == [blob.data for blob in blobs]
        for number, base, depth in store._database.rows("SELECT no, base, depth FROM blobs"):
            above = store._database.row("SELECT depth FROM blobs WHERE no = ?", (base,))
            assert depth == (0 if above is None else above[0] + 1), number


def test_blobs_that_name_each_other_in_a_circle_can_be_read(tmp_path: Path) -> None:
    texts = [blob.data for blob in edits(3)]
    names = [Blob(text).sha256 for text in texts]
    circle = [Blob(text, names[number - 1]) for number, text in enumerate(texts)]
    with Store(tmp_path / "replica", NETWORK) as store:
        store.ingest([], circle)
        assert [store.blob(name) for name in names] == texts
        assert sorted(depth for (depth,) in store._database.rows("SELECT depth FROM blobs")) == [0, 1, 2]
