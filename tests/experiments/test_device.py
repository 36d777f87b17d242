"""What this machine computes with: measured by a child process, described so that it compares."""

import json
import subprocess
import sys

import pytest

from ensue.errors import ExperimentError
from experiments import device


@pytest.mark.slow
def test_a_processor_is_measured_without_torch_in_this_process():
    code = "import sys; from experiments import device; h = device.probe('cpu', threads=2); "
    code += "print(h.to_json(), 'torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    text, *modules = done.stdout.rsplit(maxsplit=2)
    assert modules == ["False", "False"]
    found = device.Hardware.from_json(text)
    assert (found.device, found.kind, found.threads, found.dtype) == ("cpu", "cpu", 2, "float32")
    assert found.gflops > 1
    assert found.memory_bytes > 1 << 28
    assert found.hardware_class.startswith("cpu-2t-")
    assert found.hardware_class == device.hardware_class("cpu", found.model, found.memory_bytes, 2, found.gflops)


LOADED = """
import json, os, subprocess, sys
from experiments import device
quiet = device._measure_processor(2)
busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * os.cpu_count())]
loaded = device._measure_processor(2)
for one in busy:
    one.kill()
    one.wait()
print(json.dumps([quiet, loaded]))
"""


@pytest.mark.slow
def test_other_programs_do_not_make_a_processor_slow():
    """Three programs to a processor take two thirds of its time; the speed of a processor second stays."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=120, check=True)
    quiet, loaded = json.loads(done.stdout)
    assert 0.6 < loaded / quiet < 1.6, (quiet, loaded)


@pytest.mark.slow
def test_a_device_that_is_not_there_fails_with_one_sentence():
    with pytest.raises(ExperimentError, match="choose --device cpu"):
        device.probe("cuda:7")


@pytest.mark.parametrize(("gflops", "bucket"), [(256, 256), (255, 128), (128, 128), (0.2, 1), (5000, 4096)])
def test_speeds_within_a_factor_of_two_compare(gflops, bucket):
    assert device.hardware_class("cpu", "x", 1, 2, gflops).endswith(f"t-{device._vector_unit()}-{bucket}")


@pytest.mark.parametrize(
    ("model", "gib", "name"),
    [
        ("NVIDIA H100 80GB HBM3", 79.2, "cuda-h100-80gb-hbm3-80"),
        ("NVIDIA GeForce RTX 3060", 11.8, "cuda-rtx-3060-12"),
        ("", 1.5, "cuda-unknown-2"),
        ("x" * 200, 8, "cuda-" + "x" * 59),
    ],
)
def test_a_gpu_is_its_model_and_memory(model, gib, name):
    assert device.hardware_class("cuda", model, int(gib * (1 << 30)), 8, 1.0) == name


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"device": "cpu"}', "null"])
def test_a_damaged_calibration_is_said_to_be_one(text):
    with pytest.raises(ExperimentError, match="calibration"):
        device.Hardware.from_json(text)
