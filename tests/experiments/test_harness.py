"""The side that a script sees: by hand, outside any sandbox, and what the leaf may import."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import harness

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "tracks" / "tiny"
LEAVES = {"numpy", "experiments"}


def by_hand(source: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    script = folder / "train.py"
    script.write_text(source)
    settings = {
        "AUTORESEARCH_TRACK": str(TINY), "AUTORESEARCH_HOME": str(folder / "home"), "AUTORESEARCH_DEVICE": "cpu",
        "AUTORESEARCH_BUDGET_S": "2",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=os.environ | settings | environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_script_by_hand_trains_scores_itself_and_says_what_that_is_worth(tmp_path, bigram):
    done = by_hand(bigram, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("val_bpb: 2.493291")
    assert "counts for nothing" in done.stderr
    assert (tmp_path / "model.safetensors").is_file()


def test_a_script_by_hand_that_fails_is_not_scored(tmp_path, bigram):
    done = by_hand(bigram.replace("    save_file", "    raise ValueError('no')\n    save_file"), tmp_path)
    assert done.returncode == 1
    assert "val_bpb" not in done.stdout
    assert "ValueError: no" in done.stderr


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [("    save_file(", "    print(", "left no checkpoint"), ("def load_model", "def load", "no load_model")],
)
def test_a_script_by_hand_hears_what_is_missing(tmp_path, bigram, was, becomes, said):
    done = by_hand(bigram.replace(was, becomes), tmp_path)
    assert said in done.stderr
    assert "val_bpb" not in done.stdout


def test_the_clock_by_hand_runs_down(tmp_path, bigram):
    spin = "    while run.time_left() > 0:\n        run.progress(step=1, loss=2.0, tokens=5)\n    save_file("
    done = by_hand(bigram.replace("    save_file(", spin), tmp_path, AUTORESEARCH_BUDGET_S="0.5")
    assert done.returncode == 0, done.stderr
    assert "step 1" in done.stderr


def test_starting_twice_is_a_mistake(tmp_path, bigram):
    done = by_hand(bigram.replace("    size =", "    run.start()\n    size ="), tmp_path)
    assert "start() was called twice" in done.stderr


def test_what_goes_into_the_sandbox_is_a_leaf():
    for name in ("harness.py", "answer.py"):
        tree = ast.parse((ROOT / "experiments" / name).read_text())
        at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = {alias.name for node in at_import if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in at_import if isinstance(node, ast.ImportFrom)}
        outside = {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names)
        assert outside <= LEAVES - {"experiments"}, name


@pytest.mark.parametrize(
    "source",
    [
        "def load_model(checkpoint, device): ...", "load_model = print", "from elsewhere import load_model",
        "from elsewhere import load as load_model", "if True:\n    def load_model(checkpoint, device): ...",
    ],
)  # fmt: skip
def test_load_model_is_found_however_it_is_defined(source):
    harness._require_load_model(source.encode())


@pytest.mark.parametrize("source", ["", "load = 1", "# load_model", "x = 'load_model'", "load_model()"])
def test_a_missing_load_model_ends_the_script_at_once(source):
    with pytest.raises(SystemExit, match="no load_model"):
        harness._require_load_model(source.encode())
