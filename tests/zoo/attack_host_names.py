# Tries: to learn about the host: its name, addresses, mounts, users, disks, other runs.
import os
import socket


def main():
    for path in (
        "/proc/self/mountinfo",
        "/proc/mounts",
        "/proc/net/unix",
        "/proc/net/tcp",
        "/proc/net/arp",
        "/proc/net/route",
        "/proc/self/cgroup",
        "/etc/hostname",
        "/etc/machine-id",
        "/proc/sys/kernel/hostname",
        "/proc/locks",
        "/proc/partitions",
        "/sys/class/dmi/id/product_uuid",
        "/var/log/wtmp",
        "/run/utmp",
    ):
        try:
            with open(path) as file:
                text = file.read()
        except OSError as error:
            print(path, error)
            continue
        print("SAW", path, len(text))
        if "canary" in text or (path.endswith(("machine-id", "uuid", "arp")) and len(text.splitlines()) > 1):
            print("OBTAINED", path, text[:400])
    name = socket.gethostname()
    print("host", name, os.uname().nodename)
    if name != "sandbox":
        print("OBTAINED the host's name")


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
