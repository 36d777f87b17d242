"""What a script gets of a device: nothing for a processor, an allow-list of files for one NVIDIA GPU.

Leaves out the driver's libraries, which lie beneath /usr. Rejected: binding /dev, which holds disks and terminals.
"""

import re
from pathlib import Path

from ensue.errors import SandboxUnavailable

NVIDIA_SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm")
NVIDIA_PROC = Path("/proc/driver/nvidia/gpus")


def devices(device: str) -> tuple[str, ...]:
    """Returns the device files for `device` ("cpu", "cuda" or "cuda:N", N in the order of PCI addresses)."""
    if not device.startswith("cuda"):
        return ()
    index = int(device.partition(":")[2] or 0)
    minors = _minors()
    if index >= len(minors):
        raise SandboxUnavailable(f"There is no NVIDIA GPU number {index} here; choose another with --device.")
    return (*(path for path in NVIDIA_SHARED if Path(path).exists()), f"/dev/nvidia{minors[index]}")


def folders(device: str) -> tuple[str, ...]:
    """Returns the folders that the driver's libraries read besides /usr: how the machine's buses are laid out."""
    return ("/sys",) if device.startswith("cuda") else ()


def device_inside(device: str) -> str:
    """Returns the device's name in a sandbox, where only this one is to be seen: "cuda:3" is "cuda:0" there."""
    return "cuda:0" if device.startswith("cuda") else device


def _minors() -> list[int]:
    """The numbers in /dev/nvidiaN, in the order of PCI addresses where the driver tells them."""
    try:
        cards = sorted(NVIDIA_PROC.iterdir())
        told = [re.search(r"Device Minor:\s*(\d+)", (card / "information").read_text()) for card in cards]
        return [int(found[1]) for found in told if found]
    except OSError:
        names = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
        return sorted(int(found[1]) for found in names if found)
