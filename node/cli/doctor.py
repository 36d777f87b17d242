"""`autoresearch doctor`: one verdict on this machine, line by line, with the fix beside each fault."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from node import text
from node.cli import output
from node.cli.main import INTERRUPTED
from node.cli.meter import Meter
from node.home import Home, default_home, open_replica

COLOURS = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "red"}
NAME_COLUMNS = 13


@click.command(short_help="Check whether research can run here, and what to mend.")
@click.option("--quick", is_flag=True, help="Leave out the device, whose trial takes some seconds.")
@click.option(
    "--backup-key", type=click.Path(path_type=Path), metavar="FILE", help="Copy this node's key to FILE first."
)
@click.option("--calibrate", is_flag=True, help="First measure how fast and how noisy this machine is; takes minutes.")
@click.option("--restored", is_flag=True, help="Say that this restored or copied home alone goes on; see below.")
@output.as_json
@click.pass_context
def doctor(
    context: click.Context, quick: bool, backup_key: Path | None, calibrate: bool, restored: bool, in_json: bool
) -> None:
    """Try everything that research needs; exit 1 if it cannot run.

    After a home was restored from a back-up, copied or moved, nothing is signed until its owner says with --restored
    that its key signed nothing since the back-up, and signs nowhere else. With --calibrate a few runs of the track's
    baseline are made and what they measured is signed, as a node does by the way.
    """
    from node import doctor as examination
    from node import homecheck

    home = default_home()
    if backup_key is not None:
        homecheck.back_up_key(home, backup_key)
    if restored:
        words = homecheck.confirm_own_log(home)
        if not in_json:
            click.echo(words)
    if calibrate and not _calibrated(home, silent=in_json):
        context.exit(INTERRUPTED)
    checks = []
    for check in examination.examine(home, quick=quick):
        checks.append(check)
        if not in_json:
            verdict = click.style(f"{check.verdict:4}", fg=COLOURS[check.verdict], bold=check.verdict == "fail")
            click.echo(f"{verdict}  {text.pad(check.name, NAME_COLUMNS)} {text.printable(check.found)}")
            if check.fix:
                click.echo(f"{'':6}{'':{NAME_COLUMNS}} {click.style('→ ' + text.printable(check.fix), fg='cyan')}")
    verdict = examination.worst(checks)
    if in_json:
        output.print_json({"verdict": verdict, "checks": [asdict(check) for check in checks]})
    else:
        click.echo()
        click.secho(_words(verdict), fg=COLOURS[verdict], bold=True)
    if verdict == "fail":
        context.exit(1)


def _calibrated(home: Home, *, silent: bool) -> bool:
    """Measure this machine on the track of the settings, and sign it; return False where Ctrl-C came first.

    Raises UserError where there is no node, or one is at work, and ExperimentError where the baseline has no value.
    """
    from ensue.errors import ExperimentError
    from experiments import track as tracks
    from node import byhand, settings
    from node.balance import note_time
    from node.calibrating import Calibrator
    from node.cli.replicate import Watch

    chosen = settings.load(home.settings)
    track = tracks.load(chosen.track)
    meter = Meter(silent=silent)
    watch = Watch(meter, silent=silent)
    with open_replica(home) as store, byhand.held(home, store):
        place = byhand.place(home, chosen, store, track, meter)
        measuring = byhand.measuring(place, watch.event, watch.say)
        calibrator = Calibrator(place, measuring, trying=watch.trying, said=watch.say, spent=note_time(place))
        signed = calibrator.run_all()
        meter.end()
        if signed is None and not measuring.control.stopping:
            raise ExperimentError(
                "the baseline has no value here: run `autoresearch run FILE` on it, and mend what it says"
            )
    return signed is not None


def _words(verdict: str) -> str:
    if verdict == "fail":
        return "Research cannot run here until what failed is mended."
    if verdict == "warn":
        return "Research can run; what is marked would make it better."
    return "All is well: `autoresearch join` starts research."
