"""docs/attacks.md: every row of the requirements stands there, and every test that it names exists."""

import ast
import re

from architecture.contract import CHECKOUT

ROW = re.compile(r"\| ([LIPDQX]\d+[a-z]?) \| ")
LETTERS = {
    "L": {3: "abcde", 4: "abcd", 5: "abcd", 6: "abcdef", 7: "abcdefghijklm", 8: "abcd", 10: "abc", 15: "ab", 19: "ab"},
    "I": {1: "ab", 2: "abcdef", 3: "abc", 4: "abc", 5: "abcdefgh", 6: "abc"},
    "P": {1: "abc", 2: "abc", 3: "abcd", 6: "abc", 7: "abcd"},
    "D": {1: "abcdefghi", 2: "abcdef", 3: "abc", 4: "abc"},
    "Q": {1: "abcdefghijkl", 3: "abc", 4: "ab", 5: "abc"},
    "X": {},
}
"""Section -> number -> letters; a number that is not named here is one row without a letter."""
LAST = {"L": 23, "I": 16, "P": 11, "D": 7, "Q": 7, "X": 12}
WORDS = ("not built: ", "not yet")


def required() -> set[str]:
    numbers = ((word, number) for word, last in LAST.items() for number in range(1, last + 1))
    return {f"{word}{number}{letter}" for word, number in numbers for letter in LETTERS[word].get(number, ("",))}


def rows() -> list[tuple[str, str]]:
    """(id, last column) of every row."""
    lines = (CHECKOUT / "docs/attacks.md").read_text(encoding="utf-8").splitlines()
    return [
        (found[1], line.strip().strip("|").split(" | ")[-1].strip()) for line in lines if (found := ROW.match(line))
    ]


def names_of_tests() -> set[str]:
    names = set()
    for path in (CHECKOUT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
    return names


def test_every_row_of_the_requirements_stands_on_the_page_once():
    ids = [id for id, _ in rows()]
    assert sorted(ids) == sorted(required())


def test_every_test_that_the_page_names_exists_and_carries_the_id_of_its_row():
    there = names_of_tests()
    for id, cell in rows():
        if cell.startswith(WORDS):
            continue
        named = re.findall(r"`(\w+)`", cell)
        assert named, f"{id} names no test and gives no reason"
        assert set(named) <= there, f"{id}: {sorted(set(named) - there)} is no test"
        assert all(f"_{id.lower()}_" in name for name in named), f"{id}: {cell}"


def test_what_is_not_built_says_why():
    for id, cell in rows():
        assert not cell.startswith(WORDS[0]) or len(cell) > len(WORDS[0]) + 20, id
