"""The owner's settings: one frozen object, read once, from flag, environment, file and default in this order.

Leaves out what is frozen in a track: budget, limits of the scorer, data. One settings object with every limit was
preferred to constants spread over modules, so that `autoresearch config` can show all there is to decide.
"""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, cast

from ensue.errors import BadSettings

Value = str | int | float

ENVIRONMENT_PREFIX: Final = "AUTORESEARCH_"
NAME_CHARACTERS: Final = 8
MINUTES_A_DAY: Final = 24 * 60
FILE_BYTES_MAX: Final = 64 * 1024
SERVING: Final = "serving others"  # what a node says that it does while the setting research is off


def parse_hours(text: str) -> tuple[int, int] | None:
    """Return the first and the last minute of the day of "22-07" or "22:30-07:15"; None for the empty text (always)."""
    if not text.strip():
        return None
    match = re.fullmatch(r"\s*(\d{1,2})(?::(\d{2}))?\s*-\s*(\d{1,2})(?::(\d{2}))?\s*", text)
    if match is None:
        raise ValueError('hours like "22-07" or "22:30-07:15", or "" for always')
    first, last = (int(match[i]) * 60 + int(match[i + 1] or 0) for i in (1, 3))
    if any(int(match[i + 1] or 0) > 59 for i in (1, 3)) or max(first, last) > MINUTES_A_DAY:
        raise ValueError("hours between 0 and 24 and minutes below 60")
    if first == last:
        raise ValueError('two different hours, or "" for always')
    return first, last


def may_run(hours: str, minute_of_day: int) -> bool:
    """Return whether research may run at a local minute of the day (0 to 1439); hours may pass midnight."""
    return minutes_until_allowed(hours, minute_of_day) == 0


def minutes_until_allowed(hours: str, minute_of_day: int) -> int:
    """Return the minutes from a local minute of the day until research may run; 0 means now."""
    span = parse_hours(hours)
    if span is None:
        return 0
    first, last = span
    inside = first <= minute_of_day < last if first < last else minute_of_day >= first or minute_of_day < last
    return 0 if inside else (first - minute_of_day) % MINUTES_A_DAY


def _text(longest: int) -> Callable[[Value], str | None]:
    def check(value: Value) -> str | None:
        words = str(value)
        fits = len(words) <= longest and words.isprintable()
        return None if fits else f"at most {longest} printable characters"

    return check


def _between(low: float, high: float, *, or_zero: bool = False) -> Callable[[Value], str | None]:
    def check(value: Value) -> str | None:
        assert not isinstance(value, str)
        fits = low <= value <= high or (or_zero and value == 0)
        return None if fits else f"{'0, or ' if or_zero else ''}a number from {_figure(low)} to {_figure(high)}"

    return check


def _figure(number: float) -> str:
    """Return a bound as people write it: 67108864, 604800, 0.5, 1e-06."""
    return str(int(number)) if number == int(number) and abs(number) < 1e16 else f"{number:g}"


def _hours(value: Value) -> str | None:
    try:
        parse_hours(str(value))
    except ValueError as error:
        return str(error)
    return None


def _matches(pattern: str, wanted: str) -> Callable[[Value], str | None]:
    def check(value: Value) -> str | None:
        return None if re.fullmatch(pattern, str(value)) else wanted

    return check


def _switch(value: Value) -> str | None:
    return None if value in ("on", "off") else "on or off"


def _devices(value: Value) -> str | None:
    names = str(value).split(",")
    known = all(re.fullmatch(r"(cpu|cuda)(:\d{1,3})?|mps", name) for name in names)
    once = len({name if ":" in name else f"{name}:0" for name in names}) == len(names)
    if value in ("auto", "all") or (known and once):
        return None
    return "auto, all, cpu, mps, cuda, cuda:N, or several of these with commas between"


def _setting(default: Value, unit: str, about: str, check: Callable[[Value], str | None]) -> Any:
    return field(default=default, metadata={"unit": unit, "about": about, "check": check})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an owner may decide; each field carries its unit, a help text and a check in its metadata."""

    name: str = _setting("", "text", "how others see this node; empty: the beginning of its peer id", _text(40))
    track: str = _setting("sotu", "name or folder", "the research problem to work on", _text(400))
    device: str = _setting(
        "auto",
        "device",
        "auto, all, cpu, mps, cuda:N, or several with commas between: a worker each",
        _devices,
    )
    proposer: str = _setting(
        "optuna",
        "proposer",
        "optuna, or command:PROGRAM that answers with a script",
        _matches(r"optuna|command:.{1,400}", "optuna or command:PROGRAM"),
    )
    proposer_timeout_s: int = _setting(
        300, "seconds", "how long a proposer that is a program may think about one answer", _between(1, 86400)
    )
    hours: str = _setting("", "local hours", 'when research may run, as "22-07"; empty: always', _hours)
    experiments: int = _setting(0, "experiments", "stop after this many; 0: go on until stopped", _between(0, 10**9))
    keep_alpha: float = _setting(
        0.05, "probability", "how often noise alone may pass for a gain when a result is kept", _between(1e-6, 0.5)
    )
    research: str = _setting(
        "on", "on or off", "run experiments; off: keep the memory and serve others, as a bootstrap node does", _switch
    )
    swarm: str = _setting("on", "on or off", "take part in the network; off: alone", _switch)
    swarm_listen: str = _setting(
        "",
        "multiaddresses",
        "where others may dial, with commas between; empty: every interface, on a port that is kept",
        _text(400),
    )
    swarm_announce: str = _setting(
        "", "multiaddresses", "what others are told to dial instead, as where a router forwards a port", _text(400)
    )
    swarm_relay: str = _setting("on", "on or off", "reach others, and be reached, through peers that relay", _switch)
    swarm_nat: str = _setting(
        "on", "on or off", "ask the router for a port, and let others test whether this node can be dialed", _switch
    )
    swarm_lan: str = _setting("on", "on or off", "find peers on the local network by multicast", _switch)
    swarm_dht: str = _setting("on", "on or off", "find peers through the distributed hash table", _switch)
    claim_ttl_s: int = _setting(
        300,
        "seconds",
        "how long a claim keeps others from the same experiment after this node was last heard",
        _between(60, 7 * 86400),
    )
    log_bytes_max: int = _setting(
        64 * 1024, "bytes", "how much of a run's output is kept, head and tail", _between(1024, 1024**2)
    )
    memory_bytes: int = _setting(
        0, "bytes", "memory an experiment may take; 0: what the track allows", _between(2**26, 2**50, or_zero=True)
    )
    disk_free_bytes: int = _setting(
        256 * 1024**2, "bytes", "room that research leaves free on the disk", _between(2**20, 2**50, or_zero=True)
    )
    unverified_mib: int = _setting(
        512,
        "MiB",
        "how much of the memory is kept of keys that no verifier vouches for; beyond it the quietest are forgotten",
        _between(1, 2**20),
    )
    sandbox: str = _setting(
        "any",
        "any, namespaces or bubblewrap",
        "any: the strongest wall there is, and never none; else the weakest that will do",
        _matches("any|namespaces|bubblewrap", "any, namespaces or bubblewrap"),
    )
    verifier_listen: str = _setting(
        "auto",
        "auto, HOST:PORT or off",
        "where the verifier in this home answers while the node runs, if there is one; auto: where its verifier.toml"
        " says, and without a word there on loopback at any port",
        _matches(r"auto|off|\S{1,100}:\d{1,5}", "auto, HOST:PORT, or off"),
    )
    ideas_share: float = _setting(
        0.5, "share", "the largest share of experiments that try people's hypotheses", _between(0.0, 1.0)
    )
    replication_share: float = _setting(
        0.2,
        "share",
        "the share of time given to rerunning others' results; 0: not available for it",
        _between(0.0, 1.0),
    )


def own_name(chosen: Settings, peer_id: str) -> str:
    """Return what a node calls itself in its records: the name chosen, or one made from the end of its peer id."""
    return chosen.name or f"node-{peer_id[-NAME_CHARACTERS:]}"


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting as it stands: its value and where the value comes from."""

    name: str
    value: Value
    source: str
    unit: str
    about: str


def load(
    path: Path, *, flags: Mapping[str, Value | None] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings of flag > environment > file > default; flags that are None do not count.

    Raises BadSettings naming the file and line, the variable or the flag with the wrong value.
    """
    return Settings(**{origin.name: origin.value for origin in origins(path, flags=flags, environ=environ)})  # type: ignore[arg-type]


def origins(
    path: Path, *, flags: Mapping[str, Value | None] | None = None, environ: Mapping[str, str] | None = None
) -> list[Origin]:
    """Return every setting with its value and its source, in the order of `Settings`."""
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    variables = os.environ if environ is None else environ
    in_file = read_file(path)
    found = []
    for entry in fields(Settings):
        variable = ENVIRONMENT_PREFIX + entry.name.upper()
        if entry.name in given:
            value, source = checked(entry.name, given[entry.name], f"--{entry.name.replace('_', '-')}"), "flag"
        elif variables.get(variable):
            value, source = from_text(entry.name, variables[variable], variable), variable
        elif entry.name in in_file:
            value, source = in_file[entry.name], str(path)
        else:
            value, source = cast(Value, entry.default), "default"
        found.append(Origin(entry.name, value, source, entry.metadata["unit"], entry.metadata["about"]))
    return found


def read_file(path: Path) -> dict[str, Value]:
    """Return the checked settings of a TOML file, empty without the file; raise BadSettings naming file and line."""
    text = _file_text(path)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # too many digits are no TOMLDecodeError
        raise BadSettings(f"{path} is not TOML: {error}: mend that line, or delete the file") from error
    return {name: checked(name, value, f"{path} line {_line_of(text, name)}") for name, value in table.items()}


def from_text(name: str, text: str, where: str) -> Value:
    """Return the value of a setting from what a person typed; raise BadSettings naming `where`."""
    kind = type(_field(name, where).default)
    if kind is str:
        return checked(name, text, where)
    try:
        return checked(name, int(text.replace("_", "")) if kind is int else float(text), where)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise BadSettings(f"{where}: {name} wants {wanted}, not {text[:60]!r}") from error


def checked(name: str, value: object, where: str) -> Value:
    """Return a setting's value in its own type if it is a right one; raise BadSettings naming `where`."""
    entry = _field(name, where)
    kind = type(entry.default)
    if kind is str and isinstance(value, str):
        value = unicodedata.normalize("NFC", value)
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if type(value) is not kind:
        wanted = {str: "text in quotes", int: "a whole number", float: "a number"}[kind]
        raise BadSettings(f"{where}: {name} wants {wanted}, not {_said(value)}")
    problem = entry.metadata["check"](value)
    if problem is not None:
        raise BadSettings(f"{where}: {name} wants {problem}, not {_said(value)}")
    return value  # type: ignore[return-value]


def _said(value: object) -> str:
    """Return a wrong value as a message shows it; Python refuses to print whole numbers of thousands of digits."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return "a number that large"
    if isinstance(value, list | dict):  # such numbers may be inside
        return "a list" if isinstance(value, list) else "a table"
    return repr(str(value)[:60])


def store_value(path: Path, name: str, value: Value | None) -> None:
    """Write one setting to the file, or take it out (None); other lines and comments stay, the change is atomic."""
    read_file(path)
    _field(name, "config")
    lines = _file_text(path).splitlines()
    at = next((i for i, line in enumerate(lines) if re.match(rf"\s*{name}\s*=", line)), None)
    if value is not None:
        line = f"{name} = {_toml(checked(name, value, 'config'))}"
        lines = [*lines, line] if at is None else [*lines[:at], line, *lines[at + 1 :]]
    elif at is not None:
        lines = lines[:at] + lines[at + 1 :]
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise BadSettings(f"{path} cannot be written ({error.strerror}): check its rights and the disk") from error


def _toml(value: Value) -> str:
    """Return a checked value as TOML; texts are printable, so only quotes and backslashes need care."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def _file_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise BadSettings(f"{path} is larger than {FILE_BYTES_MAX} bytes, so no settings file: shorten it")
        return data.decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path} is not UTF-8 text: save it as UTF-8, or delete it to start from defaults") from error
    except OSError as error:
        raise BadSettings(f"{path} cannot be read ({error.strerror}): give its owner the right to read it") from error


def _line_of(text: str, name: str) -> int:
    """Return the number of the line that sets `name`, 1 where it cannot be told."""
    pattern = re.compile(rf"\s*(\[\s*)?[\"']?{re.escape(name)}\b")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _field(name: str, where: str) -> Field[Any]:
    for entry in fields(Settings):
        if entry.name == name:
            return entry
    import difflib

    near = difflib.get_close_matches(name, [entry.name for entry in fields(Settings)], n=1)
    hint = f"did you mean {near[0]}?" if near else "`autoresearch config` lists what there is"
    raise BadSettings(f"{where}: there is no setting {name[:60]!r}: {hint}")
