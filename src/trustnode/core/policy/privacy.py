"""Differential privacy in whole numbers: what a question costs, what there is in all, and the noise rule of a policy.

Decides: the unit of the ledger, how epsilon and delta become rho, which parameters of ``tn:dp`` fit each other. Leaves
to others: keeping the ledger (``app.budget``), bounding and noise (``engine.noise``).

The ledger adds rho of zero-concentrated differential privacy (zCDP), in billionths, because rho adds exactly and
epsilon does not. ``rho_of`` solves the textbook bound ``epsilon = rho + 2 sqrt(rho ln(1 / delta))`` (Bun and Steinke
2016, proposition 1.3) in decimal arithmetic and rounds down, so every machine gets the same number. The bound is
conservative: a numeric conversion such as OpenDP's shows a smaller epsilon for the same rho, never a larger one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Final, NamedTuple

import msgspec

from trustnode.core.policy import grammar
from trustnode.core.policy.governed import Clamp, KeyValues, NoiseRule
from trustnode.core.policy.words import Window
from trustnode.errors import TrustnodeError, error

RHO_UNITS: Final = 10**9
"""Ledger units in a rho of 1."""
DELTA_UNITS: Final = 10**18
"""Ledger units in a delta of 1."""
NOISE_95: Final = b"trustnode.noise_95"
"""Metadata of an answer's column: half-width of its 95 % interval."""
MAX_EPSILON: Final = Decimal(100)
MAX_DELTA: Final = Decimal("0.001")
MAX_BOUND: Final = 10**9
"""Largest value that a clamp may name."""
MAX_CLAMP_DIGITS: Final = 6
MAX_PER_PERSON: Final = 1000
MAX_CELLS: Final = 10_000
"""Most groups that the lists of public keys may span."""
WINDOWS: Final[tuple[Window, ...]] = ("none", "day", "week", "month", "year")

_EXACT: Final = Context(prec=60)


class Budget(NamedTuple):
    """What the questions of one asker on one source may cost in one window."""

    window: Window
    rho: int
    """Of one question, in billionths."""
    rho_in_all: int
    delta: int
    """Of one question, for keys that are not public, in 10^-18; 0: all keys are."""
    delta_in_all: int
    epsilon: str
    """Of one question, as the terms say it."""
    epsilon_in_all: str

    @property
    def questions(self) -> int:
        """How many questions of this cost there are in a window."""
        return self.rho_in_all // self.rho

    def left(self, used: int) -> int:
        """How many more questions of this cost fit, after ``used`` billionths of rho."""
        return max(0, self.rho_in_all - used) // self.rho


def rho_of(epsilon: Decimal, delta: Decimal) -> int:
    """The largest rho, in billionths, that is (epsilon, delta)-differentially private by the textbook bound.

    Args:
        epsilon: Above 0.
        delta: Above 0 and below 1.

    Returns:
        ``(sqrt(ln(1 / delta) + epsilon) - sqrt(ln(1 / delta)))^2``, rounded down; the same on every machine.
    """
    log = -_EXACT.ln(delta)
    root = _EXACT.subtract(_EXACT.sqrt(_EXACT.add(log, epsilon)), _EXACT.sqrt(log))
    return int(_EXACT.multiply(_EXACT.multiply(root, root), Decimal(RHO_UNITS)).to_integral_value(ROUND_FLOOR))


# --- values as they are written ---------------------------------------------------------------------------------------


def number(field: str, value: str | int) -> Decimal:
    """A plain decimal number.

    Raises:
        FIELD_FORMAT: it is none, or has more than 18 digits on either side.
    """
    try:
        found = Decimal(value)
    except InvalidOperation:
        raise _format(field, f"{value!r} is no number") from None
    digits = found.as_tuple()
    exponent = digits.exponent
    if not isinstance(exponent, int) or exponent < -18 or len(digits.digits) + max(exponent, 0) > 18:
        raise _format(field, f"{value!r} has too many digits")
    return found


def text(value: Decimal) -> str:
    """The one spelling of a number: ``0.0000001``, ``10``."""
    plain = format(value, "f")
    return (plain.rstrip("0").rstrip(".") if "." in plain else plain) or "0"


def clamp_text(clamp: Clamp) -> str:
    """``10 70 bmi``."""
    return f"{clamp.low} {clamp.high} {clamp.column}"


def parse_clamp(written: str, field: str = "tn:clamp") -> Clamp:
    """Read ``10 70 bmi``.

    Raises:
        FIELD_FORMAT: no two bounds in order before a column, or beyond what a sum can hold.
    """
    parts = written.split(" ", 2)
    if len(parts) != 3:
        raise _format(field, f"{written!r}: a lower bound, an upper bound and a column expected")
    low, high = number(field, parts[0]), number(field, parts[1])
    if not low < high:
        raise _format(field, f"{parts[2]}: the lower bound lies below the upper one")
    if max(abs(low), abs(high)) > MAX_BOUND or _digits(low) > MAX_CLAMP_DIGITS or _digits(high) > MAX_CLAMP_DIGITS:
        raise _format(field, f"{parts[2]}: bounds up to 10^9 with at most {MAX_CLAMP_DIGITS} decimals")
    return Clamp(parts[2], text(low), text(high))


def key_text(column: str, value: str) -> str:
    """One public key as the policy writes it: ``["age","10"]``."""
    return msgspec.json.encode((column, value)).decode()


def parse_key(written: str) -> tuple[str, str]:
    """Read ``["age","10"]``.

    Raises:
        FIELD_FORMAT: it is not that.
    """
    try:
        found = msgspec.json.decode(written, type=tuple[str, str])
    except msgspec.DecodeError:
        raise _format("tn:keys", f"{written[:64]!r}: a column and a value expected") from None
    if key_text(*found) != written:
        raise _format("tn:keys", f"{written[:64]!r} is not in its canonical form")
    return found


# --- the parameters of tn:dp ------------------------------------------------------------------------------------------

Values = Mapping[str, tuple[str, ...]]


def read(values: Values, group_by: tuple[str, ...], in_all: str, window: Window) -> tuple[NoiseRule, Budget]:
    """The noise rule and the ledger's limits that ``tn:dp`` and ``tn:epsilon`` state.

    Args:
        values: Parameter of ``tn:dp`` -> its values.
        group_by: Columns that may be grouped by.
        in_all: Epsilon of all questions of a window.
        window: The window.

    Raises:
        FIELD_FORMAT, POLICY_CONFLICT: they cannot be read, or do not fit each other.
    """
    keys, clamps = _keys(values, group_by), _clamps(values)
    delta = _delta(values)
    private = any(column not in keys for column in group_by)
    budget = _budget(values, delta, in_all, window, private=private)
    return NoiseRule(
        rho=budget.rho,
        key_delta=budget.delta,
        groups_per_person=_count(values, "tn:groupsPerPerson"),
        rows_per_group=_count(values, "tn:rowsPerGroup"),
        clamps=clamps,
        keys=tuple(KeyValues(column, tuple(found)) for column, found in keys.items()),
    ), budget


def _keys(values: Values, group_by: tuple[str, ...]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for column, value in map(parse_key, values.get("tn:keys", ())):
        keys.setdefault(column, []).append(value)
    if not keys.keys() <= set(group_by):
        raise error("POLICY_CONFLICT", "noise.keys: only columns of group_by have public keys", field="noise.keys")
    if cells_of(keys) > MAX_CELLS:
        raise _format("noise.keys", f"the public keys span more than {MAX_CELLS:,} groups")
    return keys


def _clamps(values: Values) -> tuple[Clamp, ...]:
    clamps = tuple(parse_clamp(written) for written in values.get("tn:clamp", ()))
    if len({clamp.column for clamp in clamps}) < len(clamps):
        raise error("POLICY_CONFLICT", "noise.clamp: a column is clamped once", field="noise.clamp")
    return clamps


def _budget(values: Values, delta: Decimal, in_all: str, window: Window, *, private: bool) -> Budget:
    """Where keys are private, half of delta is for the conversion, half for choosing keys, in equal parts."""
    if window not in WINDOWS:
        raise _format("noise.per", "counted in all, or per day, week, month or year")
    one, total = (
        _epsilon("noise.epsilon_per_query", values["tn:epsilonPerQuery"][0]),
        _epsilon("epsilon_in_all", in_all),
    )
    share = delta / 2 if private else delta
    rho, rho_in_all = rho_of(one, share), rho_of(total, share)
    if rho < 1:
        raise _format("noise.epsilon_per_query", "too small to be counted")
    if rho > rho_in_all:
        message = f"noise: epsilon_per_query = {one} is more than epsilon_in_all = {total}"
        raise error("POLICY_CONFLICT", message, field="noise.epsilon_per_query")
    delta_in_all = int(share * DELTA_UNITS) if private else 0
    key_delta = delta_in_all // (rho_in_all // rho)
    if private and key_delta < 1:
        raise _format("noise.delta", "too small for so many questions; name the keys, or write a larger delta")
    return Budget(window, rho, rho_in_all, key_delta, delta_in_all, text(one), text(total))


def cells_of(keys: Mapping[str, Sized]) -> int:
    """How many groups lists of keys span."""
    return math.prod(len(values) for values in keys.values())


def _epsilon(field: str, written: str) -> Decimal:
    found = number(field, written)
    if not 0 < found <= MAX_EPSILON:
        raise _format(field, f"above 0, up to {MAX_EPSILON}")
    return found


def _delta(values: Values) -> Decimal:
    found = number("noise.delta", values["tn:delta"][0])
    if not 0 < found <= MAX_DELTA:
        raise _format("noise.delta", f"above 0, up to {MAX_DELTA}")
    return found


def _count(values: Values, name: str) -> int:
    written = values[name][0]
    if not (written.isascii() and written.isdigit() and len(written) <= 4 and 1 <= int(written) <= MAX_PER_PERSON):
        raise _format(name, f"a whole number from 1 to {MAX_PER_PERSON}")
    return int(written)


def _digits(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _format(field: str, message: str) -> TrustnodeError:
    return error("FIELD_FORMAT", f"{field}: {message}", field=field)


def window_words(window: Window) -> str:
    """``per year``, ``in all``."""
    return "in all" if window == "none" else f"per {window}"


def window_of(per: str) -> Window:
    """The window that the terms name; empty is the whole time.

    Raises:
        VOCABULARY_UNKNOWN: another word.
    """
    if not per:
        return "none"
    return grammar.parse_word("noise.per", per, WINDOWS[1:])  # type: ignore[return-value] # one of the words given
