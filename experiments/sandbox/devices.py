"""What a script gets of a device: nothing for a processor, an allow-list of files for one NVIDIA GPU.

The list is built by looking, beneath `host`, so that it can be tried on a made-up machine. Leaves out the memory on the
card. Rejected: binding /dev, which holds disks and terminals; `nvidia-container-cli`, which needs root and a daemon.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ensue.errors import SandboxUnavailable
from experiments.sandbox.bounds import Mount

HOST = Path("/")
NVIDIA_SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm")
NVIDIA_PROC = "proc/driver/nvidia/gpus"
DRIVER = re.compile(r"lib(cuda|nvidia-[a-z0-9-]+|nvcuvid|cudadebugger)\.so(\.[\d.]+)?")
DRIVER_NAME = "libcuda.so.1"
# Where drivers lie that the system's own list of libraries may not name; LD_LIBRARY_PATH is looked at as well.
DRIVER_FOLDERS = ("/usr/local/nvidia/lib64", "/usr/lib/wsl/lib", "/run/opengl-driver/lib", "/opt/nvidia/lib64")
SHOWN_ANYWAY = Path("/usr")


def devices(device: str, host: Path = HOST, env: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Returns the device files for `device` ("cpu", "cuda" or "cuda:N").

    N counts as the driver does in the order of PCI addresses, after CUDA_VISIBLE_DEVICES has chosen. SandboxUnavailable
    if there is no such card.
    """
    if not device.startswith("cuda"):
        return ()
    shared = [path for path in NVIDIA_SHARED if (host / path.lstrip("/")).exists()]
    return (*shared, f"/dev/nvidia{minor(device, host, env)}")


def minor(device: str, host: Path = HOST, env: Mapping[str, str] = os.environ) -> int:
    """Returns the N of /dev/nvidiaN for "cuda" or "cuda:N"; SandboxUnavailable if there is no such card."""
    index = int(device.partition(":")[2] or 0)
    cards = _cards(host)
    chosen = env.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        cards = _chosen(cards, [word.strip() for word in chosen.split(",") if word.strip()])
    if index >= len(cards):
        raise SandboxUnavailable(f"There is no NVIDIA GPU number {index} here; choose another with --device.")
    return cards[index][0]


def folders(device: str) -> tuple[str, ...]:
    """Returns the folders that the driver's libraries read besides /usr: how the machine's buses are laid out."""
    return ("/sys",) if device.startswith("cuda") else ()


def driver(device: str, host: Path = HOST, env: Mapping[str, str] = os.environ) -> tuple[list[Mount], dict[str, str]]:
    """Returns what a driver outside of the system's own folders needs: its libraries, and how they are found."""
    if not device.startswith("cuda"):
        return [], {}
    words = [word for word in env.get("LD_LIBRARY_PATH", "").split(":") if word.startswith("/")]
    found = [Path(word) for word in dict.fromkeys((*words, *DRIVER_FOLDERS))
             if (host / word.lstrip("/") / DRIVER_NAME).exists()]
    mounts = []
    for folder in (folder for folder in found if not folder.is_relative_to(SHOWN_ANYWAY)):
        names = sorted(name for name in os.listdir(host / str(folder).lstrip("/")) if DRIVER.fullmatch(name))
        mounts += [Mount(host / str(folder).lstrip("/") / name, f"{folder}/{name}") for name in names]
    if not found:
        return [], {}
    return mounts, {"LD_LIBRARY_PATH": ":".join(map(str, found)), "TRITON_LIBCUDA_PATH": str(found[0])}


def device_inside(device: str) -> str:
    """Returns the device's name in a sandbox, where only this one is to be seen: "cuda:3" is "cuda:0" there."""
    return "cuda:0" if device.startswith("cuda") else device


def _cards(host: Path) -> list[tuple[int, str]]:
    """The cards whose device file is here: N of /dev/nvidiaN and UUID, by PCI address where the driver tells it."""
    present = {int(found[1]) for path in (host / "dev").glob("nvidia*")
               if (found := re.fullmatch(r"nvidia(\d+)", path.name))}
    told = []
    try:
        for card in sorted((host / NVIDIA_PROC).iterdir()):
            text = (card / "information").read_text()
            number, uuid = re.search(r"Device Minor:\s*(\d+)", text), re.search(r"GPU UUID:\s*(\S+)", text)
            told += [(int(number[1]), uuid[1] if uuid else "")] if number else []
    except OSError:
        told = []
    # A container may be told of cards that it was not given.
    return [card for card in told if card[0] in present] or [(number, "") for number in sorted(present)]


def _chosen(cards: list[tuple[int, str]], words: list[str]) -> list[tuple[int, str]]:
    """The cards that CUDA_VISIBLE_DEVICES names, in its order; what follows a word that names none does not count."""
    found = []
    for word in words:
        if word.isdigit():
            one = cards[int(word)] if int(word) < len(cards) else None
        elif word.startswith("MIG-"):
            raise SandboxUnavailable("A slice of a GPU (MIG) cannot be shown to a script yet; choose a whole one.")
        else:
            one = next((card for card in cards if card[1] and card[1].startswith(word)), None)
        if one is None:
            break
        found.append(one)
    return found
