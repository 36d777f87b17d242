"""Search: words by stem, typos by spelling, and no text that breaks it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bodies import AUTHORS, NETWORK, TRACK, hypothesis, insight, result
from hypothesis import example, given
from hypothesis import strategies as st

from ensue.search import distance, folded, likely, shortness, vocabulary, words
from ensue.store import Store

ME = AUTHORS[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("search") / "replica", NETWORK) as opened:
        for number in range(30):
            opened.append(ME, "result", result(seed=number, description=f"weight decay 0.{number} → 0.{number + 1}"))
        opened.append(ME, "result", result(description="matrix learning rate 0.02 → 0.04"))
        opened.append(ME, "hypothesis", hypothesis("Rotary embeddings with a larger base should help long contexts."))
        opened.append(
            ME, "insight", insight("Größere Tiefe; learned that warmups matter. 学习率 is the learning rate.")
        )
        gone = opened.append(ME, "insight", insight("Momentum 0.95 is always best"))
        opened.append(ME, "retraction", {"target": gone.id, "reason": "not so"})
        yield opened


def found(store: Store, text: str) -> list[str]:
    return [hit.text for hit in store.search(text, 5)]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("learning rate", "matrix learning rate"),
        ("learn rates", "matrix learning rate"),
        ("ROTARY", "Rotary embeddings"),
        ("embed", "Rotary embeddings"),
        ("rotray embedings", "Rotary embeddings"),
        ("mtarix", "matrix learning rate"),
        ("warmup", "Größere Tiefe"),
        ("grosere", "Größere Tiefe"),
        ("größere", "Größere Tiefe"),
        ("学习率", "Größere Tiefe"),
        ("contxet", "Rotary embeddings"),
    ],
)
def test_finds(store: Store, asked: str, wanted: str) -> None:
    assert found(store, asked)
    assert found(store, asked)[0].startswith(wanted)


def test_hits_say_what_they_are_in_order(store: Store) -> None:
    hits = store.search("learning rotary", 10)
    assert {hit.kind for hit in hits} == {"result", "hypothesis", "insight"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert store.get(hits[0].id).kind == hits[0].kind
    assert len(store.search("weight decay", 7)) == 7


def test_what_was_withdrawn_is_not_found(store: Store) -> None:
    assert found(store, "momentum") == []


@pytest.mark.parametrize("nothing", ["", " ", "\0", '"', "zzzzqqqq", "-", "???", "→"])
def test_finds_nothing(store: Store, nothing: str) -> None:
    assert found(store, nothing) == []


HOSTILE = [
    'a" OR "b', "text:matrix", "NEAR(matrix rate, 2)", "matrix AND NOT rate", "* ^matrix*", "(((((", "{text}: x",
    "'; DROP TABLE words; --", "\0matrix\0", "\udcff\ud800", "matrix" * 10_000, "a " * 10_000, "%_\\", "rank",
    "\u202ematrix\u202c", "👩‍👩‍👧‍👦", "e\u0301" * 500, "\ufdfa" * 200, "İ ſ ß ŉ", "aaa aab aba baa" * 20,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_queries_only_find_or_find_nothing(store: Store, text: str) -> None:
    assert isinstance(store.search(text, 5), list)


@given(st.text(max_size=60))
@example('"')
def test_any_text_may_be_asked(store: Store, text: str) -> None:
    assert isinstance(store.search(text, 5), list)
    assert isinstance(store.search(f"matrix {text}", 5), list)


def test_hostile_texts_may_be_stored(tmp_path: Path) -> None:
    storable = [text.encode(errors="ignore").decode()[:1900] or "x" for text in HOSTILE]
    with Store(tmp_path / "replica", NETWORK) as store:
        made = [store.append(ME, "insight", insight(text)) for text in storable]
        assert [row.text for row in store.insights(TRACK)] == storable
        assert made[-1].id in {hit.id for hit in store.search("baa aab", 50)}
        assert store.rebuild().equal


def test_words_are_bounded() -> None:
    assert words("Matrix_LR matrix 0.02") == ["matrix", "lr", "0", "02"]
    assert len(words("a b c d e f g h i j k l m n o p q r s t u v w x y z")) == 16
    assert vocabulary("ab abc abcd 12345 a1b2 " + "x" * 40) == {"abcd", "a1b2"}


def test_distance_counts_edits_up_to_a_limit() -> None:
    pairs = [("depth", "depth"), ("dpeth", "depth"), ("dept", "depth"), ("deptx", "depth"), ("width", "depth")]
    assert [distance(*pair, limit=2) for pair in pairs] == [0, 1, 1, 1, 3]
    assert likely("dpeth", ["width", "depth", "depths", "death"]) == ["depth"]


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_distance_is_symmetric_and_zero_for_equals_only(first: str, second: str) -> None:
    assert distance(first, second, 9) == distance(second, first, 9)
    assert (distance(first, second, 9) == 0) == (first == second)


def test_a_word_counts_more_in_a_short_text() -> None:
    assert shortness(1) > shortness(12) == 1 > shortness(13) > shortness(400) > 0


@given(st.text(st.characters(max_codepoint=127), max_size=80))
def test_plain_texts_fold_as_all_others_do(text: str) -> None:
    assert folded(text) == folded(text + "é").removesuffix("e")
