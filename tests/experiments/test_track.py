"""What names a track, and what its definition may not say."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import TrackError
from experiments import definition, track

TINY = Path(__file__).resolve().parents[1] / "tracks" / "tiny"
DEFINITION = (TINY / "track.toml").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "copy"))


def rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / "track.toml").read_text()
    assert old in text
    (folder / "track.toml").write_text(text.replace(old, new, 1))


def test_the_tracks_that_come_along_can_be_read_and_the_default_is_first():
    assert track.available()[0] == track.DEFAULT_TRACK
    assert set(track.available()) == {"sotu", "climbmix"}
    for name in track.available():
        found = track.load(name)
        assert found.name == name
        assert found.baseline.is_file()


def test_the_default_tracks_baseline_is_the_script_at_the_root():
    assert track.load("sotu").baseline == Path(__file__).resolve().parents[2] / "train.py"


def test_the_gpu_track_has_the_setting_it_is_named_after():
    found = track.load("climbmix")
    assert (found.clock, found.budget_s, found.seq_len, found.vocab_size) == ("wall", 300.0, 2048, 8192)
    assert 1e6 <= found.rows_max // 2 * found.seq_len <= 2e6
    assert [source.name for source in found.recipe.sources if source.split == "val"] == ["shard_06542.parquet"]


def test_a_track_is_found_by_folder(folder: Path):
    assert track.load(folder) == track.load(str(folder))
    assert track.load(folder).id == track.load(TINY).id


def test_reading_a_track_needs_neither_numpy_nor_a_tokenizer():
    program = (
        "import sys; from experiments import track; track.load('sotu').id;"
        "print([name for name in ('numpy', 'tiktoken', 'rustbpe', 'pyarrow', 'httpx', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


FROZEN = [
    (key, f"{key} = {value}", f"{key} = {other}")
    for key, value, other in [
        ("name", '"tiny"', '"other"'),
        ("metric", '"val_bpb"', '"other"'),
        ("clock", '"cpu"', '"wall"'),
        ("budget_s", "3.0", "3.1"),
        ("setup_s", "20.0", "21.0"),
        ("save_s", "0.3", "0.4"),
        ("seq_len", "32", "16"),
        ("threads", "1", "2"),
        ("memory_bytes", "1_073_741_824", "1_073_741_825"),
        ("checkpoint_bytes", "4_194_304", "4_194_305"),
        ("out_bytes", "8_388_608", "8_388_609"),
        ("processes", "64", "65"),
        ("source_bytes", "131_072", "131_071"),
        ("batch_rows", "16", "17"),
        ("rows_max", "4096", "4095"),
        ("holdout_rows", "16", "17"),
        ("probes", "64", "65"),
        ("noise_sd", "0.01", "0.02"),
        ("score_s_max", "60.0", "61.0"),
        ("val_every", "4", "5"),
        ("tokenizer", '"bytes"', '"bpe"'),
        ("kind", '"text-xz"', '"parquet"'),
        ("split", '"every"', '"train"'),
    ]
]


@pytest.mark.parametrize("old, new", [change[1:] for change in FROZEN], ids=[change[0] for change in FROZEN])
def test_whatever_is_frozen_is_in_the_id(folder: Path, old: str, new: str):
    rewrite(folder, old, new)
    assert track.load(folder).id != track.load(TINY).id


def test_the_hash_of_the_text_is_in_the_id(folder: Path):
    rewrite(folder, 'sha256 = "0', 'sha256 = "1')
    assert track.load(folder).id != track.load(TINY).id


def test_the_digest_of_the_tokens_is_in_the_id_but_not_in_the_name_of_the_cache(folder: Path):
    rewrite(folder, 'kind = "text-xz"', f'kind = "text-xz"\nprepared = "{"0" * 64}"')
    assert track.load(folder).id != track.load(TINY).id
    assert track.load(folder).data_id == track.load(TINY).data_id


def test_the_scoring_rules_are_in_the_id(monkeypatch: pytest.MonkeyPatch):
    before = track.load(TINY).id
    monkeypatch.setattr(track, "SCORING_VERSION", track.SCORING_VERSION + 1)
    assert track.load(TINY).id != before


@pytest.mark.parametrize("module", track.FROZEN_MODULES)
def test_the_recipes_own_source_is_in_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str):
    before = track.load(TINY).id
    here = Path(track.__file__).parent
    for name in track.FROZEN_MODULES:
        shutil.copy(here / name, tmp_path / name)
    monkeypatch.setattr(track, "__file__", str(tmp_path / "track.py"))
    assert track.load(TINY).id == before
    (tmp_path / module).write_bytes((tmp_path / module).read_bytes() + b"\n")
    assert track.load(TINY).id != before


@pytest.mark.parametrize(
    "old, new",
    [
        ('title = "Made-up sentences, for tests"', 'title = "Other words"\ndescription = "About it"'),
        ("[budget]\n", "# a comment\n[budget]\n\n"),
        ("budget_s = 3.0", "budget_s = 3"),
        ("1_073_741_824", "1073741824"),
        ('split = "every"', 'split = "every"\nurl = "https://mirror.example/text.txt.xz"'),
        ("bytes = 3_060", "bytes = 3060"),
    ],
    ids=["title", "comments", "3 for 3.0", "underscores", "url", "size"],
)
def test_what_is_not_frozen_leaves_the_id(folder: Path, old: str, new: str):
    text = DEFINITION.replace("bytes = 3060", "bytes = 3_060")
    (folder / "track.toml").write_text(text)
    rewrite(folder, old, new)
    assert track.load(folder).id == track.load(TINY).id


def test_another_baseline_leaves_the_id(folder: Path):
    (folder / "baseline.py").write_text("# better\n")
    assert track.load(folder).id == track.load(TINY).id


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ('name = "tiny"', 'name = "Tiny/../.."', "name must be"),
        ('name = "tiny"', "name = 3", "name must be"),
        ('title = "Made-up sentences, for tests"', "", "title is missing"),
        ('title = "Made-up', 'title = "\\u001b[31mMade-up', "title must be one line"),
        ('direction = "min"', 'direction = "down"', "direction must be one of min"),
        ("budget_s = 3.0", "budget_s = nan", "budget_s must lie between"),
        ("budget_s = 3.0", "budget_s = inf", "budget_s must lie between"),
        ("budget_s = 3.0", "budget_s = -1", "budget_s must lie between"),
        ("budget_s = 3.0", 'budget_s = "3"', "budget_s must be a number"),
        ("budget_s = 3.0", "budget_s = true", "budget_s must be a number"),
        ("save_s = 0.3", "save_s = 3.0", "save_s must be shorter"),
        ("seq_len = 32", "seq_len = 32.5", "seq_len must be a whole number"),
        ("seq_len = 32", "seq_lenn = 32", "seq_len is missing"),
        ("seq_len = 32", "seq_len = 32\ncolour = 1", "unknown key colour"),
        ("[budget]", "colour = 1\n[budget]", "unknown key colour"),
        ("vocab_size = 256", "vocab_size = 70_000", "vocab_size must lie between"),
        ("[scoring]", "[scoring", "is not TOML"),
        ("[limits]", "[limit]", "memory_bytes is missing"),
        ('kind = "text-xz"', 'kind = "pickle"', "kind must be one of"),
        ("[[data.files]]", "[[data.filess]]", "files is missing"),
        ('name = "text.txt.xz"', 'name = "../text.txt.xz"', "name without folders"),
        ('split = "every"', 'split = "test"', "split of text.txt.xz"),
        ('split = "every"', 'split = "every"\nurl = "http://plain.example/x"', "must begin with https"),
        ('split = "every"', 'split = "every"\nhash = 1', "unknown key hash"),
        ('sha256 = "', 'sha256 = "z', "64 hex digits"),
        ("bytes = 3060", "bytes = -1", "bytes of text.txt.xz"),
        ('kind = "text-xz"', 'kind = "text-xz"\nprepared = "abc"', "prepared must be"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_it(folder: Path, old: str, new: str, complaint: str):
    rewrite(folder, old, new)
    with pytest.raises(TrackError, match=re.escape(complaint)) as caught:
        track.load(folder)
    assert "\n" not in str(caught.value)


def test_a_table_in_the_place_of_a_value_and_the_other_way_round(folder: Path):
    for text in ("budget = 3", "[data]\nfiles = 3", "[data]\nfiles = [3]", "name = {}"):
        (folder / "track.toml").write_text(text)
        with pytest.raises(TrackError):
            track.load(folder)


def test_the_same_file_twice_is_refused(folder: Path):
    entry = DEFINITION[DEFINITION.index("[[data.files]]") :]
    (folder / "track.toml").write_text(DEFINITION + entry)
    with pytest.raises(TrackError, match="same name"):
        track.load(folder)


def test_a_definition_without_bound_is_not_read(folder: Path):
    (folder / "track.toml").write_text("#" * (definition.DEFINITION_BYTES_MAX + 1))
    with pytest.raises(TrackError, match="larger than"):
        track.load(folder)


def test_nested_beyond_reason_is_refused(folder: Path):
    (folder / "track.toml").write_text("x = " + "[" * 20_000)
    with pytest.raises(TrackError):
        track.load(folder)


def test_no_track_of_this_name_names_those_there_are():
    with pytest.raises(TrackError, match="sotu, climbmix"):
        track.load("sonnets")


def test_a_track_without_a_baseline_is_refused(folder: Path):
    (folder / "baseline.py").unlink()
    with pytest.raises(TrackError, match=r"baseline\.py is missing"):
        track.load(folder)


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"files": 3}', '{"files": {"x": {}}}', '{"files": {"x": {"sha256": "0", "bytes": 1}}}']
)
def test_a_damaged_lock_is_refused(folder: Path, content: str):
    (folder / track.LOCK_NAME).write_text(content)
    with pytest.raises(TrackError, match="damaged"):
        track.load(folder)


def test_a_lock_gives_the_hashes_that_the_definition_leaves_open(folder: Path):
    rewrite(folder, 'sha256 = "', '# "')
    loose = track.load(folder)
    assert loose.recipe.sources[0].sha256 is None
    (folder / track.LOCK_NAME).write_text(
        json.dumps({"files": {"text.txt.xz": {"sha256": "a" * 64, "bytes": 7}}, "prepared": "b" * 64})
    )
    pinned = track.load(folder)
    assert pinned.recipe.sources[0].sha256 == "a" * 64
    assert pinned.recipe.prepared == "b" * 64
    assert len({loose.id, pinned.id, track.load(TINY).id}) == 3


@given(st.integers(0, len(DEFINITION) - 1), st.integers(0, 12), st.binary(max_size=6))
def test_any_other_definition_is_a_track_or_a_track_error(tmp_path_factory, at: int, cut: int, put: bytes):
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    (folder / "baseline.py").touch()
    raw = DEFINITION.encode()
    (folder / "track.toml").write_bytes(raw[:at] + put + raw[at + cut :])
    try:
        found = track.load(folder)
    except TrackError:
        return
    assert re.fullmatch("[0-9a-f]{64}", found.id)
