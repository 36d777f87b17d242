"""Where an interpreter may lie: also in a folder whose name the sandbox gives to a scratch space of its own."""

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sysconfig.get_path("purelib")
PROGRAM = """
from experiments import sandbox
level = sandbox.detect()
with sandbox.start(
    [sandbox.interpreter(), "-c", "import os, json; print(os.listdir('/scratch'), len(os.listdir('/tmp')))"],
    level=level, limits=sandbox.Limits(),
) as box:
    print(level.name, box.wait(30), box.output().decode().strip())
"""


@pytest.mark.parametrize("without", ["", "bwrap"], ids=["strongest", "no bubblewrap"])
def test_an_interpreter_below_tmp_runs(without: str):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        venv.create(f"{folder}/venv", symlinks=True, with_pip=False)
        packages = f"{folder}/venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        Path(packages, "borrowed.pth").write_text(PACKAGES)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if without:
            environment["PATH"] = "/nowhere"
        done = subprocess.run(
            [f"{folder}/venv/bin/python", "-c", PROGRAM],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    name, status, rest = done.stdout.split(maxsplit=2)
    assert name in ("bubblewrap", "namespaces")
    shown = 2 if Path(PACKAGES).is_relative_to("/tmp") else 1  # only the folders that lead to the interpreter's
    assert (status, rest.strip()) == ("0", f"[] {shown}")
    assert sys.prefix not in folder
