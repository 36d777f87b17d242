# Tries: to open files and sockets through io_uring, past a filter of system calls.
import ctypes


def call(name, number, *arguments):
    ctypes.set_errno(0)
    answer = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
    print("OBTAINED" if answer >= 0 else "refused", name, answer, ctypes.get_errno())
    return answer


def main():
    room = ctypes.create_string_buffer(4096)
    call("io_uring_setup", 425, 8, room)
    call("io_uring_enter", 426, 0, 1, 1, 0, 0, 0)
    call("io_uring_register", 427, -1, 0, room, 1)
    call("io_setup, the old way", 206, 0, room)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
