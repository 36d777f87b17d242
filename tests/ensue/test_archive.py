"""Export and import: one set of records gives one file, and comes back with the same digest and nothing else."""

import hashlib
import io
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from bodies import AUTHORS, claim, hypothesis, insight, result, sha

from ensue import archive, tarball
from ensue.archive import Archive
from ensue.errors import AutoresearchError, BadArchive, DiskFull, UserError
from ensue.genesis import Genesis, TrackRef, found
from ensue.record import Record, decode_stored, sign
from ensue.store import Blob, Store

ME, OTHER, THIRD = AUTHORS
GENESIS = found(ME, "plain", [TrackRef("sotu", sha("track"))], created_ms=1_700_000_000_000)
NETWORK = GENESIS.network_id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "replica.sqlite3", NETWORK) as opened:
        yield opened


def signed(author: int, seq: int, kind: str, body: dict, network: str = NETWORK) -> Record:
    prev = None if seq == 1 else sha(f"before {author} {seq}")
    return sign(AUTHORS[author], network=network, seq=seq, prev=prev, time_ms=1_700_000_000_000, kind=kind, body=body)


def chain(store: Store, count: int, size: int = 25_000) -> list[Record]:
    """Claims and results in a line of small edits, as a node leaves them, with logs."""
    dice = random.Random(5)
    script = "".join(f"x{number} = {dice.random()}\n" for number in range(size // 26))
    parent, made = None, []
    for number in range(count):
        edited = script.replace("x3 = ", f"x3 = {number} + ")
        source = Blob(edited.encode(), parent.body["source"] if parent else None)
        log = Blob(f"step {number}\n".encode() * 20)
        common = {"source": source.sha256, "experiment": sha(str(number)), "parent": parent.id if parent else None}
        announced = store.append(ME, "claim", claim(**common), [source])
        body = result(**common, claim=announced.id, log=log.sha256, value=1.6 - number / 1000)
        parent = store.append(ME, "result", body, [log])
        made += [announced, parent]
    return made


def odd_ones(store: Store) -> None:
    """A fork, a retraction, a kind and fields of a later version, a blob that only an unknown kind names."""
    twin = [signed(1, 2, "insight", insight(f"twin {number}")) for number in (1, 2)]
    weights = Blob(b"from the future")
    later = signed(2, 1, "credential.v9", {"weights": [{"at": weights.sha256}], "any": ["thing", {"é": 1.5}]})
    more = signed(2, 2, "hypothesis", hypothesis("with more", mood="sure", nested={"deep": [1, 2]}))
    store.ingest([one.raw for one in (*twin, later, more)], [weights])
    store.append(ME, "retraction", {"target": store.head(ME.peer_id).id, "reason": "wrong data"})


def exported(store: Store, path: Path) -> bytes:
    archive.write(store, GENESIS, path, force=True)
    return path.read_bytes()


def expanded(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()


def test_the_round_trip_gives_the_same_digest_and_the_same_file(store: Store, tmp_path: Path) -> None:
    chain(store, 12)
    odd_ones(store)
    file = tmp_path / "memory.tar.zst"
    report = archive.write(store, GENESIS, file)
    assert (report.records, report.blobs, report.missing) == (store.count(), 25, 0)
    assert report.file_bytes == file.stat().st_size
    assert not list(tmp_path.glob(".memory*"))
    with Store(tmp_path / "other.sqlite3", NETWORK) as other, Archive(file) as opened:
        assert opened.genesis == GENESIS
        taken = opened.into(other)
        assert (taken.accepted, taken.known, taken.refused) == (store.count(), 0, 0)
        assert (taken.blobs_accepted, taken.blobs_known, taken.blobs_refused) == (25, 0, 0)
        assert other.digest() == store.digest()
        assert {one.raw for one in other.records()} == {one.raw for one in store.records()}
        assert other.blob(hashlib.sha256(b"from the future").hexdigest()) == b"from the future"
        assert other.rebuild(check=True).equal
        assert other.outbox() == []
        assert exported(other, tmp_path / "again.tar.zst") == file.read_bytes()


def test_importing_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    chain(store, 5)
    exported(store, tmp_path / "a")
    before = store.digest(), store.count()
    with Archive(tmp_path / "a") as opened:
        taken = opened.into(store)
    assert (taken.accepted, taken.known, taken.refused) == (0, 10, 0)
    assert (taken.blobs_accepted, taken.blobs_known, taken.blobs_refused) == (0, 10, 0)
    assert (store.digest(), store.count()) == before


def test_a_script_in_a_chain_of_edits_costs_little(store: Store, tmp_path: Path) -> None:
    chain(store, 2)
    few = len(exported(store, tmp_path / "few"))
    chain(store, 30)
    many = len(exported(store, tmp_path / "many"))
    assert (many - few) / 30 < 2_500  # two records of 1.2 kB with their signatures, and a 25 kB script


def test_it_is_a_tar_in_a_zstd_frame_and_holds_no_key(store: Store, tmp_path: Path) -> None:
    chain(store, 2)
    plain = expanded(exported(store, tmp_path / "a"))
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        members = tar.getnames()
        assert members[:3] == ["archive.json", "genesis.bin", "records/00000000.bin"]
        assert members[-1] == "end.json"
        assert json.load(tar.extractfile("end.json")) == {"records": 4, "blobs": 4}
        assert tar.extractfile("genesis.bin").read() == GENESIS.raw
        packed = tar.extractfile("records/00000000.bin").read()
        for member in tar.getmembers():
            assert (member.mtime, member.uid, member.mode, member.isfile()) == (0, 0, 0o644, True)
    raws = []
    while packed:
        size = struct.unpack(">I", packed[:4])[0]
        raws.append(packed[4 : 4 + size])
        packed = packed[4 + size :]
    assert raws == [one.raw for one in store.logs()]
    secret = ME.file_bytes()
    assert secret[4:36] not in plain
    assert ME._key.private_bytes_raw() not in plain


def test_a_tar_that_others_packed_again_is_read(store: Store, tmp_path: Path) -> None:
    """The format is open: what GNU tar or the standard library packs from the same parts is an archive as well."""
    chain(store, 3)
    plain = expanded(exported(store, tmp_path / "a"))
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(plain)) as tar,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as again,
    ):
        for member in tar.getmembers():
            member.mtime, member.uname = 1_700_000_000, "somebody"
            again.addfile(member, tar.extractfile(member))
    (tmp_path / "b").write_bytes(zstandard.compress(packed.getvalue()))
    with Store(tmp_path / "other.sqlite3", NETWORK) as other, Archive(tmp_path / "b") as opened:
        assert opened.into(other).accepted == 6
        assert other.digest() == store.digest()


def test_bad_records_and_blobs_of_a_stranger_stay_out(tmp_path: Path) -> None:
    good = signed(0, 1, "result", result(source=sha("x"), log=hashlib.sha256(b"log").hexdigest()))
    flipped = bytearray(signed(0, 2, "insight", insight()).raw)
    flipped[10] ^= 1
    foreign = signed(1, 1, "insight", insight(), network=sha("elsewhere"))
    broken = signed(1, 2, "result", {"value": "much"})
    claimed = hashlib.sha256(b"named by a forged record").hexdigest()
    forged = bytearray(signed(2, 1, "hypothesis", hypothesis(source=claimed)).raw)
    forged[0] ^= 1
    file = made(
        tmp_path / "a",
        [
            records(0, [b"nonsense", *in_order(good.raw, bytes(flipped), foreign.raw, broken.raw, bytes(forged))]),
            ("blobs/" + hashlib.sha256(b"log").hexdigest(), b"log"),
            ("blobs/" + sha("x"), b"not x"),
            ("blobs/" + claimed, b"named by a forged record"),
            ("blobs/" + hashlib.sha256(b"named by nobody").hexdigest(), b"named by nobody"),
            ("end.json", b'{"records": 6, "blobs": 4}'),
        ],
    )
    with Store(tmp_path / "other.sqlite3", NETWORK) as other, Archive(file) as opened:
        taken = opened.into(other)
        assert (taken.accepted, taken.known, taken.refused) == (1, 0, 5)
        assert (taken.blobs_accepted, taken.blobs_known, taken.blobs_refused) == (1, 0, 3)
        assert sum(taken.reasons.values()) == 5
        assert list(other.records()) == [good]
        assert other.blob(hashlib.sha256(b"log").hexdigest()) == b"log"
        assert not other.has_blob(claimed)


def test_another_network_is_refused_in_one_sentence(store: Store, tmp_path: Path) -> None:
    exported(store, tmp_path / "a")
    with (
        Store(tmp_path / "other.sqlite3", sha("elsewhere")) as other,
        Archive(tmp_path / "a") as opened,
        pytest.raises(BadArchive, match="another home"),
    ):
        opened.into(other)


def test_a_file_in_the_way_stays_unless_forced(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "mine.tar.zst"
    file.write_bytes(b"mine")
    with pytest.raises(UserError, match="--force"):
        archive.write(store, GENESIS, file)
    assert file.read_bytes() == b"mine"
    archive.write(store, GENESIS, file, force=True)
    with Archive(file) as opened:
        assert opened.genesis == GENESIS
    with pytest.raises(UserError, match="cannot be written"):
        archive.write(store, GENESIS, tmp_path / "no folder" / "a")
    assert sorted(path.name for path in tmp_path.glob("*mine*")) == ["mine.tar.zst"]


def test_a_full_disk_leaves_the_old_file(store: Store, tmp_path: Path) -> None:
    chain(store, 4)
    file = tmp_path / "mine.tar.zst"
    before = exported(store, file)
    store.append(ME, "hypothesis", hypothesis(source=(blob := Blob(os.urandom(900_000))).sha256), [blob])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a write beyond fails, as on a full disk
    try:
        with pytest.raises((DiskFull, UserError), match=r"full|cannot be written"):
            archive.write(store, GENESIS, file, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert not list(tmp_path.glob(".mine*"))


def test_a_file_that_is_cut_anywhere_is_noticed_and_what_came_before_is_kept(store: Store, tmp_path: Path) -> None:
    chain(store, 3, size=1_000)
    whole = exported(store, tmp_path / "a")
    plain = expanded(whole)
    digest = store.digest()
    cuts = [*range(0, len(whole), len(whole) // 9)]
    files = [whole[:cut] for cut in cuts if cut < len(whole) - 8]  # the checksum alone is missed by nobody
    files += [zstandard.compress(plain[:cut]) for cut in range(0, len(plain) - 1024, 512)]
    for number, data in enumerate(files):
        (tmp_path / "b").write_bytes(data)
        with Store(tmp_path / f"other{number}.sqlite3", NETWORK) as other:
            with pytest.raises(BadArchive), Archive(tmp_path / "b") as opened:
                opened.into(other)
            with Archive(tmp_path / "a") as opened:
                opened.into(other)  # the whole file mends it
            assert other.digest() == digest
            assert all(other.has_blob(one.body["source"]) for one in store.records())


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_never_bring_in_anything(store: Store, tmp_path: Path, seed: int) -> None:
    honest = {one.raw for one in chain(store, 2, size=500)}
    whole = bytearray(expanded(exported(store, tmp_path / "a")))
    dice = random.Random(seed)
    with Store(tmp_path / "other.sqlite3", NETWORK) as other:
        for _ in range(60):
            mutant = bytearray(whole)
            for _ in range(dice.randint(1, 3)):
                mutant[dice.randrange(len(mutant))] ^= 1 << dice.randrange(8)
            (tmp_path / "b").write_bytes(zstandard.compress(bytes(mutant)))
            try:
                with Archive(tmp_path / "b") as opened:
                    opened.into(other)
            except AutoresearchError:
                continue
        assert {one.raw for one in other.records()} <= honest


def test_bombs_are_refused_before_they_take_memory_or_time(tmp_path: Path) -> None:
    one, two = (signed(0, seq, "insight", insight()).raw for seq in (1, 2))
    with Store(tmp_path / "other.sqlite3", NETWORK) as other:
        for parts in ([records(0, [one, one])], [records(0, [one]), records(1, [one])], [records(0, [two, one])]):
            with pytest.raises(BadArchive, match="out of order"), Archive(made(tmp_path / "a", parts)) as opened:
                opened.into(other)
        zeros = made(tmp_path / "b", [("blobs/" + sha("zeros"), bytes(4_000_000))] * 100)
        assert zeros.stat().st_size < 100_000
        with pytest.raises(BadArchive, match="expands"), Archive(zeros) as opened:
            opened.into(other)
        assert other.count() <= 1


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        ("../../etc/passwd", 0, b"0"),
        ("/etc/passwd", 0, b"0"),
        ("blobs/\x1b[2J", 0, b"0"),
        ("blobs/link", 0, b"2"),
        ("x", 0, b"x"),
        ("L", 0, b"L"),
        ("folder", 0, b"5"),
        ("records/00000000.bin", 8**11 - 1, b"0"),
        ("records/00000000.bin", tarball.PART_BYTES_MAX + 1, b"0"),
        ("unknown", 0, b"0"),
    ],
)
def test_paths_links_extensions_and_sizes_that_no_export_has(
    store: Store, tmp_path: Path, name: str, size: int, kind: bytes
) -> None:
    plain = expanded(exported(store, tmp_path / "a"))
    head = plain[: plain.index(b"end.json")]
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    header = info.tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "b").write_bytes(zstandard.compress(head + header + plain[len(head) :]))
    with pytest.raises(BadArchive) as caught, Archive(tmp_path / "b") as opened:
        opened.into(store)
    assert "\x1b" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir() if "sqlite" not in path.name) == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 600, b"plain text", b"\x28\xb5\x2f\xfd", b"SQLite format 3\0" * 100, zstandard.compress(b"x" * 9999)],
)
def test_files_that_are_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(BadArchive):
        Archive(tmp_path / "a")
    with pytest.raises(UserError, match="cannot be read"):
        Archive(tmp_path / "nothing")
    with pytest.raises(UserError, match="cannot be read"):
        Archive(tmp_path)


def test_a_newer_version_says_so(tmp_path: Path) -> None:
    head = json.dumps({"format": archive.FORMAT, "version": 2, "network": NETWORK}).encode()
    file = made(tmp_path / "a", [], head)
    with pytest.raises(BadArchive, match="newer version"):
        Archive(file)


def test_memory_stays_flat(tmp_path: Path) -> None:
    """A child with little memory to spare exports and imports much more than that."""
    with Store(tmp_path / "replica.sqlite3", NETWORK) as store:
        for number in range(40):
            blob = Blob(random.Random(number).randbytes(3_000_000))
            store.append(ME, "hypothesis", hypothesis(source=blob.sha256), [blob])
    (tmp_path / "genesis").write_bytes(GENESIS.raw)
    code = (
        "import resource, sys; from pathlib import Path; from ensue import archive; from ensue.genesis import Genesis;"
        "from ensue.store import Store; import ensue.kinds; home = Path(sys.argv[1]);"
        "genesis = Genesis.load(home / 'genesis'); peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "store = Store(home / 'replica.sqlite3', genesis.network_id); before = peak();"
        "archive.write(store, genesis, home / 'a'); other = Store(home / 'other', genesis.network_id);"
        "taken = archive.Archive(home / 'a').into(other); print(taken.blobs_accepted, (peak() - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    blobs, grown_mib = map(int, done.stdout.split())
    assert blobs == 40
    assert grown_mib < 80  # of 120 MB


def made(path: Path, parts: list[tuple[str, bytes]], head: bytes | None = None) -> Path:
    """An archive that somebody wrote by hand."""
    with path.open("wb") as stream:
        writer = tarball.Writer(stream)
        writer.add(
            "archive.json", head or json.dumps({"format": archive.FORMAT, "version": 1, "network": NETWORK}).encode()
        )
        writer.add("genesis.bin", Genesis.decode(GENESIS.raw).raw)
        for name, data in parts:
            writer.add(name, data)
        writer.close()
    return path


def in_order(*raws: bytes) -> list[bytes]:
    decoded = [decode_stored(raw) for raw in raws]
    return [one.raw for one in sorted(decoded, key=lambda one: (one.author, one.seq, one.id))]


def records(number: int, raws: list[bytes]) -> tuple[str, bytes]:
    return f"records/{number:08d}.bin", b"".join(struct.pack(">I", len(raw)) + raw for raw in raws)
