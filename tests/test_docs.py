"""The documents against the program: the reference is what the program says, and every link leads somewhere."""

import re
from pathlib import Path

import pytest
import reference

ROOT = Path(__file__).resolve().parent.parent

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_reference_is_what_the_program_says():
    hint = "run `python tests/reference.py`"
    assert (ROOT / "docs/reference/cli.md").read_text() == reference.command_line(), hint
    assert (ROOT / "docs/reference/settings.md").read_text() == reference.settings(), hint


def test_the_limits_are_those_of_the_program():
    """What is listed holds, and everything that a peer's bytes can meet is listed."""
    listed = set((ROOT / "docs/reference/limits.md").read_text().splitlines())
    known = set(reference.limits().splitlines())
    met_by_peers = {
        f"ensue/{name}.py" for name in ("record", "kinds", "genesis", "blobs", "archive", "tarball", "search")
    }
    missing = {line for line in known - listed if line.split("`")[1:2] and line.split("`")[1] in met_by_peers}
    assert (listed - known, missing) == (set(), set()), "run `python tests/reference.py`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path):
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.S)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    dead = [link for link in links if link and not (document.parent / link).exists()]
    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_in_the_documents_exist(document: Path):
    from node.cli.main import SECTIONS

    known = {name for commands in SECTIONS.values() for name in commands}
    quoted = "\n".join(re.findall(r"`[^`]+`", document.read_text()))
    named = set(re.findall(r"(?:^|[\s/`])autoresearch ([a-z]+)\b", quoted))
    assert named <= known
