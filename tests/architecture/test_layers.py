"""Imports point down: the contracts of pyproject.toml hold, and what they allow by exception stays that small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
CLI = CHECKOUT / "src/trustnode/cli"
START_AND_INIT = {"start", "init"}
OF_A_STOPPED_NODE = {"_check_stopped"}


def imports_of(tree: ast.AST, target: str) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        if any(name == target or name.startswith(f"{target}.") for name in names):
            yield node


def functions_around(tree: ast.AST, inner: ast.AST) -> set[str]:
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(child is inner for child in ast.walk(node))
    }


def test_every_layer_contract_is_kept():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as m; m()", "--no-cache"]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_a_command_imports_the_node_only_to_start_it_or_while_it_is_stopped():
    found = {
        (str(path.relative_to(CHECKOUT)), node.lineno)
        for path in CLI.rglob("*.py")
        for tree in [ast.parse(path.read_text(encoding="utf-8"))]
        for node in imports_of(tree, "trustnode.node")
        if not functions_around(tree, node) & (START_AND_INIT | OF_A_STOPPED_NODE)
    }

    assert found == set()


def test_the_cli_imports_the_engine_only_inside_a_function():
    found = {
        (str(path.relative_to(CHECKOUT)), node.lineno)
        for path in CLI.rglob("*.py")
        for tree in [ast.parse(path.read_text(encoding="utf-8"))]
        for node in imports_of(tree, "trustnode.engine")
        if not functions_around(tree, node)
    }

    assert found == set()
