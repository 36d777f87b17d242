"""Downloads against a real HTTPS server that misbehaves."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_server import Fault, Server, serving

from ensue.errors import DiskFull, DownloadFailed
from experiments.fetch import Fetched, FetchLimits, fetch

CONTENT = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RIGHT = Fetched(SHA256, len(CONTENT))
LIMITS = FetchLimits(attempts_max=3, wait_s=0.01, silence_s_max=0.4, connect_s_max=2.0, room_bytes_min=0)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "server"
    folder.mkdir()
    with serving(folder, {"file": CONTENT}) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "here" / "file"


def get(server: Server, path: Path, limits: FetchLimits = LIMITS, **options) -> Fetched:
    return fetch(f"{server.url}/file", path, limits=limits, trust=server.trust, **options)


def left(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir()) if path.parent.exists() else []


def test_a_file_arrives_whole_with_its_progress_told(server: Server, path: Path):
    told: list[tuple[int, int | None]] = []
    assert get(server, path, sha256=SHA256, on_progress=lambda *now: told.append(now)) == RIGHT
    assert path.read_bytes() == CONTENT
    assert left(path) == ["file"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


def test_without_a_known_hash_the_hash_is_told(server: Server, path: Path):
    assert get(server, path) == RIGHT


def test_a_file_that_is_there_is_not_fetched_again(server: Server, path: Path):
    get(server, path, sha256=SHA256)
    assert get(server, path, sha256=SHA256) == RIGHT
    assert len(server.ranges) == 1


def test_a_damaged_file_is_fetched_again(server: Server, path: Path):
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1] + b"?")
    assert get(server, path, sha256=SHA256) == RIGHT
    assert path.read_bytes() == CONTENT


def test_a_cut_connection_goes_on_where_it_broke(server: Server, path: Path):
    server.faults = [Fault(cut_after=100_000), Fault(cut_after=50_000)]
    assert get(server, path) == RIGHT
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert path.read_bytes() == CONTENT


def test_the_next_call_goes_on_where_the_last_gave_up(server: Server, path: Path):
    server.always = Fault(cut_after=40_000)
    with pytest.raises(DownloadFailed, match="goes on from here"):
        get(server, path, sha256=SHA256)
    assert not path.exists()
    server.always, server.ranges = None, []
    assert get(server, path, sha256=SHA256) == RIGHT
    assert server.ranges == ["bytes=120000-"]


def test_tries_that_bring_much_are_not_counted_as_failures(server: Server, path: Path):
    server.faults = [Fault(cut_after=30_000)] * 9
    assert get(server, path, replace(LIMITS, progress_bytes_min=30_000)) == RIGHT


def test_a_server_without_ranges_starts_over(server: Server, path: Path):
    server.faults = [Fault(cut_after=100_000), Fault(ignore_range=True)]
    assert get(server, path, sha256=SHA256) == RIGHT
    assert path.read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_starts_over(server: Server, path: Path):
    server.faults = [Fault(cut_after=100_000)]
    with pytest.raises(DownloadFailed):
        get(server, path, replace(LIMITS, attempts_max=1))
    changed = CONTENT[::-1]
    server.files["file"], server.etag = changed, '"two"'
    assert get(server, path).sha256 == hashlib.sha256(changed).hexdigest()


def test_without_a_validator_or_a_hash_nothing_is_glued_together(server: Server, path: Path):
    server.etag = None
    server.faults = [Fault(cut_after=100_000)]
    assert get(server, path) == RIGHT
    assert server.ranges == [None, None]


def test_without_a_validator_the_hash_makes_going_on_safe(server: Server, path: Path):
    server.etag = 'W/"weak"'
    server.faults = [Fault(cut_after=100_000)]
    assert get(server, path, sha256=SHA256) == RIGHT
    assert server.ranges == [None, "bytes=100000-"]


def test_another_part_than_asked_for_is_not_taken(server: Server, path: Path):
    server.faults = [Fault(cut_after=100_000), Fault(shift_range=-1)]
    assert get(server, path, sha256=SHA256) == RIGHT
    assert server.ranges == [None, "bytes=100000-", None]


def test_more_here_than_the_server_has_starts_over(server: Server, path: Path):
    path.parent.mkdir()
    path.with_name("file.part").write_bytes(CONTENT + b"more")
    assert get(server, path, sha256=SHA256) == RIGHT


def test_killed_before_the_rename_needs_no_further_byte(server: Server, path: Path):
    path.parent.mkdir()
    path.with_name("file.part").write_bytes(CONTENT)
    assert get(server, path, sha256=SHA256, size_bytes=len(CONTENT)) == RIGHT
    assert server.ranges == []


def test_wrong_bytes_are_fetched_twice_and_then_refused(server: Server, path: Path):
    server.always = Fault(content=CONTENT[:-1] + b"?")
    with pytest.raises(DownloadFailed, match="does not have the hash"):
        get(server, path, sha256=SHA256)
    assert left(path) == []
    assert len(server.ranges) == LIMITS.wrong_hashes_max


def test_wrong_bytes_once_are_mended(server: Server, path: Path):
    server.faults = [Fault(content=CONTENT[:-1] + b"?")]
    assert get(server, path, sha256=SHA256) == RIGHT


def test_a_wrong_beginning_left_by_somebody_is_thrown_away(server: Server, path: Path):
    path.parent.mkdir()
    path.with_name("file.part").write_bytes(b"?" * 1000)
    assert get(server, path, sha256=SHA256) == RIGHT


def test_a_server_in_trouble_is_asked_again(server: Server, path: Path):
    server.faults = [Fault(status=503, headers={"Retry-After": "0"}), Fault(status=500)]
    assert get(server, path) == RIGHT


def test_a_server_in_lasting_trouble_is_given_up(server: Server, path: Path):
    server.always = Fault(status=500)
    with pytest.raises(DownloadFailed, match="answers 500"):
        get(server, path)
    assert len(server.ranges) == LIMITS.attempts_max


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_repeated(server: Server, path: Path, status: int):
    server.always = Fault(status=status)
    with pytest.raises(DownloadFailed, match=str(status)):
        get(server, path)
    assert len(server.ranges) == 1


def test_silence_ends_the_try_and_the_next_goes_on(server: Server, path: Path):
    server.faults = [Fault(stall_after=100_000)]
    assert get(server, path) == RIGHT
    assert server.ranges == [None, "bytes=100000-"]


def test_a_trickle_counts_as_silence(server: Server, path: Path):
    server.always = Fault(endless=True)
    slow = replace(LIMITS, window_s=0.0, window_bytes_min=1 << 40)
    with pytest.raises(DownloadFailed, match="fewer than"):
        get(server, path, slow)


def test_a_redirect_is_followed(server: Server, path: Path):
    server.files["elsewhere"] = CONTENT
    server.faults = [Fault(status=302, headers={"Location": f"{server.url}/elsewhere"})]
    assert get(server, path, sha256=SHA256) == RIGHT


def test_redirects_in_a_circle_end(server: Server, path: Path):
    server.always = Fault(status=302, headers={"Location": "/file"})
    with pytest.raises(DownloadFailed, match="cannot be fetched"):
        get(server, path)


def test_a_redirect_away_from_https_is_refused(server: Server, path: Path):
    server.always = Fault(status=302, headers={"Location": "http://127.0.0.1:9/file"})
    with pytest.raises(DownloadFailed, match="not reached over HTTPS"):
        get(server, path)


def test_a_declared_size_beyond_the_bound_is_refused_at_once(server: Server, path: Path):
    with pytest.raises(DownloadFailed, match="larger than the 299999 bytes"):
        get(server, path, replace(LIMITS, bytes_max=len(CONTENT) - 1))
    assert left(path) == []


def test_an_undeclared_size_beyond_the_bound_is_refused_on_the_way(server: Server, path: Path):
    server.always = Fault(endless=True)
    with pytest.raises(DownloadFailed, match="larger than"):
        get(server, path, replace(LIMITS, bytes_max=100_000))
    assert left(path) == []


def test_another_size_than_the_pinned_one_is_refused(server: Server, path: Path):
    with pytest.raises(DownloadFailed, match="300000 bytes where 7 are expected"):
        get(server, path, sha256=SHA256, size_bytes=7)


def test_an_encoding_nobody_asked_for_is_refused(server: Server, path: Path):
    server.always = Fault(headers={"Content-Encoding": "gzip"})
    with pytest.raises(DownloadFailed, match="encoding"):
        get(server, path)


def test_too_little_room_is_said_before_anything_is_fetched(server: Server, path: Path):
    with pytest.raises(DiskFull, match="free some room"):
        get(server, path, replace(LIMITS, room_bytes_min=1 << 62))
    assert not path.exists()


def test_a_certificate_nobody_vouches_for_is_refused(server: Server, path: Path):
    with pytest.raises(DownloadFailed, match=r"(?i)certificate"):
        fetch(f"{server.url}/file", path, limits=replace(LIMITS, attempts_max=1))


def test_nobody_there_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DownloadFailed, match="run the command again"):
        fetch("https://127.0.0.1:9/file", path, limits=LIMITS)
