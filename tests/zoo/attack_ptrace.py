# Tries: to trace, read and kill other processes.
import ctypes
import os
import signal

PTRACE_ATTACH, PROCESS_VM_READV = 16, 310


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    for pid in {1, 2, os.getppid()} - {0, os.getpid()}:
        if libc.ptrace(PTRACE_ATTACH, pid, 0, 0) == 0:
            print("OBTAINED ptrace of", pid)
        buffer = ctypes.create_string_buffer(64)
        vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 64)
        if libc.syscall(PROCESS_VM_READV, pid, vector, 1, vector, 1, 0) > 0:
            print("OBTAINED memory of", pid)
    if len([name for name in os.listdir("/proc") if name.isdigit()]) > 8:
        raise SystemExit("OBTAINED a view of foreign processes; killing everyone is left out for the host's sake")
    try:
        os.kill(-1, signal.SIGKILL)
    except OSError as error:
        print("kill everyone:", error)
    for pid in range(2, 70_000):
        if pid != os.getpid():
            try:
                os.kill(pid, 0)
                print("OBTAINED a signal to", pid)
            except OSError:
                pass


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
