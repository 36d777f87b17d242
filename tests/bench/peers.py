"""Logs results with a script of 25 kB into a peer's local store, and asks it for the top 20: a program on its own.

Run as `python peers.py NAME FOLDER COUNT` in an environment that has the peer. Prints one JSON object: results logged a
second, median seconds for the top 20 of COUNT, bytes on disk for each. Every peer is used as its documentation says,
one process, one run a result.
"""

import json
import random
import statistics
import sys
import time
from pathlib import Path

TOP = 20
ASKED = 5


def scripts(count):
    """Yields scripts of 25 kB, each the one before with one line changed."""
    dice = random.Random(1)
    lines = [f"    line_{n} = {dice.randrange(10**6)} * width + offset_{dice.randrange(99)}" for n in range(640)]
    for number in range(count):
        lines[dice.randrange(len(lines))] = f"    edited_{number} = {dice.randrange(10**6)} * depth + 1"
        yield "\n".join(lines)


def value(number):
    return 1.5 + random.Random(number).expovariate(4)


def mlflow(folder, count):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    experiment = mlflow.create_experiment("bench", artifact_location=f"file://{folder}/artifacts")

    def log(number, script):
        with mlflow.start_run(experiment_id=experiment):
            mlflow.log_param("lr", number)
            mlflow.log_metric("val_bpb", value(number))
            mlflow.log_text(script, "train.py")

    def top():
        return mlflow.search_runs([experiment], order_by=["metrics.val_bpb ASC"], max_results=TOP, output_format="list")

    return log, top


def trackio(folder, count):
    import os

    os.environ["TRACKIO_DIR"] = str(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    def log(number, script):
        run = trackio.init(project="bench", name=f"run-{number}", config={"script": script}, embed=False)
        run.log({"val_bpb": value(number)})
        run.finish()

    def top():
        found = []
        for name in SQLiteStorage.get_runs("bench"):
            logs = SQLiteStorage.get_logs("bench", name if isinstance(name, str) else name["name"])
            found += [(entry["val_bpb"], name) for entry in logs if "val_bpb" in entry]
        return sorted(found, key=lambda pair: pair[0])[:TOP]

    return log, top


def optuna(folder, count):
    import optuna

    optuna.logging.disable_default_handler()
    url = f"sqlite:///{folder}/optuna.db"
    study = optuna.create_study(storage=url, study_name="bench")

    def log(number, script):
        trial = study.ask()
        trial.suggest_float("lr", 0, 1)
        trial.set_user_attr("script", script)
        study.tell(trial, value(number))

    def top():
        trials = optuna.load_study(storage=url, study_name="bench").get_trials(deepcopy=False)
        return sorted((trial for trial in trials if trial.value is not None), key=lambda trial: trial.value)[:TOP]

    return log, top


def main():
    name, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    log, top = {"mlflow": mlflow, "trackio": trackio, "optuna": optuna}[name](folder, count)
    began = time.perf_counter()
    for number, script in enumerate(scripts(count)):
        log(number, script)
    rate = count / (time.perf_counter() - began)
    times = []
    for _ in range(ASKED):
        began = time.perf_counter()
        assert len(top()) == min(TOP, count)
        times.append(time.perf_counter() - began)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(json.dumps({"rate": rate, "top_s": statistics.median(times), "bytes": size / count, "count": count}))


if __name__ == "__main__":
    main()
