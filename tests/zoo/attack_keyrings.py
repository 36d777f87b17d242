# Tries: to read the keys that the kernel keeps for the user, and to leave some.
import contextlib
import ctypes


def call(name, number, *arguments):
    ctypes.set_errno(0)
    answer = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
    print("OBTAINED" if answer >= 0 else "refused", name, answer, ctypes.get_errno())
    return answer


def main():
    for ring in range(-8, 0):
        call(f"keyctl describe {ring}", 250, 6, ring, ctypes.create_string_buffer(256), 256)
        call(f"keyctl read {ring}", 250, 11, ring, ctypes.create_string_buffer(256), 256)
        call(f"add_key {ring}", 248, b"user", b"note", b"secret", 6, ring)
    call("request_key", 249, b"user", b"note", 0, -4)
    for path in ("/proc/keys", "/proc/key-users"):
        with contextlib.suppress(OSError), open(path) as file:
            print("SAW", path, len(file.read()))


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
