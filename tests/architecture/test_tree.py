"""What is tracked: no trace of the machine it was written on, nothing generated that drifted, functions of a size to read."""

import ast
import re
import statistics
import subprocess
from pathlib import Path

import pytest
from architecture.contract import CHECKOUT

from trustnode.config import SETTINGS
from trustnode.testing.generate import PARTS, drift

REGISTRY = re.compile(
    r"pypi\.o" r"rg|pythonhosted\.o" r"rg|npmjs\.(?:o" r"rg|com)|proxy\.golang\.o" r"rg|repo1?\.maven"
)
MACHINE = re.compile(r"(?:^|[^A-Za-z0-9_.])/(?:wo" r"rk|home|ro" r"ot|fa" r"rm)/[A-Za-z]")
SECRET = re.compile(r"BEGIN (?:EC |RSA |)PRIVATE" r" KEY")
LEFT_OPEN = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|NotImplemented" r"Error)\b")
GENERATED = re.compile(r"_pb2\.pyi?$")
PACKAGES = {
    "arrow",
    "app",
    "cli",
    "core",
    "demo",
    "engine",
    "keys",
    "node",
    "rpc",
    "sdk",
    "store",
    "testing",
    "v1",
    "web",
    "wire",
}


def tracked(*patterns):
    command = ["git", "ls-files", "-z", *patterns]
    names = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [path for name in names if name and (path := CHECKOUT / name).is_file()]


def lines_with(expression, paths):
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if expression.search(line):
                yield f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()[:100]}"


def functions():
    for path in tracked("src/*.py"):
        if not GENERATED.search(path.name):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield path, node


def body_lines(node):
    """Lines of a function without its docstring, decorators left out."""
    first, *_ = node.body
    described = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if described else 0)


@pytest.mark.parametrize("expression", [REGISTRY, MACHINE, SECRET], ids=["registry", "machine path", "private key"])
def test_no_tracked_file_holds_a_trace_of_machine_or_registry(expression):
    assert list(lines_with(expression, tracked())) == []


def test_nothing_is_left_open_in_the_product():
    assert list(lines_with(LEFT_OPEN, tracked("src", "protos"))) == []


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_generated_files_are_as_they_would_be_generated(part):
    assert drift(PARTS[part]) == []


def test_no_function_needs_a_second_screen():
    long = [
        f"{path.relative_to(CHECKOUT)}:{node.lineno} {node.name}" for path, node in functions() if body_lines(node) > 60
    ]

    assert long == []


def test_the_median_function_is_shorter_than_ten_lines():
    sizes = [body_lines(node) for _, node in functions()]

    assert statistics.median(sizes) < 10


def test_every_module_says_what_it_decides():
    silent = [
        str(path.relative_to(CHECKOUT))
        for path in tracked("src/*.py")
        if not GENERATED.search(path.name) and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert silent == []


def test_there_is_no_room_that_the_design_does_not_know():
    rooms = {path.parent.name for path in Path(CHECKOUT / "src/trustnode").glob("*/__init__.py")}

    assert rooms <= PACKAGES


def test_ci_runs_the_checks_and_then_the_tests():
    steps = [
        line for line in (CHECKOUT / ".ci/run").read_text(encoding="utf-8").splitlines() if line.startswith("make")
    ]

    assert steps == ["make check", "make test"]


def test_make_without_a_target_lists_the_targets():
    text = subprocess.run(["make", "-s"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    names = [line.split()[1] for line in text.splitlines()]

    assert names == ["help", "demo", "test", "check", "bench", "soak", "protos", "lock", "docs", "format", "clean"]


def test_the_lock_names_every_package_with_a_hash_and_no_host():
    text = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())

    assert all(re.match(r"[a-z0-9._-]+==\S+ \\\n +--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert "://" not in text


def test_every_setting_is_read_somewhere() -> None:
    """A key that nothing reads would promise what nobody does."""
    sources = [path for path in (CHECKOUT / "src").rglob("*.py") if path.name != "config.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    unread = [key for key in SETTINGS if not re.search(rf"\.{key.partition('.')[2]}\b", text)]
    assert unread == []
