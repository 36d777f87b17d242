# Tries: to connect to every port of the host's loopback, and to every kind of socket there is.
import errno
import socket


def main():
    opened = 0
    for family in range(1, 46):
        if family == socket.AF_UNIX:
            continue
        for kind in (1, 2, 3, 5):
            try:
                with socket.socket(family, kind):
                    print("OBTAINED a socket of family", family, "kind", kind)
            except OSError:
                pass
    for port in range(1, 65_536):
        try:
            with socket.socket() as one:
                one.settimeout(0.01)
                opened += 1
                one.connect(("127.0.0.1", port))
                print("OBTAINED port", port)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                break
    print("tried", opened)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
