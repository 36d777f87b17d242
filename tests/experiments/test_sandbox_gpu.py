"""What a script gets of a GPU, on made-up machines: no card was at hand, so the driver is replaced at the wire."""

import ctypes
import importlib
import shutil
import subprocess
from pathlib import Path

import pytest
from sandbox_trial import MIB, SMALL

from ensue.errors import ExperimentError, SandboxUnavailable
from experiments.sandbox import Limits, bubblewrap, gpumemory, interpreter, landlock, namespaces, start
from experiments.sandbox.devices import device_inside, devices, driver, minor
from experiments.sandbox.visible import view

detect = importlib.import_module("experiments.sandbox.detect")  # the package has a function of this name
LEVEL = detect.detect()
POSSIBLE = (LEVEL, detect.without_bubblewrap(LEVEL), detect.without_namespaces(LEVEL))
LEVELS = {level.name: level for level in POSSIBLE if level.name != "none"}
CARDS = {"0000:0a:00.0": (2, "GPU-aaaa"), "0000:1b:00.0": (0, "GPU-bbbb"), "0000:c3:00.0": (1, "GPU-cccc")}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A machine of three cards, whose device files are numbered in another order than their places on the bus."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset",
                 "sda", "mem", "nvidia-caps"):
        (tmp_path / "dev" / name).touch()
    for place, (number, uuid) in CARDS.items():
        card = tmp_path / "proc/driver/nvidia/gpus" / place
        card.mkdir(parents=True)
        (card / "information").write_text(f"Model: \t X\nGPU UUID: \t {uuid}\nDevice Minor: \t {number}\n")
    return tmp_path


@pytest.mark.parametrize(("device", "chosen", "number"), [
    ("cuda", None, 2), ("cuda:0", None, 2), ("cuda:1", None, 0), ("cuda:2", None, 1), ("cuda:0", "1", 0),
    ("cuda:1", "2, 0", 2), ("cuda", "GPU-cc", 1), ("cuda:1", "GPU-bbbb,GPU-aaaa", 2)])
def test_a_card_is_found_as_the_driver_counts(device, chosen, number, host):
    env = {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}
    assert minor(device, host, env) == number
    assert devices(device, host, env) == ("/dev/nvidiactl", "/dev/nvidia-uvm", f"/dev/nvidia{number}")


@pytest.mark.parametrize(("device", "chosen"), [
    ("cuda:3", None), ("cuda:0", ""), ("cuda:1", "0"), ("cuda:0", "9"), ("cuda:1", "0,9,1"), ("cuda:0", "GPU-zz")])
def test_a_card_that_is_not_there_is_said_not_to_be(device, chosen, host):
    with pytest.raises(SandboxUnavailable, match="no NVIDIA GPU number"):
        devices(device, host, {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen})


def test_a_slice_of_a_card_is_refused(host):
    with pytest.raises(SandboxUnavailable, match="MIG"):
        devices("cuda", host, {"CUDA_VISIBLE_DEVICES": "MIG-1234"})


def test_a_container_is_told_of_cards_that_it_was_not_given(host):
    for name in ("nvidia0", "nvidia2"):
        (host / "dev" / name).unlink()
    assert devices("cuda", host, {})[-1] == "/dev/nvidia1"
    with pytest.raises(SandboxUnavailable):
        devices("cuda:1", host, {})


def test_without_the_drivers_word_the_numbers_decide(host):
    shutil.rmtree(host / "proc")
    assert [minor(f"cuda:{index}", host, {}) for index in range(3)] == [0, 1, 2]


def test_a_processor_gets_nothing(host):
    assert devices("cpu", host, {}) == ()
    assert driver("cpu", host, {}) == ([], {})
    assert (device_inside("cuda:3"), device_inside("cpu")) == ("cuda:0", "cpu")


def test_a_driver_elsewhere_is_shown_file_by_file(host):
    own, other = host / "opt/driver", host / "usr/local/nvidia/lib64"
    for folder in (own, other):
        folder.mkdir(parents=True)
        for name in ("libcuda.so.1", "libcuda.so.550.54", "libnvidia-ptxjitcompiler.so.1", "id_rsa", "libsecret.so.1"):
            (folder / name).touch()
    mounts, env = driver("cuda", host, {"LD_LIBRARY_PATH": "/home/me/lib:/opt/driver"})
    assert [mount.inside for mount in mounts] == [  # what lies below /usr is shown anyway
        f"/opt/driver/{name}" for name in ("libcuda.so.1", "libcuda.so.550.54", "libnvidia-ptxjitcompiler.so.1")]
    assert mounts[0].host == own / "libcuda.so.1"
    assert env == {"LD_LIBRARY_PATH": "/opt/driver:/usr/local/nvidia/lib64", "TRITON_LIBCUDA_PATH": "/opt/driver"}


def test_each_level_passes_the_list_on_and_nothing_else_of_dev(host):
    files = devices("cuda:1", host, {})
    words = bubblewrap.arguments(LEVEL, Limits(), view(), [], None, files)
    bound = [words[at + 1] for at, word in enumerate(words) if word == "--dev-bind"]
    assert bound == list(files)
    (host / "made").touch()  # a list for namespaces and Landlock leaves out what does not exist, and here nothing does
    made = [str(host / "made")]
    plan = namespaces.plan(LEVEL, Limits(), view(), [], None, made, None, [])
    assert [one[1] for one in plan["shown"] if one[2] == "device"] == [
        *(path for path in namespaces.DEVICES if Path(path).exists()), *made]
    rules = dict(landlock.rules(view(), [], [], made))
    assert rules[made[0]] == landlock.GPU & landlock.OF_FILES
    assert not any(path.startswith("/dev/nvidia") for path in rules)


NVML = """
typedef unsigned int uint; typedef unsigned long long u64;
static u64 used = 1000;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(uint *n) { *n = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(uint i, void **h) { *h = (void *)(long)(i + 1); return 0; }
int nvmlDeviceGetMinorNumber(void *h, uint *m) { uint of[] = {2, 0, 1}; *m = of[(long)h - 1]; return 0; }
int nvmlDeviceGetMemoryInfo(void *h, u64 *m) {
    m[0] = 80000; m[1] = 80000 - used; m[2] = used;
    return (long)h == 3 ? 9 : 0;
}
struct process { uint pid; u64 used; uint gi, ci; };
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, uint *n, struct process *p) {
    if ((long)h == 2) { *n = 0; return 3; }
    p[0] = (struct process){11, 500, 0, 0}; p[1] = (struct process){12, 70, 0, 0};
    p[2] = (struct process){13, ~0ULL, 0, 0};
    *n = 3; return 0;
}
void grow(u64 by) { used += by; }
"""


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that answers as NVIDIA's does, for three made-up cards."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(NVML)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "nvml.so", folder / "nvml.c"], check=True)
    return str(folder / "nvml.so")


def test_memory_on_the_card_is_that_of_the_scripts_processes(nvml):
    card = gpumemory.Card(2, nvml)
    assert card.used_bytes([10, 11, 12]) == 570
    ctypes.CDLL(nvml).grow(ctypes.c_uint64(4000))
    assert card.used_bytes([11]) == 500
    assert card.used_bytes([11, 13]) == 4000  # one of them untold: then what the card's use grew by
    assert card.used_bytes([99]) == 4000
    assert gpumemory.Card(0, nvml).used_bytes([11]) == 0  # this card tells of nobody


def test_a_card_or_a_library_that_is_not_there_is_an_error(nvml):
    with pytest.raises(OSError, match="nvidia7"):
        gpumemory.Card(7, nvml)
    with pytest.raises(OSError, match="error 9"):
        gpumemory.Card(1, nvml)
    with pytest.raises(OSError):
        gpumemory.Card(0, "libno-such-library.so")


def test_too_much_memory_on_the_card_is_a_broken_limit(nvml):
    with start([interpreter(), "-c", "import time; time.sleep(60)"], level=LEVEL,
               limits=Limits(gpu_memory_bytes=3 * MIB)) as running:
        running._card = gpumemory.Card(0, nvml)
        assert running.check() is None
        ctypes.CDLL(nvml).grow(ctypes.c_uint64(4 * MIB))
        assert running.check() == "It used more than its 3 MiB of the GPU's memory."


@pytest.mark.parametrize("name", LEVELS)
def test_caches_are_a_runs_own_and_a_warm_one_stays_as_it_is(name, tmp_path):
    warm = tmp_path / "warm"
    (warm / "triton" / "abc").mkdir(parents=True)
    (warm / "triton" / "abc" / "kernel.cubin").write_text("compiled")
    for path in (tmp_path, warm, *warm.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    code = """
import os
own = os.environ["TRITON_CACHE_DIR"]
print(open(own + "/abc/kernel.cubin").read(), own.endswith("/scratch/.cache/triton"))
print(os.environ["TORCHINDUCTOR_CACHE_DIR"].endswith("/scratch/.cache/inductor"))
try:
    open(own + "/abc/kernel.cubin", "w").write("poisoned")
    print("OBTAINED")
except OSError:
    pass
os.mkdir(own + "/new")
open(own + "/new/kernel.cubin", "w").write("own")
os.replace(own + "/new/kernel.cubin", own + "/abc/kernel.cubin")
print(open(own + "/abc/kernel.cubin").read())
"""
    with start([interpreter(), "-c", code], level=LEVELS[name], limits=SMALL, warm_cache=warm) as running:
        assert running.wait(20) == 0, running.output()
        assert running.output().decode().split() == ["compiled", "True", "True", "own"]
    assert [path.name for path in warm.rglob("*")] == ["triton", "abc", "kernel.cubin"]
    assert (warm / "triton/abc/kernel.cubin").read_text() == "compiled"
    with start([interpreter(), "-c", "import os; print(os.listdir(os.environ['HOME']))"], level=LEVELS[name],
               limits=SMALL) as running:
        assert running.wait(20) == 0
        assert running.output() == b"[]\n"


def test_a_warm_cache_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ExperimentError, match="does not exist"):
        start([interpreter()], level=LEVEL, limits=SMALL, warm_cache=tmp_path / "none")
