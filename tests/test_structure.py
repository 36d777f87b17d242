"""The rules of the house, read off the syntax trees: layers, owners, sizes, and the README's map of the folders."""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["ensue", "experiments", "verify", "node"]
LINES_MAX = 400
FUNCTION_LINES_MAX = 60
FORBIDDEN_NAMES = {"utils", "common", "helpers", "manager", "util", "helper", "misc"}

# One module (or the folder named) speaks each library; the sandboxed side of an experiment is a program of its own.
OWNERS = {
    "sqlite3": {"ensue/store/"},
    "zstandard": {"ensue/blobs.py", "ensue/packing.py", "ensue/tarball.py"},
    "git": {"experiments/workspace.py"},
    "httpx": {"experiments/fetch.py", "node/verifiers.py", "node/verifying.py"},
    "mnemonic": {"node/phrase.py"},
    "confusable_homoglyphs": {"node/names.py"},
    "optuna": {"experiments/proposers/optuna_proposer.py"},
    "matplotlib": {"node/canvas.py"},
    "click": {"node/"},
    "rich": {"node/"},
    "cryptography": {"ensue/identity.py"},
    "nacl": {"ensue/identity.py"},
    "hivemind": {"node/transport/"},
    "msgspec": {"node/sync/wire.py", "node/sync/news.py", "node/light/"},
    "zeroconf": {"node/swarm/lan.py"},
    "segno": {"node/swarm/invite.py"},
    "smtplib": {"verify/mailbox.py"},
    "limits": {"verify/rates.py"},
    "email_validator": {"verify/address.py"},
    "publicsuffixlist": {"verify/address.py"},
    "disposable_email_domains": {"verify/address.py"},
    "uvicorn": {"node/serving.py"},
    "starlette": {"node/serving.py"},
    "libp2p": {"node/light/"},
    "trio": {"node/light/"},
}
# Programs that run in a child process and may import torch; nothing in the node may.
TORCH_PROGRAMS = {"experiments/answer.py", "experiments/byhand.py", "experiments/device.py"}


def modules() -> list[Path]:
    return [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_program_of_a_child(path: Path) -> bool:
    return name(path) in TORCH_PROGRAMS or path.name == "baseline.py"


def test_each_layer_imports_only_leftwards():
    wrong = []
    for path in modules():
        here = path.relative_to(ROOT).parts[0]
        for module, line in imported(ast.parse(path.read_text())):
            there = module.split(".")[0]
            if there in LAYERS and LAYERS.index(there) > LAYERS.index(here):
                wrong.append(f"{name(path)}:{line} {here} imports {module}")
    assert wrong == []


def test_each_library_has_one_owner():
    wrong = []
    for path in modules():
        if path.name == "baseline.py":
            continue
        for module, line in imported(ast.parse(path.read_text())):
            owners = OWNERS.get(module.split(".")[0])
            if owners and not any(name(path) == owner or name(path).startswith(owner) for owner in owners if owner):
                wrong.append(f"{name(path)}:{line} imports {module}, which belongs to {sorted(owners)}")
    assert wrong == []


def test_the_node_never_imports_torch():
    wrong = [
        f"{name(path)}:{line}"
        for path in modules()
        if not is_program_of_a_child(path)
        for module, line in imported(ast.parse(path.read_text()))
        if module.split(".")[0] == "torch"
    ]
    assert wrong == []


def test_train_py_imports_the_harness_only():
    ours = [
        (node.module, [alias.name for alias in node.names])
        for node in ast.walk(ast.parse((ROOT / "train.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in LAYERS
    ]
    assert ours == [("experiments", ["harness"])]


def test_the_harness_is_a_leaf():
    """Only the fallback for running by hand reaches further, and only inside a function."""
    top = ast.parse((ROOT / "experiments/harness.py").read_text()).body
    modules_at_top = {
        module.split(".")[0]
        for node in top
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module, _ in imported(node)
    }
    assert modules_at_top.isdisjoint({*LAYERS, "torch", "pydantic"})


@pytest.mark.parametrize("path", [*modules(), ROOT / "train.py"], ids=name)
def test_sizes(path: Path):
    text = path.read_text()
    assert text.count("\n") <= LINES_MAX
    assert path.stem not in FORBIDDEN_NAMES
    long = [
        f"{node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("path", modules(), ids=name)
def test_every_module_and_public_function_says_what_it_does(path: Path):
    tree = ast.parse(path.read_text())
    silent = [] if ast.get_docstring(tree) or not tree.body else ["the module itself"]
    for node in tree.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if public and not ast.get_docstring(node):
            silent.append(node.name)
    assert silent == []


def test_the_map_in_the_readme_names_every_folder_and_nothing_else():
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"<!-- map -->\n```\n(.*?)```\n<!-- /map -->", readme, re.S)
    assert block, "README.md has no map between <!-- map --> and <!-- /map -->"
    mapped = {line.split()[0].rstrip("/") for line in block[1].splitlines() if line.strip()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = listed.stdout.split("\n")
    folders = {parent.as_posix() for path in tracked if path for parent in list(Path(path).parents)[:-1]}
    wanted = {f for f in folders if f.split("/")[0] in {*LAYERS, "tests", "docs"}} | {"train.py"}
    assert mapped == wanted


def test_no_two_test_files_share_a_name():
    """Folders of tests are no packages: pytest imports their files by base name, and refuses the second."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []
