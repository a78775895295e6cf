"""Acts of operators: two people, or one who says that he is alone."""

from __future__ import annotations

import uuid

import msgspec
import pytest

from trustnode.core import documents as _documents  # noqa: F401
from trustnode.core.document import cosign, seal
from trustnode.core.operator import ROLES, Operator, OperatorAct, check_act, check_new
from trustnode.errors import TrustnodeError
from trustnode.keys.files import FileSigner

NOW, LATER = "2026-11-24T03:20:03.000Z", "2026-11-25T03:20:03.000Z"
KEYS = {name: FileSigner.generate() for name in ("li", "wang", "zhao", "stranger")}
LI, WANG, ZHAO = (
    Operator(name=name, role=role, public=KEYS[name].public.hex())
    for name, role in zip(("li", "wang", "zhao"), ROLES, strict=True)
)


def act(asked_by: str = "li", **changes: object) -> OperatorAct:
    made = OperatorAct(
        suite="tn1", id=str(uuid.uuid4()), iss="zj.example", aud=("zj.example",), time=NOW, expires=LATER,
        act="log.recover", arguments=("gz.example",), asked_by=asked_by,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def check(document, operators, *, alone=False, now=NOW, arguments=("gz.example",)):
    return check_act(
        document, operators, domain="zj.example", now=now, act="log.recover", arguments=arguments, alone=alone
    )


def refused(document, operators, **how) -> str:
    with pytest.raises(TrustnodeError) as problem:
        check(document, operators, **how)
    return problem.value.reason


def test_two_people_are_enough_and_both_are_named():
    found = check(seal(act(), KEYS["li"], KEYS["wang"]), [LI, WANG])
    assert (found.asked_by, found.approved_by) == ("li", "wang")


def test_whoever_asked_does_not_approve():
    assert refused(seal(act(), KEYS["li"]), [LI, WANG]) == "APPROVAL_MISSING"
    assert refused(cosign(seal(act(), KEYS["li"]), KEYS["li"]), [LI, WANG]) == "APPROVAL_MISSING"
    assert refused(seal(act(), KEYS["li"]), [LI, WANG], alone=True) == "APPROVAL_MISSING"


def test_a_stranger_is_nobody():
    assert refused(seal(act(), KEYS["li"], KEYS["stranger"]), [LI, WANG]) == "APPROVAL_MISSING"
    assert refused(seal(act("wang"), KEYS["li"]), [LI, WANG]) == "SIGNATURE_INVALID"
    assert refused(seal(act(""), KEYS["wang"], KEYS["li"]), [LI, WANG]) == "SIGNATURE_INVALID"
    assert refused(seal(act()), [LI, WANG]) == "SIGNATURE_INVALID"


def test_an_auditor_approves_and_orders_nothing():
    assert refused(seal(act("zhao"), KEYS["zhao"], KEYS["li"]), [LI, ZHAO]) == "ROLE_NOT_ALLOWED"
    assert check(seal(act(), KEYS["li"], KEYS["zhao"]), [LI, ZHAO]).approved_by == "zhao"


def test_one_person_alone_has_to_say_so():
    assert refused(seal(act(), KEYS["li"]), [LI]) == "APPROVAL_MISSING"
    assert check(seal(act(), KEYS["li"]), [LI], alone=True).approved_by == ""
    assert check(seal(act("")), [], alone=True).asked_by == ""
    assert refused(seal(act("")), []) == "APPROVAL_MISSING"


def test_an_act_orders_what_it_says_and_for_a_day():
    both = seal(act(), KEYS["li"], KEYS["wang"])
    assert refused(both, [LI, WANG], arguments=("fin.example",)) == "HASH_MISMATCH"
    assert refused(both, [LI, WANG], now="2026-11-25T04:20:03.000Z") == "TIME_SKEW"
    assert refused(seal(act(iss="gz.example"), KEYS["li"], KEYS["wang"]), [LI, WANG]) == "HASH_MISMATCH"


def test_nobody_holds_two_roles():
    for new in (
        Operator(name="li", role="AUDIT", public=KEYS["zhao"].public.hex()),
        Operator(name="lee", role="AUDIT", public=KEYS["li"].public.hex()),
    ):
        with pytest.raises(TrustnodeError) as problem:
            check_new([LI, WANG], new)
        assert problem.value.reason == "DUPLICATE"
    check_new([LI, WANG], ZHAO)


@pytest.mark.parametrize("expires", [None, "2027-11-24T03:20:03.000Z"])
def test_an_approval_that_never_ends_is_none(expires):
    """Two signatures that stay good for ever would let one person repeat the act whenever it suits him."""
    assert refused(seal(act(expires=expires), KEYS["li"], KEYS["wang"]), [LI, WANG]) == "TIME_SKEW"
