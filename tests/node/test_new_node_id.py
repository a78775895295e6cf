"""The identifier a new node gives itself stands in its SPIFFE id, whatever chance says."""

import itertools

from trustnode import home
from trustnode.core import identifier
from trustnode.core.identity import parse_spiffe_id


def test_an_identifier_that_no_spiffe_path_holds_is_drawn_again(monkeypatch):
    def code(number):
        random = identifier.random_part(number.to_bytes(8, "big"))
        return identifier.node_id("REGIONAL", "913300000000000004", "3300", random)

    starred = next(number for number in itertools.count(1) if "*" in code(number))
    drawn = iter([starred, starred, next(number for number in itertools.count(1) if "*" not in code(number))])
    monkeypatch.setattr(home.secrets, "token_bytes", lambda size: next(drawn).to_bytes(size, "big"))

    made = home._new_node_id("REGIONAL", "913300000000000004", "3300")

    assert str(parse_spiffe_id(f"spiffe://zj.example/node/{made}")).endswith(made)
