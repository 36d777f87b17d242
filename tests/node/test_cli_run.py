"""`run` on real scripts in the real sandbox, on a tiny track: values, judgement, hostile scripts, interrupts."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import track as tracks

ROOT = Path(__file__).resolve().parents[2]
TINY = str(ROOT / "tests/tracks/tiny")
BASELINE = str(ROOT / "tests/tracks/tiny/baseline.py")
ZOO = ROOT / "tests/zoo"
RESULT_FIELDS = {
    *("id", "experiment", "track", "author", "name", "status", "metric", "value", "seed", "hardware_class"),
    *("description", "parent", "level", "created_at", "wall_s", "cpu_s", "source", "overhead_s"),
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A home whose track is prepared and whose hardware is measured, once for all tests here."""
    home = tmp_path_factory.mktemp("machine")
    environ = os.environ | {"AUTORESEARCH_HOME": str(home)}
    subprocess.run([*COMMAND, "prepare", TINY, "--json"], env=environ, check=True, capture_output=True, timeout=120)
    return environ


COMMAND = [sys.executable, "-m", "node.cli.main"]


def run(machine, file, *arguments):
    command = [*COMMAND, "run", str(file), "--track", TINY, *arguments]
    return subprocess.run(command, env=machine, capture_output=True, text=True, timeout=120, check=False)


def test_an_honest_script_gets_its_value(machine):
    done = run(machine, BASELINE, "--json", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document.keys() >= RESULT_FIELDS
    assert document["status"] == "kept"
    assert 2.0 < document["value"] < 3.0
    assert document["seed"] == 5
    assert document["track"] == tracks.load(TINY).id
    assert document["overhead_s"] < 1.0
    again = json.loads(run(machine, BASELINE, "--json", "--seed", "5").stdout)
    assert again["value"] == pytest.approx(document["value"], abs=1e-4)
    assert list((Path(machine["AUTORESEARCH_HOME"]) / "tryouts").iterdir()) == []


def test_text_says_how_it_compares_and_that_nothing_was_published(machine):
    done = run(machine, BASELINE)
    assert done.stdout.startswith("● kept  val_bpb 2.")
    assert "no result to compare it with yet" in done.stdout
    assert "Nothing was published" in done.stdout
    assert "training" in done.stderr.splitlines()


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("cheat_prints_fake_metric", {"kept"}),
        ("cheat_peeks", {"refused"}),
        ("cheat_never_starts", {"crashed"}),
        ("cheat_does_not_compile", {"refused"}),
        ("cheat_no_load_model", {"refused"}),
        ("cheat_raises", {"crashed"}),
        ("cheat_corrupt_checkpoint", {"crashed", "refused"}),
        ("attack_read_secrets", {"crashed", "refused"}),
    ],
)
def test_hostile_scripts_end_cleanly(machine, name, statuses):
    done = run(machine, ZOO / f"{name}.py", "--json")
    document = json.loads(done.stdout)
    assert document["status"] in statuses
    if document["value"] is None:
        assert done.returncode == 1
        assert document["reason"]
        assert done.stderr.startswith("autoresearch: ")
        assert done.stderr.count("\n") == 1
    else:
        assert document["value"] > 1.0
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_cleanly(machine, tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(
        Path(BASELINE)
        .read_text()
        .replace(
            "for step in range(PASSES):",
            "import time\n    while run.time_left() > 0.1: time.sleep(0.05)\n    for step in range(PASSES):",
        )
    )
    command = [*COMMAND, "run", str(script), "--track", TINY]
    with subprocess.Popen(command, env=machine, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        for line in process.stderr:
            if line.strip() == "training" or time.monotonic() > deadline:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert list((Path(machine["AUTORESEARCH_HOME"]) / "tryouts").iterdir()) == []


def test_an_unknown_track_is_one_sentence(machine):
    done = subprocess.run(
        [*COMMAND, "run", BASELINE, "--track", "chess"],
        env=machine,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_prepare_says_what_is_ready(machine):
    done = subprocess.run(
        [*COMMAND, "prepare", TINY], env=machine, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ready  tiny")
    found = json.loads(
        subprocess.run(
            [*COMMAND, "prepare", TINY, "--json"], env=machine, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    )
    assert found["track"] == tracks.load(TINY).id
    assert found["train_tokens"] > 1000


def test_a_script_is_judged_against_the_best_of_the_memory(machine, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(machine["AUTORESEARCH_HOME"], home)  # with its data and what the machine was measured to be
    environ = machine | {"AUTORESEARCH_HOME": str(home)}
    arguments = ["join", "--track", TINY, "--experiments", "1", "--plain"]
    subprocess.run([*COMMAND, *arguments], env=environ, check=True, capture_output=True, timeout=180)
    document = json.loads(run(environ, BASELINE, "--json").stdout)
    best = subprocess.run(
        [*COMMAND, "best", "--track", TINY, "--json"], env=environ, check=True, capture_output=True, timeout=60
    )
    assert document["parent"] == json.loads(best.stdout)["id"]
    assert document["status"] == "discarded"
    assert abs(document["judged"]["gain"]) < document["judged"]["threshold"]
    log = subprocess.run([*COMMAND, "log", "--json"], env=environ, check=True, capture_output=True, timeout=60)
    assert [record["kind"] for record in json.loads(log.stdout)] == ["delegation", "calibration", "claim", "result"]


def test_what_a_killed_run_left_is_cleared_away(machine):
    left = Path(machine["AUTORESEARCH_HOME"]) / "tryouts" / "4194999"
    left.mkdir(parents=True, exist_ok=True)
    assert run(machine, BASELINE, "--json").returncode == 0
    assert not left.exists()
