"""The zoo's table by creature, as Markdown. Leaves out how it was measured."""

from collections.abc import Sequence

from zoo_visit import Honest, Visit

HEAD = """# The zoo

What became of every creature of [`tests/zoo/`](../tests/zoo), run as a node runs a script: trained and scored in the
sandbox, by the real supervisor and scorer, on the tiny track or the one that is named. `make zoo` runs all of it and
writes this page; a part that takes a minute is in `make test`. [Why the number can be
believed](explanation/measuring.md) tells what stands behind each verdict.

How to read it: **value** is in bits per byte, lower is better; a cheat that is scored is worth {worth:.4f}, what its
counting of pairs is worth without the cheat, or more. **Host** is the longest that another process of the machine
waited, during this creature, for a small round of work: writing and reading a file, starting a program and waiting for
its end. Attacks are tried twice, in the training and by the model that is scored.
"""
REASON_CHARS = 100
TOO_WORDY = (
    "train.py ended without calling start(), so it never had training data: ",
    "the model could not be loaded or asked: ", "SystemExit: ",
)  # fmt: skip


def page(visits: Sequence[Visit], honest: Sequence[Honest], lines: Sequence[tuple[str, str, str, float | None]],
         facts: Sequence[str], worth: float) -> str:
    """Returns the whole document."""
    parts = [HEAD.format(worth=worth), "\n".join(f"- {fact}" for fact in facts), "", *_summary(visits, honest), ""]
    for kind, title in (("cheat", "Cheats"), ("attack", "Attacks")):
        rows = [_row(one) for one in visits if one.creature.kind == kind]
        heads = ["| creature | tries | ended | value | host, ms |", "|---|---|---|--:|--:|"]
        parts += [f"## {title}", "", *heads, *rows, ""]
    parts += ["## Honest scripts", "", "Each is trained once and scored again and again by fresh instances.", "",
              "| script | what it is | value | scored | refused | largest difference, nats |",
              "|---|---|--:|--:|--:|--:|",
              *map(_honest_row, honest), ""]
    if lines:
        parts += ["## By the command line", "", "`autoresearch run FILE --json --track tests/tracks/tiny`", "",
                  "| creature | status | value | reason |", "|---|---|--:|---|"]
        for name, status, reason, value in lines:
            parts += [f"| {name} | {status} | {_value(value)} | {_plain(_short(reason))} |"]
        parts += [""]
    return "\n".join(parts)


def _summary(visits: Sequence[Visit], honest: Sequence[Honest]) -> list[str]:
    opened = [one for one in visits if one.creature.open]
    waits = [(one.slowest_s, one.creature.name) for one in visits]
    slowest_s, name = max(waits, default=(0.0, "none"))
    scored = sum(len(one.values) for one in honest)
    refused = sum(len(one.refusals) for one in honest)
    return [
        "| | |", "|---|--:|",
        f"| creatures | {len(visits)} |",
        f"| gained something | {sum(one.gained for one in visits)} |",
        f"| obtained something of the host | {sum(bool(one.obtained) for one in visits)} |",
        f"| canaries read, doors opened | {sum(one.canaries for one in visits)} |",
        f"| processes that survived | {sum(len(one.survivors) for one in visits)} |",
        f"| longest wait of the host, ms ({name}) | {slowest_s * 1000:.0f} |",
        f"| creatures with a wait above 200 ms | {sum(one.slowest_s > 0.2 for one in visits)} |",
        f"| honest scripts; their scorings; refusals | {len(honest)}; {scored + refused}; {refused} |",
        "", *(f"- Open: **{one.creature.name}**: {one.creature.open}." for one in opened),
    ]  # fmt: skip


def _row(one: Visit) -> str:
    ended = "; ".join(dict.fromkeys(
        f"{status}: {_plain(_short(reason))}" if reason else status
        for status, reason in zip(one.statuses, one.reasons, strict=True)
    ))  # fmt: skip
    value = _value(min(one.values)) if one.values else "–"
    marks = "".join(
        f" **{words}**" for words, found in (
            ("GAINED", one.gained), ("OBTAINED", one.obtained), ("CANARY", one.canaries), ("SURVIVOR", one.survivors),
            ("UNEXPECTED", not set(one.statuses) <= set(one.creature.statuses)),
        ) if found
    )  # fmt: skip
    what, waited_ms = _plain(one.creature.tries), one.slowest_s * 1000
    name = one.creature.name + (f", on {one.creature.track}" if one.creature.track else "")
    return f"| {name} | {what} | {ended}{marks} | {value} | {waited_ms:.0f} |"


def _honest_row(one: Honest) -> str:
    values = sorted(set(one.values))
    value = _value(values[0]) if values else f"– ({one.trained})"
    value += f" to {_value(values[-1])}" if len(values) > 1 and _value(values[-1]) != value else ""
    name, what = one.creature.name, _plain(one.creature.tries)
    refused = f"{len(one.refusals)}" + (f" ({_plain(one.refusals[0])})" if one.refusals else "")
    return f"| {name} | {what} | {value} | {len(one.values)} | {refused} | {one.closest:.1e} |"


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}" if abs(value) < 1e6 else f"{value:.1e}"


def _short(reason: str) -> str:
    for words in TOO_WORDY:
        reason = reason.removeprefix(words)
    return reason


def _plain(text: str) -> str:
    text = text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("`", "'")
    return text if len(text) <= REASON_CHARS else text[: REASON_CHARS - 1] + "…"
