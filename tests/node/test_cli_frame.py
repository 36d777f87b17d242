"""The frame of the command line: help, unknown commands, exit codes, colours."""

import resource
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from node.cli.main import INTERRUPTED, SECTIONS, cli

NAMES = [name for commands in SECTIONS.values() for name in commands]


def test_help_lists_every_command_of_this_version(invoke):
    shown = invoke("--help").stdout
    for name in [
        "join",
        "status",
        "pause",
        "resume",
        "doctor",
        "run",
        "leaderboard",
        "best",
        "show",
        "diff",
        "log",
        "lineage",
        "search",
    ]:
        assert f"  {name} " in shown
    assert sorted(NAMES) == sorted(set(NAMES))


@pytest.mark.parametrize("name", list(NAMES))
def test_the_help_line_of_the_list_is_the_command_s_own(name, invoke):
    command = cli.get_command(click.Context(cli), name)
    lines = {found: about for commands in SECTIONS.values() for found, (_, about) in commands.items()}
    assert command.get_short_help_str(200) == lines[name]
    assert "Usage: autoresearch" in invoke(name, "--help").stdout


@pytest.mark.parametrize("name", list(NAMES))
def test_every_option_has_a_help(name):
    for parameter in cli.get_command(click.Context(cli), name).params:
        assert isinstance(parameter, click.Argument) or parameter.help


def test_wrong_usage_exits_with_2(invoke):
    assert "Did you mean 'leaderboard'?" in invoke("leaderbord", code=2).stderr
    invoke("leaderboard", "--nonsense", code=2)
    invoke("show", code=2)


def test_an_interrupt_exits_with_130(monkeypatch):
    @click.command()
    def stops() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(cli), "get_command", lambda *_: stops)
    assert CliRunner().invoke(cli, ["log"]).exit_code == INTERRUPTED


def test_help_is_fast(home):
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "node.cli.main", "--help"], check=True, capture_output=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(spent) < 0.3


def test_a_closed_pipe_is_no_error(research, tmp_path):
    command = f"{sys.executable} -m node.cli.main log --limit 1000 --json 2>{tmp_path}/err | head -c 1 >/dev/null"
    subprocess.run(["sh", "-c", command], check=True, timeout=60)
    assert (tmp_path / "err").read_text() == ""


def test_colours_only_on_a_terminal(research, invoke, monkeypatch):
    assert "\x1b[" not in invoke("leaderboard").stdout
    assert "\x1b[32m" in invoke("leaderboard", color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in invoke("leaderboard", color=True).stdout


def test_config_lists_sets_and_unsets(home, invoke):
    assert "log_bytes_max" in invoke("config").stdout
    invoke("config", "set", "hours", "22-07")
    assert "22-07" in invoke("config").stdout
    assert 'hours = "22-07"' in home.settings.read_text()
    invoke("config", "unset", "hours")
    assert home.settings.read_text() == ""
    assert "did you mean hours?" in invoke("config", "set", "hour", "1", code=1).stderr
    assert "wants a whole number" in invoke("config", "set", "experiments", "many", code=1).stderr
    assert invoke("config", "path").stdout.strip() == str(home.settings)
