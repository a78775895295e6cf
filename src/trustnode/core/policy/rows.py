"""The ``rows`` line: a condition in a small closed language, and back to text.

Decides: what a condition may say (columns, literals, = <> < <= > >= in between is null, and or not, parentheses, and
the two placeholders), and whether it fits the columns. Leaves to others: turning a predicate into SQL, with its
literals as bound values (``engine.plan``).

    or    := and ("or" and)*              test  := column operator literal
    and   := not ("and" not)*                    | column ["not"] "in" "(" literal ("," literal)* ")"
    not   := "not" not | "(" or ")"              | column ["not"] "between" literal "and" literal
           | test                                | column "is" ["not"] "null"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Final, Literal, NoReturn, cast

from trustnode import vocabulary
from trustnode.core.policy.governed import Comparison, Junction, Predicate, Scalar
from trustnode.core.policy.schema import NUMBERS, Column, Family, Schema, columns
from trustnode.errors import TrustnodeError, error

PLACEHOLDERS: Final = ("{consumer.id}", "{consumer.area}")
"""Stand for verified attributes of the consumer; ``bind`` puts the values in."""

MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 16
MAX_VALUES: Final = 1000
_MAX_INTEGER: Final = 2**53 - 1
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "between", "is", "null", "true", "false"})
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?![\w.]))
      | (?P<placeholder>\{[a-z.]*\})
      | (?P<operator><>|<=|>=|=|<|>)
      | (?P<mark>[(),])
      | (?P<name>[^\W\d]\w*)
    )""",
    re.VERBOSE,
)
_DATE: Final = (re.compile(r"\d{4}-\d\d-\d\d"), date.fromisoformat)
_TIMES: Final[Mapping[str, tuple[tuple[re.Pattern[str], Callable[[str], object]], ...]]] = {
    "date": (_DATE,),
    "time": ((re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?"), lambda text: [time.fromisoformat(text)]),),
    "timestamp": (
        _DATE,
        (
            re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?"),
            datetime.fromisoformat,
        ),
    ),
}
_Comparator = Literal["=", "<>", "<", "<=", ">", ">=", "in", "between", "is null", "is not null"]
_PLAIN_NAME: Final = re.compile(r"[^\W\d]\w*")
_NUMBER: Final = re.compile(r"-?[0-9]{1,38}(\.[0-9]{1,38})?")


def _refuse(message: str) -> NoReturn:
    raise error("FIELD_FORMAT", f"rows: {message}", field="rows")


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            _refuse(f"cannot read {text[position : position + 20].strip()!r}")
        kind = cast("str", match.lastgroup)
        word = match[kind]
        is_keyword = kind == "name" and word.lower() in _KEYWORDS
        found.append(("keyword", word.lower()) if is_keyword else (kind, word))
        position = match.end()
    return found


class _Reader:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.position = 0
        self.depth = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.position] if self.position < len(self.tokens) else ("end", "the end")

    def take(self, *words: str) -> bool:
        kind, word = self.peek()
        if kind in ("keyword", "mark") and word in words:
            self.position += 1
            return True
        return False

    def need(self, word: str) -> None:
        if not self.take(word):
            _refuse(f"{word!r} expected before {self.peek()[1]!r}")

    def disjunction(self) -> Predicate:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH}")
        found = [self.conjunction()]
        while self.take("or"):
            found.append(self.conjunction())
        self.depth -= 1
        return found[0] if len(found) == 1 else Junction("or", tuple(found))

    def conjunction(self) -> Predicate:
        found = [self.negation()]
        while self.take("and"):
            found.append(self.negation())
        return found[0] if len(found) == 1 else Junction("and", tuple(found))

    def negation(self) -> Predicate:
        if self.take("not"):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                _refuse(f"nested deeper than {MAX_DEPTH}")
            inner = Junction("not", (self.negation(),))
            self.depth -= 1
            return inner
        if self.take("("):
            found = self.disjunction()
            self.need(")")
            return found
        return self.comparison()

    def comparison(self) -> Predicate:
        column = self.column()
        if self.take("is"):
            negative = self.take("not")
            self.need("null")
            return Comparison(column, "is not null" if negative else "is null")
        negative = self.take("not")
        found = self.membership(column)
        if found is not None:
            return Junction("not", (found,)) if negative else found
        kind, word = self.peek()
        if kind != "operator" or negative:
            _refuse(f"an operator expected before {word!r}")
        self.position += 1
        return Comparison(column, cast("_Comparator", word), (self.literal(),))

    def membership(self, column: str) -> Comparison | None:
        if self.take("in"):
            return Comparison(column, "in", self.list_of_literals())
        if self.take("between"):
            low = self.literal()
            self.need("and")
            return Comparison(column, "between", (low, self.literal()))
        return None

    def list_of_literals(self) -> tuple[Scalar, ...]:
        self.need("(")
        found = [self.literal()]
        while self.take(","):
            found.append(self.literal())
        self.need(")")
        if len(found) > MAX_VALUES:
            _refuse(f"more than {MAX_VALUES} values in one list")
        return tuple(found)

    def column(self) -> str:
        kind, word = self.peek()
        if kind not in ("name", "quoted"):
            _refuse(f"a column expected before {word!r}")
        self.position += 1
        return word[1:-1].replace('""', '"') if kind == "quoted" else word

    def literal(self) -> Scalar:
        kind, word = self.peek()
        self.position += 1
        if kind == "text":
            return _text_literal(word)
        if kind == "number":
            return _number_literal(word)
        if kind == "placeholder" and word in PLACEHOLDERS:
            return word
        if (kind, word) in (("keyword", "true"), ("keyword", "false")):
            return word == "true"
        if (kind, word) == ("keyword", "null"):
            _refuse("a comparison with null is never true; write: is null")
        if kind == "placeholder":
            _refuse(f"no placeholder {word}; there are {' and '.join(PLACEHOLDERS)}")
        return _refuse(f"a literal expected before {word!r}")


def _text_literal(word: str) -> str:
    text = word[1:-1].replace("''", "'")
    if text in PLACEHOLDERS:
        _refuse(f"{text} is a placeholder and stands without quotes")
    return text


def _number_literal(word: str) -> Scalar:
    if not _NUMBER.fullmatch(word):
        _refuse("a number has at most 38 digits")
    if "." in word:
        return word
    if abs(int(word)) > _MAX_INTEGER:
        _refuse("a whole number lies between -(2^53 - 1) and 2^53 - 1; put a larger one in quotes")
    return int(word)


def parse(text: str) -> Predicate:
    """Read a condition.

    Raises:
        FIELD_FORMAT: what was expected, and before which word.
    """
    if not text.strip() or len(text) > MAX_LENGTH:
        _refuse(f"a condition has 1 to {MAX_LENGTH} characters")
    reader = _Reader(text)
    found = reader.disjunction()
    if reader.peek()[0] != "end":
        _refuse(f"the condition goes on after its end: {reader.peek()[1]!r}")
    return found


_BINDING: Final = {"or": 0, "and": 1, "not": 2}


def to_text(predicate: Predicate) -> str:
    """Canonical text of a predicate: ``parse(to_text(p)) == p``."""
    if isinstance(predicate, Comparison):
        return _comparison_text(predicate)
    parts = [_operand_text(part, predicate.operator) for part in predicate.operands]
    return f"not {parts[0]}" if predicate.operator == "not" else f" {predicate.operator} ".join(parts)


def _operand_text(part: Predicate, outer: str) -> str:
    """Parentheses wherever the operand is itself a junction of lower or equal binding."""
    inner = to_text(part)
    loose = isinstance(part, Junction) and part.operator != "not" and _BINDING[part.operator] <= _BINDING[outer]
    return f"({inner})" if loose else inner


def _comparison_text(test: Comparison) -> str:
    column = test.column
    if not _PLAIN_NAME.fullmatch(column) or column.lower() in _KEYWORDS:
        column = '"' + column.replace('"', '""') + '"'
    values = [_literal_text(value) for value in test.values]
    if test.operator == "in":
        return f"{column} in ({', '.join(values)})"
    if test.operator == "between":
        return f"{column} between {values[0]} and {values[1]}"
    return " ".join([column, test.operator, *values])


def _literal_text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or value in PLACEHOLDERS:
        return str(value)
    text = "" if value is None else value
    is_fraction = "." in text and _NUMBER.fullmatch(text)
    return text if is_fraction else "'" + text.replace("'", "''") + "'"


def tests(predicate: Predicate) -> tuple[Comparison, ...]:
    """Every comparison in it, left to right."""
    if isinstance(predicate, Comparison):
        return (predicate,)
    return tuple(test for part in predicate.operands for test in tests(part))


def conjuncts(predicate: Predicate) -> tuple[Predicate, ...]:
    """The parts that must all hold; the predicate itself when it is no conjunction."""
    if isinstance(predicate, Junction) and predicate.operator == "and":
        return predicate.operands
    return (predicate,)


def check(predicate: Predicate, schema: Schema) -> None:
    """Refuse a condition on a column that is not there, or that compares it with something of another kind.

    Raises:
        VOCABULARY_UNKNOWN: no such column; names the nearest.
        FIELD_FORMAT: a literal does not fit its column.
    """
    known = columns(schema)
    for test in tests(predicate):
        if test.column not in known:
            raise vocabulary.unknown("rows", test.column, known)
        for value in test.values:
            _check_literal(known[test.column], test, value)


def _check_literal(column: Column, test: Comparison, value: Scalar) -> None:
    if not _fits(column.family, value):
        _refuse(f"{column.name} is {column.type}; {_literal_text(value)} does not fit")
    if column.family == "boolean" and test.operator not in ("=", "<>", "in"):
        _refuse(f"{column.name} is true or false; {test.operator} does not order it")


def _fits(family: Family, value: Scalar) -> bool:
    if family == "boolean" or isinstance(value, bool):
        return family == "boolean" and isinstance(value, bool)
    if family in NUMBERS:
        whole = isinstance(value, int) or bool(re.fullmatch(r"-?[0-9]{1,38}", value or ""))
        return whole or (family != "integer" and bool(_NUMBER.fullmatch(str(value))))
    if not isinstance(value, str) or family == "binary":
        return False
    return family == "text" or (value not in PLACEHOLDERS and _is_time(family, value))


def _is_time(family: Family, value: str) -> bool:
    shapes = [(shape, reader) for shape, reader in _TIMES[family] if shape.fullmatch(value)]
    try:
        return bool(shapes) and bool(shapes[0][1](value))
    except ValueError:
        return False


def bind(predicate: Predicate, attributes: Mapping[str, str]) -> Predicate:
    """Put verified attributes of the consumer in the place of the placeholders.

    Args:
        predicate: From ``parse``.
        attributes: ``{"{consumer.id}": ..., "{consumer.area}": ...}``; an empty value counts as missing.

    Raises:
        DEFAULT_DENIED: the condition needs an attribute that is not known.
    """
    if isinstance(predicate, Junction):
        return Junction(predicate.operator, tuple(bind(part, attributes) for part in predicate.operands))
    values = tuple(_bound(value, attributes) if value in PLACEHOLDERS else value for value in predicate.values)
    return Comparison(predicate.column, predicate.operator, values)


def _bound(placeholder: Scalar, attributes: Mapping[str, str]) -> str:
    value = attributes.get(str(placeholder), "")
    if not value:
        raise _missing(str(placeholder))
    return value


def _missing(placeholder: str) -> TrustnodeError:
    return error("DEFAULT_DENIED", f"rows depend on {placeholder}, which is not known here", field="rows")
