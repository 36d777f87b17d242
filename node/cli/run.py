"""`autoresearch run FILE`: what would a node find? One train.py in the sandbox, measured, and published nowhere."""

from __future__ import annotations

import secrets
import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import BadScript
from node import settings, text
from node.cli import output
from node.cli.main import INTERRUPTED, Sentence
from node.cli.meter import Meter
from node.home import Home, default_home

if TYPE_CHECKING:
    from experiments.runner import Event
    from experiments.track import Track
    from node.tryout import Bench, Tryout

SEED_BITS = 31
OUTPUT_LINES = 20
OUTPUT_CHARACTERS = 4000


class Interrupts:
    """Turns the first Ctrl-C into a clean end; the second ends at once."""

    def __init__(self) -> None:
        self.stopping = False
        self._before = signal.signal(signal.SIGINT, self._received)

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True

    def control(self) -> str:
        """Return what the runner should do."""
        return "stop" if self.stopping else "run"

    def restore(self) -> None:
        """Give the signal back."""
        signal.signal(signal.SIGINT, self._before)


class Watch:
    """Shows the events of one run."""

    def __init__(self, track: Track, meter: Meter) -> None:
        self._track = track
        self._meter = meter
        self._phase = "starting"

    def __call__(self, event: Event) -> None:
        """Show one event."""
        from experiments import runner

        if isinstance(event, runner.Phase):
            self._phase = event.name
            self._meter(event.name, 0.0)
        elif isinstance(event, runner.Progress):
            loss = "" if event.loss is None else f" · loss {event.loss:.3f}"
            self._meter(self._phase, event.fraction, f"{event.time_left_s:.0f} s left{loss}")


@click.command(short_help="Run one train.py as the agent would; publishes nothing.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(0, 2**SEED_BITS - 1), help="The run's seed; default: drawn.")
@click.option("--device", metavar="D", help="cpu, cuda:0, mps; default: the setting.")
@output.of_track
@output.as_json
@click.pass_context
def run(
    context: click.Context, file: Path, seed: int | None, device: str | None, track: str | None, in_json: bool
) -> None:
    """Run FILE in the sandbox with the track's clock and scorer, and judge it against the best that is known.

    Exit 0 with a value, 1 where the script crashed, timed out or was refused.
    """
    from experiments import track as tracks
    from node import script, tryout

    home = default_home()
    chosen = settings.load(home.settings, flags={"track": track, "device": device})
    found = tracks.load(chosen.track)
    try:
        source = script.read(file, found.source_bytes_max).encode()
    except BadScript as error:
        if in_json and file.is_file():
            output.print_json(_refused(found, file, str(error)))
        raise
    home.create()
    meter = Meter(silent=in_json)
    data = tracks.prepare(found, home.data, meter)
    bench = tryout.set_up(home, chosen, found, data)
    drawn = secrets.randbits(SEED_BITS) if seed is None else seed
    interrupts = Interrupts()
    try:
        done = tryout.run(bench, source, seed=drawn, on_event=Watch(found, meter), control=interrupts.control)
    finally:
        interrupts.restore()
        meter.end()
    _report(home, bench, done, source, in_json)
    if done.status == "abandoned":
        context.exit(INTERRUPTED)
    if done.verdict is None:
        raise Sentence(f"{file.name} {done.status.replace('_', ' ')}: {done.outcome.reason}")


def _report(home: Home, bench: Bench, done: Tryout, source: bytes, in_json: bool) -> None:
    if in_json:
        output.print_json(_document(home, bench, done, source))
        return
    mark = click.style(
        f"{output.MARKS.get(done.status, '○')} {done.status.replace('_', ' ')}", fg=output.COLOURS.get(done.status)
    )
    metric = bench.track.metric
    if done.verdict is None:
        click.echo(f"{mark}  no value")
        _print_output(done.output)
    else:
        click.echo(f"{mark}  {click.style(f'{metric} {text.number(done.outcome.value)}', bold=True)}  {_judged(done)}")
    output.facts(_facts(done))
    if done.verdict is not None:
        output.note("Nothing was published; `autoresearch submit FILE` lets nodes run it.")


def _judged(done: Tryout) -> str:
    verdict = done.verdict
    if verdict is None or verdict.gain is None or done.parent is None:
        return "no result to compare it with yet"
    best = f"the best, {text.number(done.parent.value)} ({done.parent.id[:10]})"
    if verdict.kept:
        return f"better than {best} by {verdict.gain:.4f}; noise explains {verdict.threshold:.4f}"
    if verdict.gain > 0:
        return f"{verdict.gain:.4f} better than {best}, which noise explains (up to {verdict.threshold:.4f})"
    return f"{-verdict.gain:.4f} worse than {best}"


def _print_output(words: str) -> None:
    last = words[-OUTPUT_CHARACTERS:].splitlines()[-OUTPUT_LINES:]
    if last:
        output.note("the end of what it printed:")
        for line in last:
            click.echo("  " + text.printable(line))


def _facts(done: Tryout) -> list[tuple[str, str]]:
    trained, outcome = done.trained, done.outcome
    pairs = []
    if outcome.holdout is not None:
        spread = "" if outcome.holdout_gap_sd is None else f" ± {outcome.holdout_gap_sd:.4f}"
        pairs.append(("hold-out", f"{text.number(outcome.holdout)}, gap {text.signed(outcome.holdout_gap)}{spread}"))
    share = "" if trained.cpu_share is None else f", share {trained.cpu_share:.0%}"
    pairs.append(("training", f"{text.seconds(trained.train_wall_s)}, processor {text.seconds(trained.cpu_s)}{share}"))
    spent = f"set-up {text.seconds(trained.setup_s)}, scoring {text.seconds(outcome.score_s)}"
    pairs.append(("besides", f"{spent}, node {text.seconds(done.overhead_s)}; all {text.seconds(done.wall_s)}"))
    pairs.append(("hardware", f"{done.hardware.hardware_class} on {done.hardware.device}, sandbox {done.level.name}"))
    pairs.append(("seed", str(done.seed)))
    return pairs


def _document(home: Home, bench: Bench, done: Tryout, source: bytes) -> dict[str, Any]:
    """Return the outcome with the fields of a result; `id` is null, because nothing was published."""
    found = _blank(bench.track, source, bench.chosen.name) | {
        "experiment": done.experiment,
        "author": _author(home),
        "status": done.status,
        "value": done.outcome.value,
        "seed": done.seed,
        "hardware_class": done.hardware.hardware_class,
        "parent": None if done.parent is None else done.parent.id,
        "wall_s": done.wall_s,
        "overhead_s": done.overhead_s,
        "device": done.hardware.device,
        "sandbox": done.level.name,
        "software": done.hardware.software,
        "output": done.output[-OUTPUT_CHARACTERS:],
    }
    found |= {name: getattr(done.trained, name) for name in ("setup_s", "train_wall_s", "cpu_s", "cpu_share")}
    found |= {"tokens_reported": done.trained.tokens_reported}
    found |= {
        name: getattr(done.outcome, name) for name in ("holdout", "holdout_gap", "holdout_gap_sd", "score_s", "checks")
    }
    if done.verdict is not None:
        found["judged"] = {name: getattr(done.verdict, name) for name in ("kept", "gain", "threshold")}
    else:
        found["reason"] = done.outcome.reason
    return found


def _blank(track: Track, source: bytes, name: str) -> dict[str, Any]:
    import hashlib

    return {
        "id": None,
        "experiment": None,
        "track": track.id,
        "author": None,
        "name": name,
        "status": "refused",
        "metric": track.metric,
        "direction": track.direction,
        "value": None,
        "seed": None,
        "hardware_class": None,
        "description": "run by hand",
        "parent": None,
        "level": "unpublished",
        "created_at": text.iso(int(time.time() * 1000)),
        "wall_s": 0.0,
        "cpu_s": 0.0,
        "overhead_s": 0.0,
        "source": hashlib.sha256(source).hexdigest(),
        "source_bytes": len(source),
    }


def _refused(track: Track, file: Path, reason: str) -> dict[str, Any]:
    """Return the outcome of a script that was not run at all."""
    with file.open("rb") as opened:
        return _blank(track, opened.read(track.source_bytes_max), "") | {"reason": reason}


def _author(home: Home) -> str | None:
    from ensue.identity import Identity

    return Identity.load(home.key).peer_id if home.key.exists() else None
