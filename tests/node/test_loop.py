"""The loop as its owner meets it: real processes, a real home, the tiny track, and every way to stop it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import measured
import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/tracks/tiny"
DEADLINE_S = 90.0


class Node:
    """The command line on one home of its own."""

    def __init__(self, home: Path, track: Path, *, measure: bool = False) -> None:
        self.home = home
        if not measure:
            measured.put(home)
        self.environment = {**os.environ, "AUTORESEARCH_HOME": str(home), "AUTORESEARCH_TRACK": str(track)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "node.cli.main", *arguments]
        return subprocess.Popen(
            command, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str, status: int = 0) -> str:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == status, out + err
        return out if status == 0 else err

    def ask(self, *arguments: str) -> object:
        return json.loads(self.run(*arguments, "--json"))

    def results(self) -> list[dict[str, object]]:
        answer = self.ask("leaderboard", "--limit", "1000")
        return answer["results"] if isinstance(answer, dict) else answer  # type: ignore[return-value]

    def records(self) -> list[dict[str, object]]:
        answer = self.ask("log", "--limit", "1000")
        return answer["records"] if isinstance(answer, dict) else answer  # type: ignore[return-value]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node on the tiny track, whose experiments take a fraction of a second."""
    return Node(tmp_path / "home", TINY)


@pytest.fixture
def patient(tmp_path: Path) -> Node:
    """A node whose baseline trains to the end of its three processor seconds."""
    track = tmp_path / "patient"
    shutil.copytree(TINY, track)
    script = (TINY / "baseline.py").read_text()
    changed = script.replace("for step in range(PASSES):", "for step in range(PASSES * 1_000_000):")
    assert changed != script
    (track / "baseline.py").write_text(changed)
    return Node(tmp_path / "home", track)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} in {DEADLINE_S} s"
        time.sleep(0.05)


def wait_for_line(process: subprocess.Popen[str], word: str) -> list[str]:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if word in line:
            return seen
    raise AssertionError(f"{word!r} never came: {''.join(seen)}")


def survivors(home: Path) -> list[str]:
    """Command lines of processes that still name the home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(home) in line:
                found.append(line)
    return found


def chain_is_whole(records: list[dict[str, object]]) -> bool:
    numbers = sorted(record["seq"] for record in records)  # type: ignore[type-var]
    return numbers == list(range(1, len(numbers) + 1))


def test_a_fresh_home_researches_by_itself_and_ends(tmp_path: Path):
    node = Node(tmp_path / "home", TINY, measure=True)
    node.run("join", "--experiments", "4")
    results = node.results()
    assert len(results) == 4
    assert all(result["status"] in ("kept", "discarded") for result in results)
    baseline = next(result for result in results if result["parent"] is None)
    assert baseline["description"] == "baseline"
    assert baseline["status"] == "kept"
    assert {result["metric"] for result in results} == {"val_bpb"}
    for result in results:
        shown = node.ask("show", str(result["id"]))
        assert isinstance(shown, dict)
        assert shown["overhead_s"] <= 1.0
        assert shown["value"] == result["value"]
    claims = [record for record in node.records() if record["kind"] == "claim"]
    assert len(claims) == 4
    assert "equal" in node.run("rebuild", "--check")


def test_a_second_node_on_the_same_home_is_refused_in_one_sentence(patient: Node):
    first = patient.start("join")
    try:
        wait_for_line(first, "training")
        error = patient.run("join", status=1)
        assert "already runs" in error
        assert "Traceback" not in error
        assert error.count("\n") == 1
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=DEADLINE_S)


def test_one_interrupt_records_the_run_as_abandoned(patient: Node):
    process = patient.start("join")
    wait_for_line(process, "training")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    kinds = [record["kind"] for record in patient.records()]
    assert kinds == ["delegation", "calibration", "claim", "retraction"]
    assert survivors(patient.home) == []
    assert list((patient.home / "runs").iterdir()) == []
    # The experiment is free again: the next start takes the same one.
    patient.run("join", "--experiments", "1")
    assert [result["description"] for result in patient.results()] == ["baseline"]


def test_two_interrupts_end_at_once_and_the_next_start_cleans_up(patient: Node):
    process = patient.start("join")
    wait_for_line(process, "training")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    wait_for(lambda: survivors(patient.home) == [], "end of the sandbox")
    patient.run("join", "--experiments", "1")
    assert chain_is_whole(patient.records())


def test_pause_holds_the_run_and_resume_lets_it_end(patient: Node):
    process = patient.start("join", "--experiments", "1")
    wait_for_line(process, "training")
    patient.run("pause")
    status = patient.ask("status")
    assert isinstance(status, dict)
    assert status["paused"] is True
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=6)  # the budget of the tiny track is 3 s
    patient.run("resume")
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert len(patient.results()) == 1


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_no_finished_result_and_forks_nothing(patient: Node):
    """Killed at five moments of a run; a finished result is one that was announced on the output."""
    chance = random.Random(20261121)
    announced = 0
    for _ in range(5):
        process = patient.start("join")
        time.sleep(chance.uniform(0.3, 9.0))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=DEADLINE_S)
        announced += out.count(" · val_bpb ")
        wait_for(lambda: survivors(patient.home) == [], "end of the sandbox")
    patient.run("join", "--experiments", "1")
    results = patient.results()
    assert len(results) >= announced + 1
    records = patient.records()
    assert chain_is_whole(records)
    open_claims = {record["id"] for record in records if record["kind"] == "claim"}
    for record in records:
        body = record["body"]
        assert isinstance(body, dict)
        open_claims.discard(body.get("claim") or body.get("target"))
    assert open_claims == set()
    assert "equal" in patient.run("rebuild", "--check")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_makes_the_loop_wait_and_go_on(node: Node):
    node.environment["AUTORESEARCH_DISK_FREE_BYTES"] = "0"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(node.home)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed in this container")
    try:
        process = node.start("join", "--experiments", "2")
        wait_for_line(process, "kept")
        ballast = node.home / "ballast"
        with ballast.open("wb", buffering=0) as file:  # else closing it fails as well
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        wait_for_line(process, "waiting")
        node.run("leaderboard")  # reading goes on
        ballast.unlink()
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
        assert len(node.results()) == 2
        assert chain_is_whole(node.records())
    finally:
        subprocess.run(["umount", "-l", str(node.home)], check=False)


def test_the_room_that_the_owner_wants_left_free_is_left(node: Node):
    node.environment["AUTORESEARCH_DISK_FREE_BYTES"] = str(2**50)
    process = node.start("join", "--experiments", "1")
    seen = wait_for_line(process, "waiting")
    assert "are to stay free" in seen[-1]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert [record["kind"] for record in node.records()] == ["delegation"]
