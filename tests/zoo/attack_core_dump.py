# Tries: to have the host's handler of crashes run on memory of its making.
import ctypes
import os
import resource


def main():
    print(resource.getrlimit(resource.RLIMIT_CORE))
    with open("/proc/sys/kernel/core_pattern") as file:
        print("SAW", file.read())
    pid = os.fork()
    if pid == 0:
        ctypes.string_at(0)
    _, status = os.waitpid(pid, 0)
    print("OBTAINED a core dump" if os.WCOREDUMP(status) else "no core was dumped", status)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
