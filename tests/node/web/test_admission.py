"""What is refused before anything looks at a request, and how a refusal looks."""

import pytest
from starlette.responses import PlainTextResponse

from trustnode.config import Web
from trustnode.errors import REASONS, TrustnodeError
from trustnode.web.admission import Admission
from trustnode.web.listener import address
from trustnode.web.refusal import STATUSES

SETTINGS = Web(source_per_second=1, source_burst=10)


class Gate:
    """The gate before a site that always answers, on a clock that the test turns."""

    def __init__(self):
        self.now = 0.0
        self._gate = Admission(PlainTextResponse("let in"), SETTINGS, lambda: self.now)

    async def ask(self, source="192.0.2.1", method="GET", path="/checkpoint"):
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [], "client": (source, 1),
        }  # fmt: skip
        sent = []

        async def send(message):
            sent.append(message)

        await self._gate(scope, None, send)
        return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def test_a_source_that_asks_too_fast_waits():
    gate = Gate()
    assert [(await gate.ask())[0] for _ in range(10)] == [200] * 10
    status, headers = await gate.ask()
    assert (status, headers["retry-after"], headers["cache-control"]) == (429, "1", "no-store")
    assert (await gate.ask("192.0.2.2"))[0] == 200
    gate.now = 1.0
    assert (await gate.ask())[0] == 200


async def test_one_host_of_version_6_is_one_source():
    gate = Gate()
    assert [(await gate.ask(f"2001:db8::{n}"))[0] for n in range(1, 13)] == [200] * 10 + [429] * 2


async def test_a_post_costs_as_much_as_ten_reads():
    gate = Gate()
    assert [(await gate.ask(method="POST"))[0] for _ in range(2)] == [200, 429]
    gate.now = 9.0
    assert (await gate.ask(method="POST"))[0] == 429
    gate.now = 10.0
    assert (await gate.ask(method="POST"))[0] == 200


def test_every_code_of_a_reason_has_a_status():
    assert {row.code for row in REASONS.values()} <= set(STATUSES)


@pytest.mark.parametrize(
    "odd", ["7444", ":7444", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1", "a:²"]
)
def test_an_address_is_host_and_port(odd):
    with pytest.raises(TrustnodeError, match="not host:port"):
        address(odd)


def test_an_address_may_be_one_of_version_6():
    assert address("[::1]:7444") == ("::1", 7444)
