# Tries: to reach the sockets of services: dbus, docker, containerd, X11, Wayland, ssh-agent, gpg-agent, snapd, systemd.
import glob
import os
import socket

PLACES = [
    "/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket", "/run/docker.sock", "/var/run/docker.sock",
    "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/tmp/.X11-unix/X0", "/tmp/.X11-unix/X1",
    "/run/snapd.socket", "/run/systemd/private", "/run/systemd/notify", "/run/user/1000/bus", "/run/user/0/bus",
    "/run/user/1000/wayland-0", "/run/nvidia-persistenced/socket", os.environ.get("SSH_AUTH_SOCK", ""),
    os.environ.get("ATTACK_SOCKET", ""),
]


def main():
    found = glob.glob("/tmp/ssh-*/agent.*") + glob.glob("/run/user/*/*") + glob.glob("/tmp/**", recursive=True)
    for path in filter(None, [*PLACES, *(name for place in PLACES for name in glob.glob(f"{place}.canary*")), *found]):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_UNIX, kind) as one:
                try:
                    one.connect(path)
                    print("OBTAINED", path)
                except OSError as error:
                    print("refused", path, error)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
