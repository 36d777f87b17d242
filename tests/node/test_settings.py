"""Settings come from flag, environment, file and default, and a wrong one is named with its place."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import BadSettings
from node import settings


def test_defaults_without_a_file(tmp_path):
    chosen = settings.load(tmp_path / "none.toml", environ={})
    assert (chosen.track, chosen.sandbox, chosen.experiments) == ("sotu", "any", 0)
    with pytest.raises(FrozenInstanceError):
        chosen.track = "other"


def test_flag_before_environment_before_file_before_default(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('name = "file"\nhours = "1-2"\nproposer = "command:x"\n')
    environ = {"AUTORESEARCH_NAME": "environment", "AUTORESEARCH_HOURS": "3-4", "AUTORESEARCH_KEEP_ALPHA": "0.1"}
    chosen = settings.load(path, flags={"name": "flag", "experiments": None}, environ=environ)
    assert (chosen.name, chosen.hours, chosen.proposer, chosen.keep_alpha) == ("flag", "3-4", "command:x", 0.1)
    sources = {found.name: found.source for found in settings.origins(path, flags={"name": "flag"}, environ=environ)}
    assert sources["name"] == "flag"
    assert sources["hours"] == "AUTORESEARCH_HOURS"
    assert sources["proposer"] == str(path)
    assert sources["device"] == "default"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('# a\nhuors = "1-2"\n', "line 2: there is no setting 'huors': did you mean hours?"),
        ("\n\nhours = 5\n", "line 3: hours wants text in quotes, not '5'"),
        ("experiments = 1.5\n", "line 1: experiments wants a whole number"),
        ("experiments = true\n", "line 1: experiments wants a whole number"),
        ("experiments = -1\n", "line 1: experiments wants a number from 0"),
        ("keep_alpha = nan\n", "line 1: keep_alpha wants a number from 1e-06 to 0.5"),
        ('sandbox = "none"\n', "line 1: sandbox wants any, namespaces or bubblewrap"),
        ('name = "a\\u001b[31m"\n', "line 1: name wants at most 40 printable characters"),
        ('device = "gpu"\n', "line 1: device wants auto, all, cpu, mps"),
        ("[settings]\nname = 'a'\n", "line 1: there is no setting 'settings'"),
        ("x ==\n", "is not TOML"),
        ("name = 'a'\nname = 'b'\n", "is not TOML"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, content, said):
    path = tmp_path / "settings.toml"
    path.write_text(content)
    with pytest.raises(BadSettings) as caught:
        settings.load(path, environ={})
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match="not UTF-8"):
        settings.load(path, environ={})
    path.write_bytes(b"#" * (settings.FILE_BYTES_MAX + 1))
    with pytest.raises(BadSettings, match="larger than"):
        settings.load(path, environ={})
    path.unlink()
    path.mkdir()
    with pytest.raises(BadSettings, match="cannot be read"):
        settings.load(path, environ={})


def test_wrong_variables_and_flags_are_named(tmp_path):
    with pytest.raises(BadSettings, match=r"^AUTORESEARCH_EXPERIMENTS: experiments wants a whole number, not 'six'$"):
        settings.load(tmp_path / "none", environ={"AUTORESEARCH_EXPERIMENTS": "six"})
    with pytest.raises(BadSettings, match=r"^--hours: hours wants "):
        settings.load(tmp_path / "none", flags={"hours": "late"}, environ={})


def test_store_value_keeps_other_lines_and_comments(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('# mine\nhours = "1-2"  # at night\ntrack = "sotu"\n')
    settings.store_value(path, "hours", "22-07")
    settings.store_value(path, "name", 'quo"te\\')
    assert path.read_text() == '# mine\nhours = "22-07"\ntrack = "sotu"\nname = "quo\\"te\\\\"\n'
    settings.store_value(path, "track", None)
    settings.store_value(path, "device", None)
    assert settings.read_file(path) == {"hours": "22-07", "name": 'quo"te\\'}
    assert list(tmp_path.iterdir()) == [path]


@given(st.text(max_size=60))
def test_every_accepted_name_survives_the_file(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("settings") / "settings.toml"
    try:
        settings.store_value(path, "name", name)
    except BadSettings:
        assert not path.exists()
    else:
        assert settings.load(path, environ={}).name == name


@pytest.mark.parametrize("entry", fields(settings.Settings), ids=lambda entry: entry.name)
def test_every_setting_has_unit_and_help_and_a_right_default(entry):
    assert entry.metadata["unit"]
    assert len(entry.metadata["about"]) > 10
    assert settings.checked(entry.name, entry.default, "here") == entry.default
    if entry.name.endswith(("_s", "_bytes")):
        assert entry.metadata["unit"] in ("seconds", "bytes")


@pytest.mark.parametrize(
    ("hours", "minute", "left"),
    [
        ("", 0, 0),
        ("22-07", 23 * 60, 0),
        ("22-07", 6 * 60 + 59, 0),
        ("22-07", 7 * 60, 15 * 60),
        ("9-17", 8 * 60 + 30, 30),
        ("9-17", 17 * 60, 16 * 60),
        ("22:30-07:15", 7 * 60 + 14, 0),
        ("22:30-07:15", 22 * 60 + 29, 1),
        ("0-24", 23 * 60 + 59, 0),
    ],
)
def test_hours(hours, minute, left):
    assert settings.minutes_until_allowed(hours, minute) == left
    assert settings.may_run(hours, minute) == (left == 0)


@pytest.mark.parametrize("hours", ["22", "25-3", "3-3", "1:60-2", "a-b", "-", "22-07-09", "24:30-2"])
def test_wrong_hours(hours):
    with pytest.raises(ValueError):
        settings.parse_hours(hours)


@pytest.mark.parametrize(
    ("name", "typed", "allowed"),
    [
        ("memory_bytes", "5", "0, or a number from 67108864 to 1125899906842624"),
        ("disk_free_bytes", "5", "0, or a number from 1048576 to 1125899906842624"),
        ("log_bytes_max", "5", "from 1024 to 1048576"),
        ("claim_ttl_s", "5", "from 60 to 604800"),
        ("keep_alpha", "0.9", "from 1e-06 to 0.5"),
        ("memory_bytes", "9" * 4000, "67108864"),
        ("memory_bytes", "9" * 5000, "a whole number"),
        ("keep_alpha", "nan", "from 1e-06"),
        ("experiments", "-1", "from 0 to 1000000000"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_what_is_allowed(name: str, typed: str, allowed: str) -> None:
    with pytest.raises(BadSettings) as caught:
        settings.from_text(name, typed, "config set")
    assert allowed in str(caught.value)
    assert len(str(caught.value)) < 200


def test_zero_still_means_what_the_track_allows() -> None:
    assert settings.from_text("memory_bytes", "0", "x") == 0
    assert settings.from_text("memory_bytes", "67_108_864", "x") == 2**26


@pytest.mark.parametrize(
    "content",
    [
        f"experiments = {'9' * 5000}",
        f"experiments = 0x{'f' * 5000}",
        f"keep_alpha = 0x{'f' * 5000}",
        f"name = [0x{'f' * 5000}]",
        "name = " + "[" * 5000,
        "name = " + "{a=" * 5000,
        "a" + ".a" * 5000 + " = 1",
        "experiments = 1e400",
    ],
)
def test_a_file_that_is_hard_to_read_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.toml").write_text(content)
    with pytest.raises(BadSettings) as caught:
        settings.load(tmp_path / "settings.toml", environ={})
    assert len(str(caught.value)) < 400


def test_what_is_typed_is_stored_composed(tmp_path: Path) -> None:
    assert settings.from_text("name", "cafe\u0301", "x") == "caf\u00e9"
    (tmp_path / "settings.toml").write_text('name = "cafe\u0301"')
    assert settings.load(tmp_path / "settings.toml", environ={}).name == "caf\u00e9"
