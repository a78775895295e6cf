"""``trustnode status`` on a screen.

Decides: the lines (surface 2) and the object for programs. Leaves to others: what the node reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustnode.cli import output
from trustnode.cli.times import seconds_between

Status = Mapping[str, Any]
"""``NodeStatus`` of the contract, in the value form of ``wire.value``."""


def data(status: Status) -> dict[str, Any]:
    """The status for programs: the fields of the contract."""
    return {
        **status,
        "peers": [{**peer, "round_trip_ms": milliseconds(peer)} for peer in status["peers"]],
    }


def milliseconds(peer: Mapping[str, Any]) -> int | None:
    """The newest round trip of a peer; None while it is silent."""
    trip = peer["round_trip"]
    return None if trip is None else round(trip * 1000)


def lines(status: Status) -> list[str]:
    """The status for people, at most 80 columns a line."""
    return [
        _head(status),
        *_named("log", _log(status)),
        *_named("peers", _peers(status)),
        *_named("today", _today(status)),
        *_named("certificate", _certificate(status)),
        *_named("clock", _clock(status)),
        *_named("backup", _backup(status)),
        *_named("mirrors", _mirrors(status)),
        *_named("operators", _operators(status)),
        *_alarms(status),
    ]


def _named(name: str, text: str) -> list[str]:
    if not text:
        return []
    first, *rest = output.wrap(output.printable(text), output.WIDTH - 12)
    return [f"{name:<11} {first}", *(f"{'':<11} {line}" for line in rest)]


def _head(status: Status) -> str:
    left = f"{status['trust_domain']}  {status['level']} {status['area']}".rstrip()
    left += f"  v{status['version']}  up {output.duration(seconds_between(status['started_at'], status['now']))}"
    if status["state"] != "SERVING":
        left += f"  {status['state']}"
    right = output.count(len(status["alarms"]), "alarm") if status["alarms"] else ""
    return f"{output.pad(left, output.WIDTH - len(right))}{right}".rstrip()


def _short(domain: str) -> str:
    return domain.partition(".")[0]


def _log(status: Status) -> str:
    log = status["log"] or {"entries": 0, "signed": 0, "cosignatures": []}
    entries = f"{log['entries']:,} {'entry' if log['entries'] == 1 else 'entries'}"
    witnesses = log["cosignatures"]
    if not witnesses:
        return f"{entries}; signed to {log['signed']:,}; no witness"
    best = max(one["size"] for one in witnesses)
    level = ", ".join(_short(one["witness"]) for one in witnesses if one["size"] == best)
    behind = [_behind(one) for one in witnesses if one["behind"] is not None and (one["size"] < best or not best)]
    cosigned = f"cosigned to {best:,} by {level}" if best else f"signed to {log['signed']:,}, not cosigned yet"
    return "; ".join([entries, cosigned, *behind])


def _behind(witness: Mapping[str, Any]) -> str:
    return f"{_short(witness['witness'])} {output.age(witness['behind'])} behind"


def _peers(status: Status) -> str:
    return "   ".join(map(_peer, status["peers"])) or "none; a node federates with nobody by default"


def _peer(peer: Mapping[str, Any]) -> str:
    name = f"{_short(peer['trust_domain'])} {peer['relation']}"
    if peer["state"] != "APPROVED":
        return f"{name} {peer['state']}"
    if peer["silent_since"]:
        return f"{name} silent since {output.local_time(peer['silent_since'])[11:16]}"
    trip = milliseconds(peer)
    return f"{name} ok" + (f" {trip} ms" if trip is not None else "")


def _today(status: Status) -> str:
    today = status["today"] or dict.fromkeys(("contracts", "reads", "refused", "rows", "streams"), 0)
    return "   ".join(
        (
            output.count(today["contracts"], "contract"),
            output.count(today["reads"], "read"),
            f"{today['refused']:,} refused",
            f"{_large(today['rows'])} rows",
            output.count(today["streams"], "stream"),
        )
    )


def _large(number: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M")):
        if number >= size:
            return f"{number // size} {unit}"
    return f"{number:,}"


def _certificate(status: Status) -> str:
    parts = []
    if status["certificate_renews_at"]:
        parts.append(f"renews itself in {output.age(seconds_between(status['now'], status['certificate_renews_at']))}")
    if status["authority_not_after"]:
        left = int(seconds_between(status["now"], status["authority_not_after"]) // 86400)
        parts.append(f"authority ends {output.day(status['authority_not_after'])} ({left} d)")
    return "; ".join(parts)


def _clock(status: Status) -> str:
    offset = status["clock_offset"]
    against = len([peer for peer in status["peers"] if not peer["silent_since"]])
    clock = "no peer to compare with" if offset is None else f"{offset:+.2f} s against {output.count(against, 'peer')}"
    left = f", {status['disk_days_left']} d at this rate" if status["disk_days_left"] is not None else ""
    return f"{clock}; disk {status['disk_used_percent']} %{left}"


def _backup(status: Status) -> str:
    if not status["backup_at"]:
        return "none yet: trustnode backup create -o FILE"
    tested = status["backup_tested_at"]
    said = f"last restored in a test {output.day(tested)}" if tested else "never tested"
    return f"{output.local_time(status['backup_at'])}; {said}"


def _mirrors(status: Status) -> str:
    copies = (status["log"] or {}).get("mirrors", ())
    return "; ".join(f"{_short(one['trust_domain'])} holds {one['size']:,}" for one in copies)


def _operators(status: Status) -> str:
    """Whoever is alone is told so, every time (surface 2)."""
    people = status["operators"]
    if len(people) > 1:
        return ", ".join(f"{one['name']} {one['role']}" for one in people)
    who = f"{people[0]['name']} alone" if people else "one person alone"
    return f"{who} can do everything: trustnode admin add NAME --role SECURITY --key FILE"


def _alarms(status: Status) -> list[str]:
    lines = []
    for alarm in status["alarms"]:
        step = f": {alarm['next_step']}" if alarm["next_step"] else ""
        lines += _named("ALARM", f"{alarm['message']}{step}")
    return lines
