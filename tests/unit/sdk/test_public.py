"""What ``import trustnode`` gives, and what it costs."""

import asyncio
import inspect
import subprocess
import sys

import pytest

import trustnode
from trustnode import errors
from trustnode.sdk import aio, blocking

PUBLIC = {
    "IdentityRefused",
    "NotFound",
    "PolicyDenied",
    "QuotaExceeded",
    "StateError",
    "TrustnodeError",
    "VenueUnavailable",
    "VerificationFailed",
    "aio",
    "connect",
    "errors",
    "join",
    "operator",
    "verify",
}


def test_the_public_names_are_exactly_these():
    assert set(trustnode.__all__) == PUBLIC == set(dir(trustnode))
    assert all(getattr(trustnode, name) is not None for name in PUBLIC)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError):
        trustnode.nothing  # noqa: B018


def test_errors_are_the_classes_of_the_table():
    assert trustnode.PolicyDenied is errors.PolicyDenied
    assert trustnode.aio is aio


def test_the_import_loads_neither_grpc_nor_arrow_nor_the_client():
    program = "import sys, trustnode; print([m for m in sys.modules if m.split('.')[0] in ('grpc','pyarrow','google') or m.startswith('trustnode.sdk')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_connecting_loads_no_arrow():
    program = "import sys, trustnode; trustnode.connect; print([m for m in ('pyarrow','pandas','polars','duckdb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("source", blocking.FORMS, ids=lambda source: source.__name__)
def test_every_public_member_of_an_asynchronous_class_has_its_blocking_form(source):
    form = blocking.FORMS[source]
    own = [base for base in source.__mro__ if base.__module__.startswith("trustnode.")]
    wanted = {name for base in own for name in vars(base) if not name.startswith("_")} - {"aclose"}

    assert wanted <= set(dir(form))
    assert not [name for name in wanted if inspect.iscoroutinefunction(getattr(form, name))]


def test_the_asynchronous_classes_that_do_something_all_have_a_blocking_form():
    values = {"Profile", "Delivered", "Explanation", "OfferView"}  # nothing in them waits
    classes = {name: getattr(aio, name) for name in aio.__all__ if inspect.isclass(getattr(aio, name))}

    assert {name for name, cls in classes.items() if cls not in blocking.FORMS} == values


class Counter:
    """Something asynchronous."""

    def __init__(self):
        self.count = 0

    async def add(self, other):
        await asyncio.sleep(0)
        self.count += other.count if isinstance(other, Counter) else other
        return self

    async def __aiter__(self):
        for number in range(self.count):
            yield number

    @property
    def doubled(self):
        return self.count * 2


Counter.__module__ = "trustnode.sdk.example"


def test_a_blocking_form_waits_wraps_results_and_unwraps_arguments():
    @blocking.form_of(Counter)
    class Blocked(blocking.Blocking):
        pass

    try:
        one = Blocked(Counter())
        again = one.add(2)

        assert isinstance(again, Blocked)
        assert one.add(again).count == 4
        assert one.doubled == 8
        assert list(one) == [0, 1, 2, 3]
    finally:
        del blocking.FORMS[Counter]
