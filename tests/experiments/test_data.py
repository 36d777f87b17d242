"""Prepared tokens: the same everywhere, made once, and never used once a byte of them is wrong."""

import fcntl
import hashlib
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from faulty_server import Fault, Server, serving

from ensue.errors import AlreadyRunning, DataDamaged, DownloadFailed, TrackError
from experiments import data as data_module
from experiments import recipe, track
from experiments.tokenizer import ByteTokenizer, PairTokenizer

TINY = Path(__file__).resolve().parents[1] / "tracks" / "tiny"
TINY_DIGEST = "1603c3d04cf4f3b115ff4de64e4eec93116de3470a75c4927c59043f26be2d25"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "copy"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def rewrite(folder: Path, *changes: tuple[str, str]) -> track.Track:
    text = (folder / "track.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "track.toml").write_text(text)
    return track.load(folder)


def with_text(folder: Path, raw: bytes, *changes: tuple[str, str]) -> track.Track:
    """Return the tiny track with other bytes as its packed text."""
    old = hashlib.sha256((folder / "text.txt.xz").read_bytes()).hexdigest()
    (folder / "text.txt.xz").write_bytes(raw)
    return rewrite(folder, (old, hashlib.sha256(raw).hexdigest()), ("bytes = 3060", f"bytes = {len(raw)}"), *changes)


def tiny_documents() -> list[str]:
    return lzma.decompress((TINY / "text.txt.xz").read_bytes()).decode().split("\f")


def test_the_tokens_of_the_tiny_track_never_change(cache: Path):
    assert track.prepare(track.load(TINY), cache).digest == TINY_DIGEST


def test_every_fourth_document_is_validation_and_all_of_the_text_is_there(cache: Path):
    data = track.prepare(track.load(TINY), cache)
    texts = tiny_documents()

    def unite(chosen: list[str]) -> bytes:
        return b"".join(b"\0" + text.encode() for text in chosen)

    train = np.fromfile(data.train_path, dtype="<u2")
    assert bytes(train.astype(np.uint8)) == unite([text for i, text in enumerate(texts) if i % 4 != 3])
    assert bytes(data.val_tokens.astype(np.uint8)) == unite(texts[3::4])
    assert data.train_tokens == len(train)


def test_rows_do_not_overlap_and_alternate_between_main_and_pool(cache: Path):
    found = track.load(TINY)
    data = track.prepare(found, cache)
    width = found.seq_len + 1
    assert data.main_rows.shape[1] == data.pool_rows.shape[1] == width
    assert np.array_equal(data.main_rows[1], data.val_tokens[2 * width : 3 * width])
    assert np.array_equal(data.pool_rows[1], data.val_tokens[3 * width : 4 * width])
    assert len(data.main_rows) + len(data.pool_rows) == len(data.val_tokens) // width


def test_a_bounded_number_of_rows_keeps_the_first(folder: Path, cache: Path):
    whole = track.prepare(track.load(TINY), cache)
    cut = track.prepare(rewrite(folder, ("rows_max = 4096", "rows_max = 10")), cache)
    assert len(cut.main_rows) == len(cut.pool_rows) == 5
    assert len(cut.val_tokens) == 10 * 33
    assert np.array_equal(cut.main_rows, whole.main_rows[:5])


def test_too_little_validation_is_said(folder: Path, cache: Path):
    with pytest.raises(TrackError, match="lower seq_len"):
        track.prepare(rewrite(folder, ("seq_len = 32", "seq_len = 8192")), cache)


def test_a_second_time_nothing_is_made(cache: Path):
    found = track.load(TINY)
    told: list[tuple[str, float]] = []
    first = track.prepare(found, cache, lambda *now: told.append(now))
    assert {"encoding train", "encoding val"} == {what for what, _ in told}
    assert all(0 <= done <= 1 for _, done in told)
    told.clear()
    assert track.prepare(found, cache, lambda *now: told.append(now)).digest == first.digest
    assert told == []


def test_another_budget_shares_the_tokens(folder: Path, cache: Path):
    first = track.prepare(track.load(TINY), cache)
    other = rewrite(folder, ("budget_s = 3.0", "budget_s = 9.0"))
    assert other.id != track.load(TINY).id
    assert track.prepare(other, cache).folder == first.folder


PAIRS = (('"bytes"', '"bpe"'), ("vocab_size = 256", "vocab_size = 300"))


def test_byte_pairs_are_the_same_whatever_the_number_of_cores(folder: Path, tmp_path: Path):
    rewrite(folder, *PAIRS)
    program = (
        "import sys; from pathlib import Path; from experiments import track;"
        "print(track.prepare(track.load(Path(sys.argv[1])), Path(sys.argv[2])).digest)"
    )
    digests = set()
    for threads in ("1", "2", "7"):
        command = [sys.executable, "-c", program, str(folder), str(tmp_path / threads)]
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        digests.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(digests) == 1


def test_byte_pairs_count_every_byte_and_stand_for_the_text(folder: Path, cache: Path):
    data = track.prepare(rewrite(folder, *PAIRS), cache)
    assert data.bos == 299
    assert data.token_bytes[data.bos] == 0
    val = tiny_documents()[3::4]
    assert int(data.token_bytes[data.val_tokens].sum()) == sum(len(text.encode()) for text in val)
    assert (data.val_tokens == data.bos).sum() == len(val)


def test_byte_pairs_are_learnt_from_training_documents_alone(folder: Path, cache: Path):
    texts = ["".join(random.Random(i).choices("abcde ", k=400)) for i in range(40)]
    for i in range(3, 40, 4):
        texts[i] = "zq" * 200
    found = with_text(folder, lzma.compress("\f".join(texts).encode()), *PAIRS)
    data = track.prepare(found, cache)
    assert (data.token_bytes[data.val_tokens[data.val_tokens != data.bos]] == 1).all()


@pytest.mark.parametrize("bounds, seen", [("", True), ("\nbpe_chars = 100", False), ("\ndocument_chars = 3", False)])
def test_merges_are_learnt_from_a_bounded_beginning(folder: Path, cache: Path, bounds: str, seen: bool):
    texts = ["ab" * 50, *["abacd" + "cd" * 50] * 15]
    kind = 'kind = "text-xz"'
    size = ("vocab_size = 256", "vocab_size = 258")
    found = with_text(folder, lzma.compress("\f".join(texts).encode()), PAIRS[0], size, (kind, kind + bounds))
    data = track.prepare(found, cache)
    pair_stands_for_cd = int((data.val_tokens == 256).sum()) > 100
    assert pair_stands_for_cd == seen


def test_text_that_tokenizers_stumble_over_comes_through():
    texts = [
        "",
        " ",
        "\n\n",
        "<|endoftext|>",
        "naïve 你好 🙂\u200d",
        "a" * 5000,
        " " * 5000,
        "\x00",
        "don't 12345 !?\r\n",
    ]
    tokenizer = PairTokenizer(["the cat and the hat " * 50, *texts], 270)
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids.dtype == np.uint16
        assert int(tokenizer.token_bytes[ids].sum()) == len(text.encode())
    assert [len(ids) for ids in recipe.tokens(tokenizer, ["", "x"])] == [1, 2]


@pytest.mark.parametrize("vocab_size, complaint", [(256, "more than 256"), (5000, "lower vocab_size")])
def test_a_vocabulary_that_cannot_be_is_refused(vocab_size: int, complaint: str):
    with pytest.raises(TrackError, match=complaint):
        PairTokenizer(["a few words"], vocab_size)


def test_bytes_have_256_tokens_and_no_zero_in_the_text():
    with pytest.raises(TrackError, match="set vocab_size to 256"):
        ByteTokenizer(300)
    with pytest.raises(TrackError, match="zero bytes"):
        ByteTokenizer(256).encode("a\x00b")


# Damage


@pytest.mark.parametrize("name", ["train.u16", "val.u16", "token_bytes.i32"])
@pytest.mark.parametrize("harm", ["flip", "cut", "grow", "remove"])
def test_a_wrong_byte_in_the_cache_is_found_and_the_way_out_is_said(cache: Path, name: str, harm: str):
    found = track.load(TINY)
    path = track.prepare(found, cache).folder / name
    raw = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes({"flip": raw[:-1] + bytes([raw[-1] ^ 1]), "cut": raw[:-1], "grow": raw + b"\0"}[harm])
    with pytest.raises(DataDamaged, match=r"delete the folder .* and run autoresearch prepare"):
        track.prepare(found, cache)
    shutil.rmtree(path.parent)
    assert track.prepare(found, cache).digest == TINY_DIGEST


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"files": {}}', "\x00" * 50])
def test_a_damaged_manifest_is_found(cache: Path, content: str):
    found = track.load(TINY)
    (track.prepare(found, cache).folder / "manifest.json").write_text(content)
    with pytest.raises(DataDamaged, match="delete the folder"):
        track.prepare(found, cache)


def test_a_manifest_that_was_made_to_fit_other_tokens_is_found(folder: Path, cache: Path):
    found = rewrite(folder, ('kind = "text-xz"', f'kind = "text-xz"\nprepared = "{TINY_DIGEST}"'))
    data = track.prepare(found, cache)
    raw = data.train_path.read_bytes()[::-1]
    data.train_path.write_bytes(raw)
    manifest = json.loads((data.folder / "manifest.json").read_text())
    manifest["files"]["train.u16"]["sha256"] = hashlib.sha256(raw).hexdigest()
    (data.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataDamaged, match="another version of rustbpe or tiktoken"):
        track.prepare(found, cache)


def test_a_text_with_another_hash_is_refused(folder: Path, cache: Path):
    (folder / "text.txt.xz").write_bytes(b"other")
    with pytest.raises(DataDamaged, match="does not have the hash"):
        track.prepare(track.load(folder), cache)
    (folder / "text.txt.xz").unlink()
    with pytest.raises(DataDamaged, match="is missing"):
        track.prepare(track.load(folder), cache)


@pytest.mark.parametrize(
    "raw",
    [b"no xz", lzma.compress(b"x" * 5000)[:-20], lzma.compress(b"\xff\xfe")],
    ids=["not xz", "cut short", "not UTF-8"],
)
def test_a_text_that_cannot_be_unpacked_is_refused(folder: Path, cache: Path, raw: bytes):
    with pytest.raises(DataDamaged, match="restore the file"):
        track.prepare(with_text(folder, raw), cache)


def test_a_text_that_unpacks_without_end_is_refused(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipe, "TEXT_BYTES_MAX", 1 << 20)
    found = with_text(folder, lzma.compress(bytes(8 << 20)))
    with pytest.raises(DataDamaged, match="unpacks to more than 1048576 bytes"):
        track.prepare(found, cache)


def test_what_a_killed_process_left_is_cleared_away(cache: Path):
    found = track.load(TINY)
    left = cache / f"{found.data_id}.building"
    left.mkdir(parents=True)
    (left / "train.u16").write_bytes(b"half")
    assert track.prepare(found, cache).digest == TINY_DIGEST
    assert not left.exists()


def test_two_processes_at_once_make_it_once(cache: Path):
    found = track.load(TINY)
    cache.mkdir()
    program = (
        "import sys; from pathlib import Path; from experiments import track; told = [];"
        "data = track.prepare(track.load(Path(sys.argv[1])), Path(sys.argv[2]), lambda *now: told.append(now));"
        "print(data.digest, any('encoding' in what for what, _ in told))"
    )
    command = [sys.executable, "-c", program, str(TINY), str(cache)]
    with (cache / f"{found.data_id}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # both have started and wait before either goes on
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = sorted(process.communicate(timeout=60)[0].strip() for process in both)
    assert answers == [f"{TINY_DIGEST} False", f"{TINY_DIGEST} True"]


def test_a_wait_for_another_process_is_told_and_has_an_end(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_module, "LOCK_WAIT_S_MAX", 0.05)
    found = track.load(TINY)
    cache.mkdir()
    told: set[str] = set()
    with (cache / f"{found.data_id}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunning, match="end it, or wait"):
            track.prepare(found, cache, lambda what, _done: told.add(what))
    assert told == {"waiting for another process to finish this"}


def test_no_room_is_said_and_leaves_nothing_behind(cache: Path):
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from ensue.errors import DiskFull; from experiments import track\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: track.prepare(track.load(Path(sys.argv[1])), Path(sys.argv[2]))\n"
        "except DiskFull as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(TINY), str(cache)], capture_output=True, text=True)
    assert "free some room" in done.stdout, done.stderr
    assert [path for path in cache.iterdir() if path.is_dir()] == []
    assert track.prepare(track.load(TINY), cache).digest == TINY_DIGEST


def test_a_cache_that_cannot_be_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataDamaged, match="check its rights and its disk"):
        track.prepare(track.load(TINY), tmp_path / "file")


# Parquet shards over HTTPS


def shard(seed: int, column: str = "text", value: object = None) -> bytes:
    draw = random.Random(seed)
    words = ["river", "boat", "mill", "heron", "winter", "stone", "ferry", "bridge"]
    texts = [value or f"{seed}: " + " ".join(draw.choices(words, k=60)) for _ in range(60)]
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({column: texts}), sink, row_group_size=25)
    return bytes(sink.getvalue())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    here = tmp_path / "server"
    here.mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(here, {name: shard(i) for i, name in enumerate(("one", "two", "last"))}) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        yield server


@pytest.fixture
def remote(folder: Path, server: Server) -> Path:
    """A track like the GPU track, whose shards come from the loopback server."""
    text = (folder / "track.toml").read_text()
    text = text[: text.index("[data]")].replace("vocab_size = 256", "vocab_size = 290")
    text += '[data]\nkind = "parquet"\n'
    for name, split in (("one", "train"), ("two", "train"), ("last", "val")):
        text += f'[[data.files]]\nname = "{name}"\nsplit = "{split}"\nurl = "{server.url}/{name}"\n'
    (folder / "track.toml").write_text(text)
    return folder


def test_without_hashes_nothing_is_fetched(remote: Path, cache: Path, server: Server):
    with pytest.raises(TrackError, match="run autoresearch prepare --track tiny --pin"):
        track.prepare(track.load(remote), cache)
    assert server.ranges == []


def test_pinning_fetches_hashes_and_fixes_the_id(remote: Path, cache: Path, server: Server):
    loose = track.load(remote)
    told: list[tuple[str, float]] = []
    data = track.prepare(loose, cache, lambda *now: told.append(now), pin=True)
    pinned = track.load(remote)
    assert pinned.id != loose.id
    assert pinned.recipe.prepared == data.digest
    assert {s.name: s.sha256 for s in pinned.recipe.sources} == {
        name: hashlib.sha256(raw).hexdigest() for name, raw in server.files.items()
    }
    assert ("fetching one", 1.0) in told
    assert any(what == "encoding train" and 0 < done < 1 for what, done in told)
    requests = len(server.ranges)
    assert track.prepare(pinned, cache).digest == data.digest
    assert track.prepare(pinned, cache, pin=True).digest == data.digest
    assert track.load(remote).id == pinned.id
    assert len(server.ranges) == requests == 3


def test_a_pinned_track_comes_out_the_same_elsewhere(remote: Path, cache: Path, tmp_path: Path):
    here = track.prepare(track.load(remote), cache, pin=True)
    there = track.prepare(track.load(remote), tmp_path / "elsewhere")
    assert there.digest == here.digest
    assert np.array_equal(here.main_rows, there.main_rows)


def test_validation_comes_from_its_own_shard(remote: Path, cache: Path, server: Server):
    data = track.prepare(track.load(remote), cache, pin=True)
    documents = pyarrow.parquet.read_table(pyarrow.BufferReader(server.files["last"])).column("text").to_pylist()
    assert (data.val_tokens == data.bos).sum() == len(documents)
    assert int(data.token_bytes[data.val_tokens].sum()) == sum(len(text) for text in documents)


def test_a_shard_that_is_not_the_pinned_one_is_refused(remote: Path, cache: Path, tmp_path: Path, server: Server):
    track.prepare(track.load(remote), cache, pin=True)
    server.files["two"] = shard(99)
    with pytest.raises(DownloadFailed, match=r"bytes where|does not have the hash"):
        track.prepare(track.load(remote), tmp_path / "elsewhere")


def test_a_broken_connection_is_mended_on_the_way(
    remote: Path, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("time.sleep", lambda _s: None)
    server.faults = [Fault(cut_after=500), Fault(cut_after=300)]
    track.prepare(track.load(remote), cache, pin=True)
    assert server.ranges[:3] == [None, "bytes=500-", "bytes=800-"]


@pytest.mark.parametrize(
    "raw, complaint",
    [
        (b"no parquet", "not a parquet file"),
        (shard(5, column="other"), "column text"),
        (shard(5, value=7), "something else than text"),
        (shard(5)[:-30] + b"?" * 30, "not a parquet file"),
    ],
    ids=["not parquet", "no such column", "numbers", "damaged"],
)
def test_a_shard_that_is_no_text_is_refused(remote: Path, cache: Path, server: Server, raw: bytes, complaint: str):
    server.files["two"] = raw
    with pytest.raises(DataDamaged, match=complaint):
        track.prepare(track.load(remote), cache, pin=True)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["sources"]
    assert not (remote / track.LOCK_NAME).exists()
    server.files["two"] = shard(5)
    assert track.prepare(track.load(remote), cache, pin=True).digest == track.load(remote).recipe.prepared
