# Tries: to leave a note for its next run in every place that it can write to, and to find one.
import os

NOTE = "note-to-self"


def main():
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys", "/usr")]
        if NOTE in files:
            print("OBTAINED a note in", folder)
        try:
            with open(os.path.join(folder, NOTE), "w") as file:
                file.write("remember me")
            print("left a note in", folder)
        except OSError:
            pass


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
