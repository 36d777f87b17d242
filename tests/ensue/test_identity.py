"""The key file's rights and races, peer ids, and Ed25519 at its edges."""

import copy
import json
import logging
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import ed25519_reference as curve
import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue import identity as keys
from ensue.errors import BadKeyFile, BadSignature, MalformedRecord, RecordError
from ensue.identity import Identity, peer_id_from_public_key, public_key_from_peer_id, verify

IDENTITIES = json.loads((golden.FOLDER / "identities.json").read_text())["identities"]
SIGNATURES = json.loads((golden.FOLDER / "ed25519.json").read_text())["signatures"]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    Identity.load_or_create(path)
    return path


@pytest.mark.parametrize("vector", IDENTITIES, ids=lambda vector: vector["peer_id"])
def test_identity_vectors(vector: dict[str, str], tmp_path: Path):
    path = tmp_path / "key"
    path.write_bytes(bytes.fromhex(vector["key_file_hex"]))
    path.chmod(0o600)
    loaded = Identity.load(path)
    assert loaded.public_key.hex() == vector["public_hex"]
    assert loaded.peer_id == vector["peer_id"]
    assert public_key_from_peer_id(vector["peer_id"]).hex() == vector["public_hex"]


@pytest.mark.parametrize("vector", SIGNATURES, ids=lambda vector: vector["name"])
def test_signature_vectors(vector: dict[str, str]):
    peer_id = peer_id_from_public_key(bytes.fromhex(vector["public_hex"]))
    message, signature = bytes.fromhex(vector["message_hex"]), bytes.fromhex(vector["signature_hex"])
    if vector["accept"]:
        verify(peer_id, signature, message)
    else:
        with pytest.raises(BadSignature):
            verify(peer_id, signature, message)


@pytest.mark.parametrize("vector", SIGNATURES, ids=lambda vector: vector["name"])
def test_signature_vectors_follow_from_the_text_of_the_rule(vector: dict[str, str]):
    public, message = bytes.fromhex(vector["public_hex"]), bytes.fromhex(vector["message_hex"])
    assert curve.strictly_verifies(public, bytes.fromhex(vector["signature_hex"]), message) == vector["accept"]


def test_the_small_order_list_is_the_whole_torsion_subgroup():
    assert {point[1] for point in curve.torsion()} == keys._SMALL_ORDER_Y


def test_vector_files_are_what_the_code_builds():
    for name, content in golden.files().items():
        assert (golden.FOLDER / name).read_text() == golden.rendered(content), f"{name} is stale"


def test_a_new_key_file_is_private_and_complete(key_file: Path):
    status = key_file.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    content = key_file.read_bytes()
    assert len(content) == 68
    assert content[:4] == bytes.fromhex("08011240")
    assert Identity.load(key_file).public_key == content[36:]
    assert list(key_file.parent.iterdir()) == [key_file]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_a_new_key_file_is_private_under_any_umask(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        Identity.load_or_create(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_loading_twice_gives_the_same_key(key_file: Path):
    assert Identity.load_or_create(key_file).peer_id == Identity.load(key_file).peer_id


def test_racing_processes_end_with_one_key(tmp_path: Path):
    """All wait at one gate, so that they create at the same moment."""
    program = (
        "import sys; from ensue.identity import Identity; print('ready', flush=True); sys.stdin.readline();"
        "print(Identity.load_or_create(sys.argv[1]).peer_id)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "key")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    peer_ids = {child.communicate(timeout=60)[0].strip() for child in children}
    assert peer_ids == {Identity.load(tmp_path / "key").peer_id}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601, 0o700, 0o4600])
def test_a_key_file_with_other_rights_is_refused_with_the_fix(key_file: Path, mode: int):
    key_file.chmod(mode)
    with pytest.raises(BadKeyFile, match=f"chmod 600 {key_file}"):
        Identity.load(key_file)
    with pytest.raises(BadKeyFile):
        Identity.load_or_create(key_file)


def test_a_read_only_key_file_is_fine(key_file: Path):
    key_file.chmod(0o400)
    assert Identity.load(key_file).peer_id


@pytest.mark.parametrize("damage", ["empty", "short", "long", "type", "seed", "public", "huge", "text"])
def test_a_damaged_key_file_is_refused_and_kept(key_file: Path, damage: str):
    good = key_file.read_bytes()
    bad = {
        "empty": b"",
        "short": good[:-1],
        "long": good + b"\n",
        "type": b"\x08\x00" + good[2:],
        "seed": good[:10] + bytes([good[10] ^ 1]) + good[11:],
        "public": good[:40] + bytes([good[40] ^ 1]) + good[41:],
        "huge": good * 10_000,
        "text": good.hex().encode(),
    }[damage]
    key_file.write_bytes(bad)
    for read in (Identity.load, Identity.load_or_create):
        with pytest.raises(BadKeyFile, match="damaged; restore it"):
            read(key_file)
    assert key_file.read_bytes() == bad


def test_a_missing_key_file_names_the_command(tmp_path: Path):
    with pytest.raises(BadKeyFile, match="autoresearch join"):
        Identity.load(tmp_path / "key")


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path):
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name in ("folder", "pipe", "dangling"):
        with pytest.raises(BadKeyFile):
            Identity.load_or_create(tmp_path / name)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadKeyFile, match="AUTORESEARCH_HOME"):
        Identity.load_or_create(tmp_path / "file" / "key")


def test_the_key_is_never_shown_copied_or_pickled(caplog: pytest.LogCaptureFixture):
    identity = Identity(golden.SEED_A)
    caplog.set_level(logging.DEBUG)
    logging.getLogger().info("%s %r", identity, identity)
    for text in (repr(identity), str(identity), f"{[identity]}", caplog.text):
        assert golden.SEED_A.hex() not in text
        assert identity.peer_id in text
    with pytest.raises(TypeError):
        pickle.dumps(identity)
    with pytest.raises(TypeError):
        copy.deepcopy(identity)


def test_a_seed_of_another_length_is_refused():
    with pytest.raises(BadKeyFile):
        Identity(b"short")


def test_generated_keys_differ_and_sign():
    one, two = Identity.generate(), Identity.generate()
    assert one.peer_id != two.peer_id
    verify(one.peer_id, one.sign(b"m"), b"m")
    with pytest.raises(BadSignature):
        verify(two.peer_id, one.sign(b"m"), b"m")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12D3Koo",
        "0OIl",
        "é",
        "1" * 52,
        "1" * 1_000_000,
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "\0",
        "\ud800",
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_what_is_no_peer_id_is_refused(text: str):
    with pytest.raises(MalformedRecord):
        public_key_from_peer_id(text)


@given(st.text(max_size=80))
def test_any_text_is_a_peer_id_or_refused(text: str):
    try:
        public_key = public_key_from_peer_id(text)
    except RecordError:
        return
    assert peer_id_from_public_key(public_key) == text


@given(st.binary(min_size=32, max_size=32))
def test_peer_ids_and_public_keys_are_one_to_one(seed: bytes):
    identity = Identity(seed)
    assert identity.peer_id.startswith("12D3Koo")
    assert public_key_from_peer_id(identity.peer_id) == identity.public_key
    spaced = (f" {identity.peer_id}", f"{identity.peer_id} ", f"{identity.peer_id}\n", f"1{identity.peer_id}")
    for text in spaced:
        with pytest.raises(MalformedRecord):
            public_key_from_peer_id(text)


@given(st.binary(max_size=200), st.integers(0, 511))
def test_a_flipped_bit_in_a_signature_is_refused(message: bytes, bit: int):
    identity = Identity(golden.SEED_B)
    signature = bytearray(identity.sign(message))
    verify(identity.peer_id, bytes(signature), message)
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignature):
        verify(identity.peer_id, bytes(signature), message)
