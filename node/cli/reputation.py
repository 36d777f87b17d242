"""`reputation`: what became of all that accounts did, as counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import UserError
from node import names, text
from node.cli import output, tracks

if TYPE_CHECKING:
    from ensue.store import Store
    from node.home import Home
    from node.reputation import Reputation
    from verify.trust import Judge

ENDING_MIN = 4
"""Characters of a key's end that name an account."""


@click.command(short_help="Say what became of all that accounts did.")
@click.argument("account", required=False)
@output.of_track
@output.as_json
def reputation(account: str | None, track: str | None, in_json: bool) -> None:
    """List accounts with what became of their results, reruns and claims; ACCOUNT is one as @ and its ending, or "me".

    An expectation that a claim told before the run is compared with what was measured: in standard deviations of both,
    on average, and how many came true within 1.96.
    """
    from node.reputation import reputations

    with output.replica() as (home, store):
        wanted = tracks.asked(home, store, track)
        judge = output.judge(store)
        only = None if account is None else named(home, store, account, wanted.id)
        rulings, noise = judge.rulings(), class_noise(home, judge, wanted.id)
        found = reputations(store, wanted.id, rulings, noise, time.time_ns() // 1_000_000, only)
    if not found:
        whose = "nobody has" if only is None else f"{text.printable(account or '', 60)} has"
        raise UserError(f"{whose} done anything on {wanted.name} yet: `autoresearch join` begins, or choose --track")
    if in_json:
        documents = [document(one) for one in found]
        output.print_json(documents if account is None else documents[0])
    elif account is None:
        _table(found)
    else:
        _one(found[0])


def class_noise(home: Home, judge: Judge, track: str) -> Callable[[str], float]:
    """Return what gives the standard deviation of one run of a track in a hardware class."""
    prior = tracks.noise_sd(home, track)
    known: dict[str, float] = {}

    def run_sd(hardware_class: str) -> float:
        if hardware_class not in known:
            known[hardware_class] = judge.run_noise(track, hardware_class, prior)[0]
        return known[hardware_class]

    return run_sd


def named(home: Home, store: Store, said: str, track: str) -> str:
    """Return the account, or the node that speaks for none, that a person means; raise UserError where it is none."""
    from node.reputation import known

    if said == "me":
        from ensue.identity import Identity

        own = Identity.load(home.key).peer_id
        return store.people.account_of(own) or own
    ending = text.entered(said).lstrip(names.ACCOUNT + names.NODE)
    able = sorted(
        one for one in known(store, track) if one == ending or (len(ending) >= ENDING_MIN and one.endswith(ending))
    )
    if len(able) == 1:
        return able[0]
    if able:
        raise UserError(f"{text.printable(said, 60)} ends {len(able)} accounts: give more of its end")
    raise UserError(
        f"nobody who is known here as {text.printable(said, 60)!r} has done anything on this track:"
        " `autoresearch reputation` lists those who have"
    )


def document(one: Reputation) -> dict[str, Any]:
    """Return a reputation as JSON; shares are of 1, surprises in standard deviations."""
    return {
        "account": one.account,
        "results": one.results,
        "withdrawn": one.withdrawn,
        "confirmed": one.confirmed,
        "refuted": one.refuted,
        "tie": one.tie,
        "worse": one.worse,
        "in_test": one.in_test,
        "replications": one.replications,
        "pairs_counted": one.pairs_counted,
        "duties_unfinished": one.duties_unfinished,
        "claims_abandoned": one.claims_abandoned,
        "expectations": len(one.surprises),
        "surprise_mean": one.surprise_mean,
        "within_1_96": one.within,
    }


def _table(found: list[Reputation]) -> None:
    output.title("what became of the work of each account")
    cells = [
        [
            names.key(one.account) if one.is_node else names.account(one.account),
            str(one.results),
            str(one.confirmed),
            str(one.refuted),
            f"{one.tie} / {one.worse}",
            str(one.pairs_counted),
            str(one.duties_unfinished),
            str(one.claims_abandoned),
            expectations(one),
        ]
        for one in found
    ]
    heads = ["account", "results", "confirmed", "refuted", "tie / worse", "pairs rerun", "duties left", "claims left"]
    spare = ["claims left", "duties left", "tie / worse"]
    output.rows([*heads, "expected against measured"], cells, "<>>>>>>><", spare=spare)


def expectations(one: Reputation) -> str:
    """Return in words how well an account knows what its experiments will bring."""
    if one.surprise_mean is None or one.within is None:
        return "none told"
    side = "better" if one.surprise_mean >= 0 else "worse"
    return f"{one.within:.0%} of {len(one.surprises)} within, {abs(one.surprise_mean):.1f} sd {side} than said"


def _one(one: Reputation) -> None:
    replicated = f"{text.plural(one.replications, 'block')}, {text.plural(one.pairs_counted, 'pair')} counted"
    output.facts(
        [
            ("node" if one.is_node else "account", one.account),
            ("results", f"{one.results}" + (f", {one.withdrawn} more that do not count" if one.withdrawn else "")),
            ("confirmed", str(one.confirmed)),
            ("refuted", str(one.refuted)),
            ("tie", str(one.tie)),
            ("worse", str(one.worse)),
            ("in test", str(one.in_test)),
            ("reran", f"{replicated}, {text.plural(one.duties_unfinished, 'block')} left unfinished"),
            ("claims left", str(one.claims_abandoned)),
            ("expected", expectations(one)),
        ]
    )
