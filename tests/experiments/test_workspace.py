"""The git history: real repositories, a hostile environment, and writers that are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ensue.errors import ExperimentError
from experiments.workspace import LOOSE_OBJECTS_MAX, Workspace


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commits_keep_sources_byte_for_byte_and_parents_as_lineage(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "ws", "cpu")
    first = space.commit("LR = 1\r\n", "baseline", None, experiment="aa" * 32)
    second = space.commit("ü = '\f'\n", "lr 1 → 2", first)
    assert space.source(first) == b"LR = 1\r\n"
    assert space.source(second) == "ü = '\f'\n".encode()
    assert space.parents(second) == (first,)
    assert space.parents(first) == ()
    assert space.find("aa" * 32) == first
    assert space.find(second) == second
    assert space.find("bb" * 32) is None
    assert git(tmp_path / "ws", "fsck", "--strict") == ""
    assert git(tmp_path / "ws", "log", "-1", "--format=%an %s", second) == "autoresearch lr 1 → 2"


def test_only_advance_moves_the_branch_and_nothing_is_lost(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "ws", "cuda:0")
    assert space.head() is None
    kept = space.commit("a", "kept", None)
    space.advance(kept)
    discarded = space.commit("b", "discarded", kept)
    assert space.head() == kept
    assert git(tmp_path / "ws", "rev-parse", "agent/cuda-0") == kept
    git(tmp_path / "ws", "gc", "--prune=now", "--quiet")
    again = Workspace(tmp_path / "ws", "cuda:0")
    assert again.head() == kept
    assert again.source(discarded) == b"b"


def test_many_loose_objects_are_packed_and_none_is_lost(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "ws", "cpu")
    first = space.commit("a", "a", None)
    for number in range(2 * LOOSE_OBJECTS_MAX):
        (tmp_path / f"{number}").write_text(f"{number}")
    paths = "\n".join(str(tmp_path / f"{number}") for number in range(2 * LOOSE_OBJECTS_MAX))
    command = ["git", "-C", str(space.path), "hash-object", "-w", "--stdin-paths"]
    subprocess.run(command, input=paths, text=True, check=True, stdout=subprocess.DEVNULL)
    assert list(space.path.glob("objects/pack/*.pack")) == []
    second = space.commit("b", "b", first)
    assert list(space.path.glob("objects/pack/*.pack"))
    assert space.source(first) == b"a"
    assert space.source(second) == b"b"
    assert space.parents(second) == (first,)


def test_each_device_has_its_branch(tmp_path: Path) -> None:
    left, right = Workspace(tmp_path / "ws", "cuda:0"), Workspace(tmp_path / "ws", "cuda:1")
    left.advance(left.commit("a", "a", None))
    assert right.head() is None
    right.advance(right.commit("b", "b", left.head()))
    assert left.head() != right.head()


def test_the_same_experiment_twice_is_harmless(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "ws", "cpu")
    first = space.commit("a", "a", None, experiment="ee" * 32)
    second = space.commit("a", "again", None, experiment="ee" * 32)
    assert space.find("ee" * 32) == second
    assert space.has(first)


@pytest.mark.parametrize("wrong", ["0" * 40, "main", "HEAD", "--help", "", "refs/heads/x", "g" * 40, "a\nb"])
def test_an_unknown_commit_is_one_sentence(tmp_path: Path, wrong: str) -> None:
    space = Workspace(tmp_path / "ws", "cpu")
    assert not space.has(wrong)
    for attempt in (lambda: space.commit("a", "a", wrong), lambda: space.advance(wrong), lambda: space.source(wrong)):
        with pytest.raises(ExperimentError, match="no commit"):
            attempt()


def test_messages_of_strangers_stay_text(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "ws", "cpu")
    sha = space.commit("a", "\x1b[2J-F/etc/passwd\x00\u202e" + "x" * 10_000, None)
    message = git(tmp_path / "ws", "log", "-1", "--format=%B", sha)
    assert "-F/etc/passwd" in message
    assert len(message) <= 2000
    assert not set(message) & {"\x1b", "\x00", "\u202e"}
    assert git(tmp_path / "ws", "log", "-1", "--format=%s", space.commit("a", " \n", None)) == "experiment"


def test_the_owners_git_is_neither_read_nor_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bait = tmp_path / "ran"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-update"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {bait}\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "templates" / "hooks").mkdir(parents=True)
    (tmp_path / "templates" / "hooks" / "reference-transaction").symlink_to(hooks / "reference-transaction")
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[core]\nhooksPath = {hooks}\nautocrlf = true\n[commit]\ngpgSign = true\n[user]\nuseConfigOnly = true\n"
        f"[init]\ntemplateDir = {tmp_path / 'templates'}\ndefaultObjectFormat = sha256\n[broken"
    )
    other = tmp_path / "other"
    other.mkdir()
    for name, value in {
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_SYSTEM": str(config),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(hooks),
        "GIT_CONFIG_PARAMETERS": f"'core.hooksPath={hooks}'",
        "GIT_TEMPLATE_DIR": str(tmp_path / "templates"),
        "GIT_DIR": str(other),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / "index"),
        "GIT_OBJECT_DIRECTORY": str(other / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(other / "more"),
        "GIT_NAMESPACE": "elsewhere",
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_CEILING_DIRECTORIES": str(tmp_path),
        "GIT_TRACE": "1",
        "GIT_AUTHOR_DATE": "nonsense",
        "GIT_EDITOR": "false",
    }.items():
        monkeypatch.setenv(name, value)
    space = Workspace(tmp_path / "ws", "cpu")
    sha = space.commit("a\r\n", "a", None)
    space.advance(sha)
    assert space.head() == sha
    assert len(sha) == 40
    assert space.source(sha) == b"a\r\n"
    assert not bait.exists()
    assert list(other.iterdir()) == []


def test_locks_of_killed_git_processes_are_cleared(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "ws", "cpu")
    sha = space.commit("a", "a", None)
    space.advance(sha)
    for lock in ("index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "refs/heads/agent/cpu.lock"):
        (tmp_path / "ws" / lock).write_text("")
    again = Workspace(tmp_path / "ws", "cpu")
    again.advance(again.commit("b", "b", sha))
    assert again.source(again.head() or "") == b"b"


@pytest.mark.parametrize("missing", ["HEAD", "config", "refs"])
def test_a_half_made_repository_is_completed(tmp_path: Path, missing: str) -> None:
    sha = Workspace(tmp_path / "ws", "cpu").commit("a", "a", None)
    gone = tmp_path / "ws" / missing
    gone.rename(tmp_path / "gone")
    again = Workspace(tmp_path / "ws", "cpu")
    assert again.source(sha) == b"a"
    again.advance(again.commit("b", "b", sha))


WRITER = """
import sys
from experiments.workspace import LOOSE_OBJECTS_MAX, Workspace
space = Workspace(sys.argv[1], "cpu")
sha = None
for i in range(10_000):
    sha = space.commit(f"A = {i}\\n", f"step {i}", sha)
    space.advance(sha)
    print(sha, flush=True)
"""


def test_killed_at_any_moment_the_next_start_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "ws"
    told: list[str] = []
    for round_number in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert writer.stdout is not None
        seen = [writer.stdout.readline().strip() for _ in range(1 + round_number)]
        time.sleep(0.003 * round_number)  # the moment of the kill varies
        os.killpg(writer.pid, signal.SIGKILL)
        seen += [line.strip() for line in writer.stdout.read().splitlines() if len(line.strip()) == 40]
        writer.wait()
        told += [sha for sha in seen if sha]
        space = Workspace(folder, "cpu")
        assert space.head() is not None
        space.advance(space.commit("B = 1\n", "after", space.head()))
    assert told
    assert all(space.source(sha).startswith(b"A = ") for sha in told)
    assert "missing" not in git(folder, "fsck", "--full", "--no-dangling")


def test_two_processes_share_a_repository(tmp_path: Path) -> None:
    script = """
import sys
from experiments.workspace import LOOSE_OBJECTS_MAX, Workspace
space = Workspace(sys.argv[1], sys.argv[2])
for i in range(15):
    space.advance(space.commit(f"A = {i}", "a", space.head()))
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "ws"), device]) for device in ("cpu", "cuda:0")
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    for device in ("cpu", "cuda:0"):
        space = Workspace(tmp_path / "ws", device)
        assert git(tmp_path / "ws", "rev-list", "--count", space.branch) == "15"


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExperimentError, match="cannot be used"):
        Workspace(tmp_path / "file", "cpu")
    with pytest.raises(ExperimentError, match="cannot name a branch"):
        Workspace(tmp_path / "ws", "///")


def test_without_git_it_says_so(tmp_path: Path) -> None:
    script = "from experiments.workspace import LOOSE_OBJECTS_MAX, Workspace\nWorkspace('ws', 'cpu')"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ExperimentError: The git program was not found" in done.stderr


def test_a_commit_is_fast(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "ws", "cpu")
    sha = space.commit("x" * 25_000, "a", None)
    took = []
    for i in range(5):
        start = time.perf_counter()
        sha = space.commit("x" * 25_000 + str(i), "a", sha)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.15
