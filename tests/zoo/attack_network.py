# Tries: to reach anything over TCP, UDP, DNS, IPv6, abstract unix sockets, vsock, netlink and raw sockets.
import os
import socket


def attempt(words, action):
    try:
        print("OBTAINED", words, action())
    except OSError as error:
        print("refused", words, error)


def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as one:
        one.settimeout(2)
        one.connect(address)
        one.send(b"stolen")
        return address


def main():
    ports = [int(port) for port in os.environ.get("ATTACK_PORTS", "22,53,80,443,2375").split(",")]
    for port in ports:
        attempt(f"tcp {port}", lambda port=port: connect(socket.AF_INET, ("127.0.0.1", port)))
        attempt(f"udp {port}", lambda port=port: connect(socket.AF_INET, ("127.0.0.1", port), socket.SOCK_DGRAM))
        attempt(f"tcp6 {port}", lambda port=port: connect(socket.AF_INET6, ("::1", port)))
    attempt("far tcp", lambda: connect(socket.AF_INET, ("1.1.1.1", 53)))
    attempt("metadata service", lambda: connect(socket.AF_INET, ("169.254.169.254", 80)))
    attempt("dns", lambda: socket.getaddrinfo("example.com", 80))
    abstract = "\0" + os.environ.get("ATTACK_ABSTRACT", "/tmp/.X11-unix/X0")
    attempt("abstract unix", lambda: connect(socket.AF_UNIX, abstract))
    with open("/proc/net/unix") as file:
        names = [line.split()[-1].replace("@", "\0", 1) for line in file if "@" in line]
    for name in names:
        attempt(f"abstract {name[1:]}", lambda name=name: connect(socket.AF_UNIX, name))
    attempt("vsock", lambda: connect(40, (2, 1024)))
    attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).fileno())
    attempt("raw", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).fileno())
    attempt("icmp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).fileno())
    attempt("interfaces", lambda: outside())


def outside():
    with open("/proc/net/dev") as file:
        others = [line.split(":")[0].strip() for line in file.readlines()[2:]]
    if set(others) - {"lo"}:
        return others
    raise OSError("no interface but lo")


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
