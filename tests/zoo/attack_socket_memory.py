# Tries: to hold memory and descriptors in flight: sockets full of sockets.
import socket
import time


def main():
    held, sent = [], 0
    try:
        while True:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            held += [ours, theirs]
            try:
                while True:
                    socket.send_fds(ours, [b"x" * 16_384], [one.fileno() for one in held[:100]])
                    sent += 16_384
            except OSError as error:
                if error.errno not in (11, 109):
                    raise
    except OSError as error:
        print("holding", sent >> 20, "MiB in", len(held), "sockets, then", error, flush=True)
    time.sleep(0.5)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
