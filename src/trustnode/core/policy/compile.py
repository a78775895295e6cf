"""Terms to ODRL: a pure function, so that whoever verifies an agreement compiles again and compares.

Decides: the one policy that given terms mean, in canonical order, and which terms contradict each other or the product.
Leaves to others: the conditions (``conditions``), the grammar of values (``grammar``), the rows language (``rows``),
demands of the level (``level``), conflicts between rules (``conflict``), evaluation (``compiled``).

Silence forbids in ODRL as in the terms: every word that allows something adds a permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from trustnode import vocabulary
from trustnode.core.policy import conflict, duration, grammar, noise, odrl, rows, trace, uses
from trustnode.core.policy import level as levels
from trustnode.core.policy import masks as masking
from trustnode.core.policy import terms as terms_module
from trustnode.core.policy.conditions import atom as _atom
from trustnode.core.policy.conditions import contradiction as _contradiction
from trustnode.core.policy.conditions import except_forbidden as _except_forbidden
from trustnode.core.policy.conditions import premises
from trustnode.core.policy.conditions import several as _several
from trustnode.core.policy.governed import Mask, Measure, Use
from trustnode.core.policy.odrl import Constraint, Duty, Permission, Policy, Prohibition
from trustnode.core.policy.purposes import PURPOSES
from trustnode.core.policy.schema import NUMBERS, Column, Schema, columns
from trustnode.core.policy.terms import Terms
from trustnode.core.policy.uses import MIN_GROUP_FLOOR
from trustnode.errors import error


def compile_terms(
    terms: Terms,
    *,
    price: str,
    schema: Schema,
    zone: str,
    level: str,
    at: datetime,
    approval: str | None = None,
) -> Policy:
    """Compile readable terms into the policy that both sides sign.

    Args:
        terms: The readable form.
        price: ``free`` or ``0.02 CNY per row`` (``grammar.parse_price``).
        schema: Columns of the product.
        zone: Zone of the product, in which whole days are meant; one of ``grammar.ZONES``.
        level: Data level of the product.
        at: When the terms are judged, with a zone; a period that is over then is refused. It is not in the result.
        approval: One of ``level.APPROVALS`` when it is to be checked against the level.

    Returns:
        An Offer without target, identified by its content: same terms, same digest.

    Raises:
        OFFER_UNENFORCEABLE: a term that nothing here keeps.
        FIELD_MISSING: a term that must be said is not.
        POLICY_CONFLICT: two terms contradict each other.
        VOCABULARY_UNKNOWN, FIELD_FORMAT, LEVEL_FORBIDDEN, PRICE_MISSING: as named.
    """
    _demand_said(terms)
    terms_module.refuse_unkept(terms)
    levels.check(level, terms, approval)
    cost = grammar.parse_price(price)
    _refuse_contradictions(terms, cost)
    policy = odrl.identified(
        Policy(
            id=odrl.PROFILE,
            type="Offer",
            profile=odrl.PROFILE,
            permission=(
                Permission(
                    action="aggregate" if terms.result else "read",
                    constraint=premises(terms, grammar.zone(zone), at),
                    duty=(*_plan(terms, schema), *_payment(cost)),
                ),
                *_granted_besides(terms),
            ),
            prohibition=(*_purposes_forbidden(terms), *_actions_forbidden(terms)),
            obligation=_obligations(terms),
        )
    )
    odrl.check_limits(policy)
    conflict.check(policy)
    return policy


def check_stated(
    policy: Policy,
    terms: Terms,
    *,
    price: str,
    schema: Schema,
    zone: str,
    level: str,
    at: datetime,
    approval: str | None = None,
) -> None:
    """Compile terms again and compare: what is shown as terms is the policy that was signed, or nothing.

    Args:
        policy: The policy of an offer or of an agreement.
        terms: The readable form that came with it; the rest as for ``compile_terms``, ``at`` when it was signed.

    Raises:
        HASH_MISMATCH: the terms say something else than the policy.
        Whatever ``compile_terms`` raises.
    """
    stated = compile_terms(terms, price=price, schema=schema, zone=zone, level=level, at=at, approval=approval)
    if not odrl.same_terms(stated, policy):
        raise error("HASH_MISMATCH", "the terms compile to another policy than the one that is signed", field="terms")


# --- what must and must not stand there


def _demand_said(terms: Terms) -> None:
    for key in terms_module.MANDATORY:
        if not getattr(terms, key):
            raise error("FIELD_MISSING", f"{key} must be said; nothing is allowed by silence", field=key)
    if not (terms.columns or terms.masks or terms.result):
        raise error("FIELD_MISSING", 'columns, masks or result = "aggregates" must be said', field="columns")


def _refuse_contradictions(terms: Terms, cost: grammar.Price) -> None:
    if terms.result:
        grammar.parse_word("result", terms.result, grammar.RESULTS)
        if terms.columns:
            raise _contradiction("columns", 'columns and result = "aggregates" exclude each other')
    elif said := [key for key in terms_module.OF_AGGREGATES if getattr(terms, key)]:
        raise _contradiction(said[0], f'{said[0]} belongs to result = "aggregates"')
    if terms.keep == "no copy" and not terms.result:
        message = 'keep = "no copy": rows that are read are a copy; write result = "aggregates"'
        raise error("OFFER_UNENFORCEABLE", message, field="keep")
    _refuse_untraceable(terms, cost)
    _refuse_unpayable(terms, cost)
    _refuse_early_erasure(terms)


def _owed(terms: Terms) -> dict[str, grammar.Owed]:
    found: dict[str, grammar.Owed] = {}
    for text in terms.duties:
        owed = grammar.parse_duty(text)
        if owed.kind in found:
            raise _contradiction("duties", f"duties say twice what {text!r} says")
        found[owed.kind] = owed
    return found


def _refuse_untraceable(terms: Terms, cost: grammar.Price) -> None:
    """Aggregates carry no mark, and a row that nobody asked for is not sold."""
    if terms.trace and terms.result:
        raise _contradiction("trace", 'trace marks rows; result = "aggregates" delivers none')
    if terms.trace and trace.parse(terms.trace).marker_rows and cost.per == "row":
        raise _contradiction("trace", "trace: marker rows would be billed at a price per row; leave them out")


def _refuse_unpayable(terms: Terms, cost: grammar.Price) -> None:
    if "pay" in _owed(terms) and (not cost.amount or cost.per == "once"):
        reason = "is free" if not cost.amount else "is paid before the first read"
        raise _contradiction("duties", f"duties: nothing falls due to be paid later; the offer {reason}")


def _refuse_early_erasure(terms: Terms) -> None:
    kept, report = grammar.parse_keep(terms.keep), _owed(terms).get("report")
    length, interval = duration.parse(kept), report and duration.parse(report.within)
    if length and interval and length.at_least_s < interval.at_least_s:
        raise _contradiction("keep", f"keep = {terms.keep!r} ends before a report on the use is due")


# --- what the plan does


def _parallel(action: str, *constraint: Constraint) -> Duty:
    return Duty(action=action, constraint=constraint, timing="PARALLEL")


def _plan(terms: Terms, schema: Schema) -> tuple[Duty, ...]:
    shape = _aggregate(terms, schema) if terms.result else _project(terms, schema)
    held = (*_masks(terms, schema), *_uses(terms, schema))
    return (*_row_filter(terms, schema), *shape, *held, *_watermark(terms, schema, shape))


def _row_filter(terms: Terms, schema: Schema) -> tuple[Duty, ...]:
    if not terms.rows:
        return ()
    predicate = rows.parse(terms.rows)
    rows.check(predicate, schema)
    return (_parallel("tn:rowFilter", _atom("tn:expression", "eq", rows.to_text(predicate))),)


def _column(field: str, name: str, schema: Schema) -> Column:
    known = columns(schema)
    if name not in known:
        raise vocabulary.unknown(field, name, known)
    return known[name]


def _in_schema_order(field: str, names: Iterable[str], schema: Schema) -> tuple[str, ...]:
    wanted = {_column(field, name, schema).name for name in names}
    return tuple(column.name for column in schema if column.name in wanted)


def _project(terms: Terms, schema: Schema) -> tuple[Duty, ...]:
    if terms.columns == "all":
        clear = tuple(column.name for column in schema if column.name not in terms.masks)
    else:
        clear = _in_schema_order("columns", _several("columns", terms.columns, "all"), schema)
    for name in clear:
        if name in terms.masks:
            raise _contradiction("masks", f"{name} stands in columns and in masks; masked it is not delivered as it is")
    return (_parallel("tn:project", _atom("tn:column", "isPartOf", clear)),) if clear else ()


def _masks(terms: Terms, schema: Schema) -> tuple[Duty, ...]:
    names = _in_schema_order("masks", terms.masks, schema)
    return tuple(_mask(masking.parse_mask(_column("masks", name, schema), terms.masks[name])) for name in names)


def _mask(mask: Mask) -> Duty:
    parameter = (_atom("tn:parameter", "eq", mask.parameter),) if mask.parameter else ()
    return _parallel(
        "tn:mask", _atom("tn:column", "eq", mask.column), _atom("tn:method", "eq", mask.method), *parameter
    )


def _watermark(terms: Terms, schema: Schema, shape: tuple[Duty, ...]) -> tuple[Duty, ...]:
    if not terms.trace:
        return ()
    mark = trace.parse(terms.trace)
    clear = frozenset(name for duty in shape for name in duty.constraint[0].values)
    masks = {name: masking.parse_mask(_column("masks", name, schema), text) for name, text in terms.masks.items()}
    trace.check(mark, columns(schema), clear, masks, frozenset(terms.uses))
    rows_besides = (_atom("tn:markerRows", "lteq", str(mark.marker_rows)),) if mark.marker_rows else ()
    return (
        _parallel(
            "tn:watermark",
            _atom("tn:column", "eq", mark.column),
            _atom("tn:quantum", "eq", mark.quantum),
            _atom("tn:key", "eq", mark.key),
            *rows_besides,
        ),
    )


def _uses(terms: Terms, schema: Schema) -> tuple[Duty, ...]:
    names = _in_schema_order("uses", terms.uses, schema)
    return tuple(_use(use) for use in uses.of_terms(terms, names, schema))


def _use(use: Use) -> Duty:
    column = _atom("tn:column", "eq", use.column)
    if use.kind != "aggregate":
        return _parallel("tn:columnUse", column, _atom("tn:useKind", "eq", use.kind))
    unit = (_atom("tn:privacyUnit", "eq", use.unit),) if use.unit else ()
    return _parallel("tn:aggregateColumn", column, _atom("tn:minGroupSize", "gteq", str(use.min_group)), *unit)


def _aggregate(terms: Terms, schema: Schema) -> tuple[Duty, ...]:
    for key in ("person", "measures", "min_group"):
        if not getattr(terms, key):
            raise error("FIELD_MISSING", f'result = "aggregates" needs {key}', field=key)
    if terms.min_group < MIN_GROUP_FLOOR:
        raise error("FIELD_FORMAT", f"min_group is at least {MIN_GROUP_FLOOR}", field="min_group")
    keys = _group_keys(terms, schema)
    measures = tuple(sorted({grammar.measure_words(_measure(text, terms, schema)) for text in terms.measures}))
    group_by = (_atom("tn:groupBy", "isPartOf", keys),) if keys else ()
    return (
        _parallel(
            "tn:aggregateOnly",
            _atom("tn:privacyUnit", "eq", _column("person", terms.person, schema).name),
            *group_by,
            _atom("tn:measure", "isPartOf", measures),
            _atom("tn:minGroupSize", "gteq", str(terms.min_group)),
        ),
        *noise.duty(terms, keys, schema),
    )


def _group_keys(terms: Terms, schema: Schema) -> tuple[str, ...]:
    keys = _in_schema_order("group_by", terms.group_by, schema)
    if terms.person in keys:
        raise _contradiction("group_by", f"group_by: {terms.person} is the person, and is never delivered")
    for name, mask in terms.masks.items():
        if name not in keys:
            raise _contradiction("masks", f"masks: {name} is not in group_by; of aggregates nothing else is delivered")
        if mask.split(" ")[0] in ("null", "constant"):
            raise _contradiction("masks", f"masks: {name} is a group key and must be delivered")
    return keys


def _measure(text: str, terms: Terms, schema: Schema) -> Measure:
    measure = grammar.parse_measure(text)
    if measure.column and _column("measures", measure.column, schema).family not in NUMBERS:
        raise error("FIELD_FORMAT", f"measures: {measure.column} is no number", field="measures")
    if measure.column == terms.person:
        raise _contradiction("measures", f"measures: {terms.person} is the person, and is never delivered")
    return measure


def _payment(cost: grammar.Price) -> tuple[Duty, ...]:
    """Paid once: a pre-condition. Paid for the use: afterwards, by statement."""
    if not cost.amount:
        return ()
    amount = _atom("payAmount", "eq", cost.amount, cost.currency)
    timing: odrl.Timing = "BEFORE" if cost.per == "once" else "AFTER"
    return (Duty(action="compensate", constraint=(amount, _atom("tn:per", "eq", cost.per)), timing=timing),)


# --- what else is allowed, forbidden, owed


def _granted_besides(terms: Terms) -> tuple[Permission, ...]:
    onward = grammar.parse_word("onward", terms.onward, grammar.ONWARD)
    outside = _except_forbidden(terms, frozenset(PURPOSES))
    carried = (Duty(action="tn:policyTransmit", timing="AFTER"),) if onward == "with these terms" else ()
    aggregated = (_atom("tn:dataState", "eq", "AGGREGATED"),) if onward == "results" else ()
    found = []
    if onward != "forbidden":
        found.append(Permission(action="distribute", constraint=(*outside, *aggregated), duty=carried))
    if terms.derived and grammar.parse_word("derived", terms.derived, grammar.DERIVED):
        found.append(Permission(action="derive", constraint=outside))
    return tuple(found)


def _purposes_forbidden(terms: Terms) -> tuple[Prohibition, ...]:
    words = tuple(sorted(set(terms.not_for)))
    return (Prohibition(action="use", constraint=(_atom("purpose", "isAnyOf", words),)),) if words else ()


_ONWARD_FORBIDDEN: Final[Mapping[str, tuple[str, ...]]] = {
    "forbidden": ("distribute", "grantUse", "sell"),
    "results": ("grantUse", "sell"),
    "with these terms": (),
    "allowed": (),
}


def _actions_forbidden(terms: Terms) -> tuple[Prohibition, ...]:
    words = (*_ONWARD_FORBIDDEN[terms.onward], *(("reproduce",) if terms.keep == "no copy" else ()))
    return tuple(Prohibition(action=word) for word in words)


def _obligations(terms: Terms) -> tuple[Duty, ...]:
    owed, kept = _owed(terms), grammar.parse_keep(terms.keep)
    found = []
    if duration.parse(kept):
        found.append(_after("delete", _atom("tn:retention", "lteq", kept)))
    if terms.derived == "same terms":
        found.append(_after("tn:policyTransmit", _atom("tn:dataState", "eq", "DERIVED")))
    return (*found, *(_obligation(owed[kind]) for kind in _DUTY_ORDER if kind in owed))


_DUTY_ORDER: Final = ("attribute", "pay", "report", "leak")


def _obligation(owed: grammar.Owed) -> Duty:
    if owed.kind == "attribute":
        return _after("attribute")
    if owed.kind == "pay":
        return _after("compensate", _atom("delayPeriod", "lteq", owed.within))
    if owed.kind == "report":
        return _after("inform", _atom("event", "eq", "USE"), _atom("timeInterval", "eq", owed.within))
    return _after("inform", _atom("event", "eq", "LEAK"), _atom("delayPeriod", "lteq", owed.within))


def _after(action: str, *constraint: Constraint) -> Duty:
    return Duty(action=action, constraint=constraint, timing="AFTER")
