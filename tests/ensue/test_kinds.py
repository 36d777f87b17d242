"""Bodies: what each kind demands, what it bounds, what it lets through untouched, and that the document says so."""

import ast
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue import body, kinds
from ensue.errors import InvalidBody
from ensue.kinds import KINDS, parse_body

ID = "a" * 64
BODIES = golden.bodies(ID, ID)
GOOD: dict[str, dict[str, Any]] = {
    "claim": BODIES["claim"],
    "result": BODIES["kept"],
    "hypothesis": BODIES["hypothesis"],
    "insight": BODIES["insight"],
    "retraction": BODIES["retraction"],
    **golden.people(),
    **golden.trials(),
}
PROTOCOL = Path(__file__).resolve().parents[2] / "docs" / "PROTOCOL.md"


def refused(kind: str, **changed: Any) -> str:
    with pytest.raises(InvalidBody) as caught:
        parse_body(kind, GOOD[kind] | changed)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_body_survives(kind: str):
    parsed = parse_body(kind, GOOD[kind])
    assert isinstance(parsed, KINDS[kind])
    assert {name: value for name, value in parsed.model_dump().items() if name in GOOD[kind]} == GOOD[kind]
    assert parse_body(kind, parsed.model_dump()) == parsed


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_typed_and_required_or_has_its_default(kind: str):
    for name, field in KINDS[kind].model_fields.items():
        without = {key: value for key, value in GOOD[kind].items() if key != name}
        if field.is_required():
            with pytest.raises(InvalidBody, match=f"'{name}'"):
                parse_body(kind, without)
        elif name != "value":
            parsed = parse_body(kind, without)
            assert parsed is not None
            assert getattr(parsed, name) == field.get_default()
        assert f"'{name}" in refused(kind, **{name: {"a": object()}})


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_fields_survive(kind: str):
    later = {"later": {"deep": [1, None, "x"]}, "model_config": 1, "__class__": "x", "model_dump": True}
    parsed = parse_body(kind, GOOD[kind] | later)
    assert parsed is not None
    dumped = parsed.model_dump()
    assert {name: dumped[name] for name in later} == later


def test_an_unknown_kind_is_none():
    assert parse_body("replay", {"any": "thing"}) is None
    assert parse_body("Claim", {}) is None


@pytest.mark.parametrize("status", ["kept", "discarded"])
def test_a_measured_result_has_a_value(status: str):
    assert parse_body("result", GOOD["result"] | {"status": status})
    assert "have a value" in refused("result", status=status, value=None)


@pytest.mark.parametrize("status", ["crashed", "timed_out", "refused"])
def test_a_failed_result_has_a_reason_and_no_value(status: str):
    assert parse_body("result", BODIES["crashed"] | {"status": status})
    assert "have a value" in refused("result", status=status, reason="why")
    assert "have a reason" in refused("result", status=status, value=None)
    assert "have a reason" in refused("result", status=status, value=None, reason="")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(number: float):
    for name in ("value", "holdout", "holdout_gap", "holdout_gap_sd", "budget_s", "cpu_s", "cpu_share"):
        refused("result", **{name: number})
    refused("claim", expectation={"mean": number, "sd": 0.0})
    refused("claim", expectation={"mean": 0.0, "sd": number})
    refused("claim", change=[{"knob": "A", "old": 1.0, "new": number}])


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("result", {"value": "1.5"}),
        ("result", {"value": True}),
        ("result", {"seed": 1.0}),
        ("result", {"seed": True}),
        ("result", {"seed": -1}),
        ("result", {"seed": 2**53}),
        ("result", {"contended": 1}),
        ("result", {"contended": None}),
        ("result", {"status": "abandoned"}),
        ("result", {"direction": "up"}),
        ("result", {"clock": "gpu"}),
        ("result", {"cpu_s": -0.1}),
        ("result", {"holdout_gap_sd": -0.1}),
        ("result", {"tokens_reported": -1}),
        ("result", {"track": "sotu"}),
        ("result", {"source": ID.upper()}),
        ("result", {"source": ID + "\n"}),
        ("result", {"source": None}),
        ("result", {"device": ""}),
        ("result", {"metric": "val\x1b[0m"}),
        ("result", {"hardware_class": "a\u202eb"}),
        ("result", {"agent": "zero\u200bwidth"}),
        ("result", {"agent": "e\u0301"}),
        ("result", {"change": {}}),
        ("result", {"change": [{"knob": "A", "old": [1]}]}),
        ("result", {"change": [{"old": 1}]}),
        ("claim", {"ttl_s": -1}),
        ("claim", {"ttl_s": 1.5}),
        ("claim", {"expectation": {"mean": 1.0}}),
        ("claim", {"expectation": {"mean": 1.0, "sd": -1.0}}),
        ("hypothesis", {"text": ""}),
        ("hypothesis", {"text": None}),
        ("insight", {"evidence": ["short"]}),
        ("insight", {"valid_days": 0}),
        ("retraction", {"target": "12D3"}),
    ],
    ids=ascii,
)
def test_a_wrong_value_is_refused_by_name(kind: str, changed: dict[str, Any]):
    assert f"'{next(iter(changed))}" in refused(kind, **changed)


@pytest.mark.parametrize(
    ("kind", "name", "limit"),
    [
        ("claim", "description", body.DESCRIPTION_CHARS_MAX),
        ("claim", "agent", body.AGENT_CHARS_MAX),
        ("claim", "proposer", body.AGENT_CHARS_MAX),
        ("result", "description", body.DESCRIPTION_CHARS_MAX),
        ("result", "reason", body.REASON_CHARS_MAX),
        ("result", "metric", body.LABEL_CHARS_MAX),
        ("result", "software", body.SOFTWARE_CHARS_MAX),
        ("hypothesis", "text", body.TEXT_CHARS_MAX),
        ("insight", "text", body.TEXT_CHARS_MAX),
        ("insight", "scope", body.SCOPE_CHARS_MAX),
        ("retraction", "reason", body.REASON_CHARS_MAX),
    ],
)
def test_texts_are_bounded_in_characters(kind: str, name: str, limit: int):
    assert parse_body(kind, GOOD[kind] | {name: "é" * limit})
    assert f"'{name}'" in refused(kind, **{name: "é" * (limit + 1)})


def test_lists_are_bounded():
    change = [{"knob": "A", "old": 1, "new": 2}]
    assert parse_body("result", GOOD["result"] | {"change": change * body.CHANGES_MAX})
    refused("result", change=change * (body.CHANGES_MAX + 1))
    refused("claim", change=change * (body.CHANGES_MAX + 1))
    assert parse_body("insight", GOOD["insight"] | {"evidence": [ID] * body.EVIDENCE_MAX})
    refused("insight", evidence=[ID] * (body.EVIDENCE_MAX + 1))


@pytest.mark.parametrize("scalar", [None, True, 0, -3, 0.5, "relu2", "", 10**15])
def test_knobs_keep_the_type_of_their_values(scalar: object):
    parsed = parse_body("claim", GOOD["claim"] | {"change": [{"knob": "A", "old": scalar, "new": scalar}]})
    assert isinstance(parsed, kinds.Claim)
    assert type(parsed.change[0].old) is type(scalar)
    assert parsed.change[0].new == scalar


def test_the_message_is_one_line_without_what_the_peer_wrote():
    message = refused("result", status="\x1b[2J evil", metric="\x07")
    assert message.isprintable()
    assert "evil" not in message


def test_making_a_wrong_body_is_the_same_error_as_reading_one():
    with pytest.raises(InvalidBody, match="'knob'"):
        kinds.Change(knob="a\x1b")
    with pytest.raises(InvalidBody, match="have a value"):
        kinds.Result(**GOOD["result"] | {"value": None})
    assert kinds.Result(**GOOD["result"]) == parse_body("result", GOOD["result"])
    assert not any(model.__pydantic_custom_init__ for model in KINDS.values())


@given(
    st.sampled_from(sorted(KINDS)),
    st.data(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
)
def test_any_value_in_any_field_is_taken_or_refused(kind: str, data: st.DataObject, value: object):
    name = data.draw(st.sampled_from(sorted(KINDS[kind].model_fields)))
    try:
        parsed = parse_body(kind, GOOD[kind] | {name: value})
    except InvalidBody:
        return
    assert parsed is not None
    assert parsed.model_dump()[name] == value or isinstance(value, list)


def test_the_protocol_document_lists_every_field_and_no_other():
    text = PROTOCOL.read_text()
    for kind, model in KINDS.items():
        section = re.search(rf"^### `{kind}`\n(.*?)(?=^#)", text, re.S | re.M)
        assert section, f"docs/PROTOCOL.md has no section for {kind}"
        listed = {
            name for row in re.findall(r"^\| (`[^|]*) \|", section[1], re.M) for name in re.findall(r"`(\w+)`", row)
        }
        assert listed == set(model.model_fields), kind


def test_the_protocol_document_has_every_rule_that_a_vector_names():
    text = PROTOCOL.read_text()
    rules = re.findall(r"^\*\*([A-Z]+\d+)\*\*", text, re.M)
    assert len(rules) == len(set(rules))
    assert {case["rule"] for case in golden.refused_records()} <= set(rules)


def test_importing_is_lean():
    """Queries import these modules on every start; nothing heavy may ride along."""
    program = "import sys, ensue.record, ensue.kinds; print(sorted(sys.modules))"
    loaded = ast.literal_eval(subprocess.check_output([sys.executable, "-c", program], text=True))
    heavy = {"torch", "numpy", "hivemind", "optuna", "rich", "click", "sqlite3", "httpx", "git", "matplotlib"}
    assert heavy.isdisjoint(loaded)
    # A model's validator is built on first use: at import none is.
    built = "import ensue.kinds as k; print([m.__pydantic_complete__ for m in k.KINDS.values()])"
    assert "True" not in subprocess.check_output([sys.executable, "-c", built], text=True)
