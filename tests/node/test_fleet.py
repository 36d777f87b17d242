"""Several devices under one identity: a loop each, on one memory and one quota; here they share a processor."""

import io
import json
import re
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import measured
import pytest
from rich.console import Console
from test_loop import TINY, Node, chain_is_whole, survivors, wait_for_line
from test_views import FACTS, row

from ensue.errors import BadSettings, ExperimentError
from experiments import device
from node import fleet, settings
from node.live import LiveView
from node.quota import Quota
from node.view import Moment, PlainView, Standing, Trying

BOTH = "cpu:0,cpu:1"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    measured.put(tmp_path / "home", "cpu:0")
    known = json.loads((tmp_path / "home/hardware.json").read_text())
    for name in ("cpu:1", "cpu"):
        known |= {key.replace("cpu:0 ", f"{name} "): text.replace("cpu:0", name) for key, text in known.items()}
    node = Node(tmp_path / "home", TINY, measure=True)
    (node.home / "hardware.json").write_text(json.dumps(known))
    return node


def devices_of(node: Node) -> set[object]:
    return {node.ask("show", str(result["id"]))["device"] for result in node.results()}  # type: ignore[index]


def test_two_devices_share_one_log_one_quota_and_the_work(node: Node):
    out = node.run("join", "--plain", "--experiments", "8", "--device", BOTH)
    assert len(node.results()) == 8
    assert devices_of(node) == {"cpu:0", "cpu:1"}
    records = node.records()
    assert chain_is_whole(records)
    claims = [node.ask("show", str(one["id"])) for one in records if one["kind"] == "claim"]
    experiments = [claim["body"]["experiment"] for claim in claims]  # type: ignore[index]
    assert len(experiments) == len(set(experiments)) == 8
    assert "cpu:0  #" in out
    assert "cpu:1  #" in out
    assert survivors(node.home) == []
    assert not any(left.is_file() for left in (node.home / "runs").rglob("*"))


def test_after_a_kill_both_devices_are_brought_to_their_end(node: Node):
    process = node.start("join", "--plain", "--device", BOTH)
    assert process.stdout is not None
    # Two that plan at the same time give both their experiments one number, so that the next one's is skipped.
    assert any(re.search(r"#([3-9]|\d\d+) training", line) for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = len(node.results())
    node.run("join", "--plain", "--experiments", "2", "--device", "cpu")
    assert len(node.results()) >= before + 2
    answered = {record["id"] for record in node.records() if record["kind"] in ("result", "retraction")}
    assert len(answered) >= sum(record["kind"] == "claim" for record in node.records())
    assert chain_is_whole(node.records())


def test_an_interrupt_ends_all_devices(node: Node):
    process = node.start("join", "--plain", "--device", BOTH)
    wait_for_line(process, "cpu:1  #")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert survivors(node.home) == []


def test_status_names_each_device(node: Node):
    process = node.start("join", "--plain", "--device", BOTH)
    try:
        wait_for_line(process, "#2 training")
        now = node.ask("status")["now"]  # type: ignore[index]
        assert [one["device"] for one in now["devices"]] == ["cpu:0", "cpu:1"]
        words = node.run("status")
        assert "cpu:0 " in words
        assert "cpu:1 " in words
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


class Loop:
    """A device's loop that does what it is told, instead of research."""

    def __init__(self, name: str, runs: Path, work: Any) -> None:
        self.bench = SimpleNamespace(hardware=SimpleNamespace(device=name), runs=runs / name)
        self.recover, self.run = lambda: None, work


def test_a_device_that_fails_stops_no_other_and_is_told_at_the_end(tmp_path: Path):
    gone_on = threading.Event()
    failed = threading.Event()

    def fails() -> None:
        failed.set()
        raise ExperimentError("the driver is gone")

    def works() -> None:
        assert failed.wait(5)
        gone_on.set()

    said: list[str] = []
    loops: Any = [Loop("cuda:0", tmp_path, fails), Loop("cuda:1", tmp_path, works)]
    with pytest.raises(ExperimentError, match="the driver is gone"):
        fleet.go(loops, SimpleNamespace(), said.append)  # type: ignore[arg-type]
    assert gone_on.is_set()
    assert said == ["cuda:0 has stopped: the driver is gone"]


def test_what_another_choice_of_devices_left_is_cleared(tmp_path: Path):
    for folder in ("cuda-0/now", "5af3"):
        (tmp_path / folder).mkdir(parents=True)
    loops: Any = [Loop("cuda-0", tmp_path, lambda: None), Loop("cuda-1", tmp_path, lambda: None)]
    fleet.go(loops, SimpleNamespace(), print)  # type: ignore[arg-type]
    assert [left.name for left in tmp_path.iterdir()] == ["cuda-0"]


def test_a_quota_is_never_exceeded_and_takes_back_what_was_abandoned():
    quota = Quota(2)
    with quota.one() as first, quota.one() as second, quota.one() as third:
        assert (first, second, third) == (True, True, False)
        quota.count()
    assert not quota.over
    with quota.one() as again, quota.one() as no_more:
        assert (again, no_more) == (True, False)
        quota.count()
    assert quota.over
    with Quota(0).one() as without_a_limit:
        assert without_a_limit


@pytest.mark.parametrize("value", ["auto", "all", "cpu", "cuda", "cuda:3", "cuda:0,cuda:2", BOTH, "mps"])
def test_choices_of_devices(value: str):
    assert settings.checked("device", value, "--device") == value


@pytest.mark.parametrize(
    "value", ["", "gpu", "cuda:0,", "cuda:0,cuda:0", "cuda,cuda:0", "all,cpu", "cuda:1000", "mps,mps"]
)
def test_choices_that_are_none(value: str):
    with pytest.raises(BadSettings, match="--device: device wants auto, all, cpu"):
        settings.checked("device", value, "--device")


def test_every_card_on_which_a_kernel_runs_gets_a_worker(monkeypatch: pytest.MonkeyPatch):
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True, device_count=lambda: 3))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(device, "_works", lambda name: name != "cuda:1")
    assert device._every_device() == ["cuda:0", "cuda:2"]
    monkeypatch.setattr(device, "_works", lambda name: name == "cpu")
    assert device._every_device() == ["cpu"]


def tell(view: Any, number: int) -> None:
    view.trying(Trying(number, f"idea {number}", "because", 1.6, 1.58, 0.01))
    view.phase("training")
    view.progress(Moment(0.5, 60, 2.0, 5, 15_000.0))


def test_the_live_view_shows_all_devices_at_once():
    view = LiveView(Console(file=io.StringIO(), force_terminal=True, width=100))
    view.opened(FACTS, Standing(None, None, 0, 0), [])
    first, second = view.of("cuda:0"), view.of("cuda:1")
    tell(first, 1)
    tell(second, 2)
    console = Console(file=io.StringIO(), width=100, height=60)
    console.print(view.render())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "cuda:0  #1 idea 1" in shown
    assert "cuda:1  #2 idea 2" in shown
    assert shown.count("15,000 tokens/s") == 2
    second.finished(row(), "first value", Standing(row(), None, 1, 1))
    console.print(view.render())
    assert "1 experiment, 1 kept" in console.file.getvalue()  # type: ignore[attr-defined]
    view.closed()


def test_plain_lines_begin_with_the_device():
    stream = io.StringIO()
    tell(PlainView(stream).of("cuda:1"), 7)
    assert all(line[10:].startswith("cuda:1  #7 ") for line in stream.getvalue().splitlines())
