"""Token buckets: who is one source, and when the next token is there."""

import pytest

from trustnode.app.buckets import Buckets, source_of
from trustnode.rpc.dispatch import _source


@pytest.mark.parametrize(
    "address, counted",
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_one_host_is_one_source_however_many_addresses_it_has(address, counted):
    assert source_of(address) == counted


@pytest.mark.parametrize(
    "peer, counted",
    [
        ("ipv4:192.0.2.1:5555", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3::7%5D:5555", "2001:db8:1:2::"),
        ("ipv6:[2001:db8:1:2:3::7]:5555", "2001:db8:1:2::"),
        ("unix:", "unix"),
    ],
)
def test_the_port_counts_the_addresses_of_grpc_alike(peer, counted):
    assert _source(peer) == counted


def test_tokens_come_back_with_time_and_not_beyond_the_burst():
    now = 0.0
    buckets = Buckets(2, 4, lambda: now)
    assert [buckets.take("a", 2) for _ in range(2)] == [0, 0]
    assert buckets.take("a", 2) == 1.0
    assert buckets.take("b", 4) == 0
    now = 1.0
    assert buckets.take("a", 2) == 0
    now = 100.0
    assert (buckets.take("a", 4), buckets.take("a", 1)) == (0, 0.5)


def test_what_is_charged_is_waited_for_by_the_next():
    now = 0.0
    buckets = Buckets(1, 10, lambda: now)
    buckets.charge("a", 15)
    assert buckets.take("a", 1) == 6.0


def test_the_longest_unused_bucket_is_forgotten():
    buckets = Buckets(1, 1, lambda: 0.0, limit=2)
    assert [buckets.take(key, 1) for key in "abc"] == [0, 0, 0]
    assert buckets.take("a", 1) == 0
    assert buckets.take("c", 1) > 0
