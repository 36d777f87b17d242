# Tries: to become root through a program that runs as root: su, sudo, mount, passwd, and copies of its own.
import os
import shutil
import subprocess


def main():
    found = []
    for folder in ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/bin", "/sbin"):
        for where, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(where, name)
                try:
                    mode = os.lstat(path).st_mode
                except OSError:
                    continue
                if mode & 0o6000 and mode & 0o170000 == 0o100000:
                    found.append(path)
    print(len(found), "programs with the bit")
    for path in [*found, "/scratch/own"]:
        if path == "/scratch/own":
            shutil.copyfile("/usr/bin/id", path)
            os.chmod(path, 0o6755)
        try:
            done = subprocess.run([path, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=0.5)
            print(path, done.returncode)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(path, error)
    for word in ("Uid:", "Gid:", "CapEff:", "CapPrm:", "CapBnd:", "CapAmb:", "NoNewPrivs:"):
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith(word))
        print(line.strip())
        if word in ("CapEff:", "CapPrm:", "CapAmb:") and int(line.split()[1], 16):
            print("OBTAINED", line)
    if os.getresuid()[0] == 0 or os.geteuid() == 0:
        print("OBTAINED uid 0")
    with open("/proc/self/status") as file:
        if "NoNewPrivs:\t1" not in file.read():
            print("OBTAINED a way to gain rights by exec")


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
