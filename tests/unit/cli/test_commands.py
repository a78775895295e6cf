"""What operators and participants type, what is asked of the node, what they see."""

import json
from datetime import datetime, timedelta

import pytest
from unit.cli.objects import (
    AGREEMENT,
    CONSUMER,
    CONTRACT,
    LISTING,
    NOW,
    OFFER,
    PROVIDER,
    REGISTRATION,
    common,
    document,
    listed,
    negotiation_message,
    thing,
)

from trustnode.cli import output
from trustnode.core.access import AccessRequest, AckItem, DecisionLink, Meter, Receipt, ReceiptAck
from trustnode.core.document import Document
from trustnode.core.participant import ParticipantKey
from trustnode.errors import error
from trustnode.home import StoreChecked
from trustnode.store.difference import Difference

SHORT = "7K3QX9M2"


def statement(payload):
    return json.loads(payload)


def page(*objects, token=""):
    return {"objects": list(objects), "next_page_token": token}


def found(thing, *documents):
    return {"object": thing, "documents": list(documents)}


# --- search and show --------------------------------------------------------------------------------------------------


def hits(*found, **more):
    return {"hits": list(found), "next_page_token": "", "not_asked": [], "feeds": [], "answered_at": NOW, **more}


def test_a_search_looks_as_on_the_page(run, node):
    node.answers["CatalogService/SearchListings"] = hits(listed())
    done = run("search", "航班 准点")

    assert done.stdout.splitlines() == [
        "PRODUCT                  TITLE           OFFER  PRICE  HOPS  AS OF",
        "gz.example/flights-2013  2013年纽约航班  open   free   1     2 s",
    ]
    assert done.stderr == ""
    assert node.requests("CatalogService/SearchListings")[0]["query"] == "航班 准点"


def test_a_silent_venue_is_named_on_stderr(run, node):
    silent = [{"venue": "hn.example", "since": "2026-11-24T04:03:00.000Z"}]
    node.answers["CatalogService/SearchListings"] = hits(listed(), not_asked=silent)

    assert run("search", "x").stderr == "not asked: hn.example (unreachable since 12:03)\n"


def test_a_search_that_must_reach_everybody_ends_with_six(run, node):
    node.answers["CatalogService/SearchListings"] = error("PEER_UNREACHABLE", "hn.example is silent")
    done = run("search", "x", "--all-venues")

    assert done.exit_code == 6
    assert node.requests("CatalogService/SearchListings")[0]["all_venues"] is True


def test_a_search_with_json_is_one_object_with_items(run, node):
    node.answers["CatalogService/SearchListings"] = hits(listed(path=["nat.example"]))
    body = json.loads(run("search", "x", "--json").stdout)

    assert set(body) == {"items", "next_page_token", "not_asked"}
    assert body["items"][0]["hops"] == 2
    assert body["items"][0]["offers"] == [{"name": "open", "price": "free", "approval": "automatic"}]


def test_a_product_shows_columns_as_the_offer_delivers_them_and_terms_with_their_class(run, node):
    columns = [
        {"name": "origin", "type": "utf8", "unit": "", "mask": "", "description": ""},
        {"name": "distance", "type": "int32", "unit": "mi", "mask": "", "description": ""},
        {"name": "tailnum", "type": "utf8", "unit": "", "mask": "hash", "description": ""},
    ]
    described = {"offer": document(OFFER), "name": "open", "columns": columns, "terms": []}
    answer = {"listing": listed(), "offers": [described], "answered_at": NOW}
    node.answers["CatalogService/DescribeListing"] = answer
    done = run("show", "gz.example/flights-2013")

    assert "offer open: free, automatic approval, until 2027-11-24" in done.stdout
    assert "distance  int32  mi" in done.stdout
    assert "tailnum   utf8         hash" in done.stdout
    assert "sold by  bureau at gz.example; 1 hop; verified" in done.stdout
    assert all(output.width(line) <= 80 for line in done.stdout.splitlines())
    assert "promised" in done.stdout
    assert json.loads(run("show", "x", "--json").stdout)["offers"][0]["terms"][0]["kept"] == "enforced"


# --- who is asking ----------------------------------------------------------------------------------------------------


def test_home_and_profile_both_set_and_both_fit_is_wrong_usage(home, monkeypatch):
    from click.testing import CliRunner

    from trustnode.cli.root import root

    done = CliRunner().invoke(root, ["search", "x", "--home", str(home), "--profile", "acme"])

    assert done.exit_code == 2
    assert "both fit" in done.stderr


def test_a_home_without_a_node_names_how_to_make_one(tmp_path):
    from click.testing import CliRunner

    from trustnode.cli.root import root

    done = CliRunner().invoke(root, ["status", "--home", str(tmp_path)])

    assert done.exit_code == 2
    assert f"trustnode init --home {tmp_path}" in done.stderr


def test_what_changes_state_says_first_who_acts(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))
    node.answers["DocumentService/SubmitDocument"] = {
        "object": thing("agreement", CONTRACT, "SUSPENDED", AGREEMENT),
        "produced": [],
    }
    loud = run("agreement", "suspend", "flights", "--reason", "moving")
    quiet = run("agreement", "suspend", "flights", "--reason", "moving", "--quiet")

    assert loud.stderr == "as acme at zj.example\n"
    assert quiet.stderr == ""


# --- agreements -------------------------------------------------------------------------------------------------------


def test_agreements_are_listed_by_short_and_private_name(run, node):
    node.answers["DocumentService/ListObjects"] = page(
        thing("agreement", CONTRACT, "PERFORMING", AGREEMENT), token="t2"
    )
    done = run("agreement", "ls")
    body = json.loads(run("agreement", "list", "--json").stdout)

    assert done.stdout.splitlines()[1].split() == [
        SHORT, "flights", "gz.example/flights-2013", "free", "2028-11-24", "PERFORMING",
    ]  # fmt: skip
    assert body["next_page_token"] == "t2"
    assert body["items"][0]["id"] == CONTRACT
    assert body["items"][0]["name"] == "flights"


def test_a_private_name_is_asked_for_by_its_identifier(run, node):
    node.answers["DocumentService/GetObject"] = found(
        thing("agreement", CONTRACT, "PERFORMING", AGREEMENT), document(OFFER)
    )
    done = run("agreement", "show", "flights")

    assert node.requests("DocumentService/GetObject")[0] == {"kind": "agreement", "id": CONTRACT}
    assert done.exit_code == 0
    assert "provider    bureau at gz.example; receipts by gz.example" in done.stdout
    assert "onward" in done.stdout
    assert all(output.width(line) <= 80 for line in done.stdout.splitlines())


def test_ending_an_agreement_asks_and_without_a_terminal_ends_with_two(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))
    done = run("agreement", "end", "flights")

    assert done.exit_code == 2
    assert node.submitted() == []


def test_ending_an_agreement_dry_changes_nothing(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))
    done = run("agreement", "end", "flights", "--dry-run")

    assert done.exit_code == 0
    assert node.submitted() == []


def test_ending_an_agreement_is_a_proposal_until_the_other_side_signs(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))
    node.answers["DocumentService/SubmitDocument"] = {
        "object": thing("agreement", CONTRACT, "SUSPENDED", AGREEMENT),
        "produced": [],
    }
    done = run("agreement", "end", "flights", "--on", "2026-12-31", "--yes")
    [(kind, payload)] = node.submitted()

    assert done.exit_code == 10
    assert kind.startswith("application/vnd.trustnode.act.")
    assert statement(payload) | {"id": "", "time": ""} == {
        "type": "act", "suite": "tn1", "id": "", "time": "", "iss": CONSUMER, "aud": ["*"], "machine": "agreement",
        "object": CONTRACT, "event": "end_early", "effective": "2026-12-31T16:00:00.000Z",
    }  # fmt: skip


def test_a_delegation_names_the_agreement_its_end_and_its_size(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))
    node.answers["DocumentService/SubmitDocument"] = {
        "object": thing("agreement", CONTRACT, "PERFORMING"),
        "produced": [],
    }
    day = (datetime.now().astimezone() + timedelta(days=20)).date().isoformat()
    done = run("agreement", "delegate", "flights", "--until", day)
    made = statement(node.submitted()[0][1])

    assert done.stdout == f"delegated  {SHORT} to zj.example until {day}, 10,000 accesses\n"
    assert made["agreements"] == [[CONTRACT, document(AGREEMENT).digest]]
    assert made["expires"] == f"{day}T16:00:00.000Z"


def test_a_delegation_beyond_a_month_is_refused(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))

    assert run("agreement", "delegate", "flights", "--until", "2099-12-31").exit_code == 1
    assert node.submitted() == []


# --- inbox ------------------------------------------------------------------------------------------------------------


def waiting(state="REQUESTED"):
    return thing("negotiation", AGREEMENT.negotiation, state, negotiation_message())


def inbox(node, state="REQUESTED"):
    node.answers["DocumentService/ListObjects"] = page(waiting(state))
    node.answers["DocumentService/GetObject"] = found(
        waiting(state), document(OFFER), document(negotiation_message()), document(AGREEMENT)
    )


def test_the_inbox_says_who_asks_for_what(run, node):
    inbox(node)
    done = run("inbox", operator=True)
    body = json.loads(run("inbox", "--json", operator=True).stdout)

    assert node.requests("DocumentService/ListObjects")[0]["filter"] == {"inbox": "true"}
    assert "acme at zj.example: gz.example/flights" in done.stdout
    assert body["items"][0]["kind"] == "negotiation"


def test_an_empty_inbox_says_so(run, node):
    node.answers["DocumentService/ListObjects"] = page()
    done = run("inbox")

    assert (done.stdout, done.stderr, done.exit_code) == ("", "nothing waits for you\n", 0)


def short_of(node):
    from trustnode.core.identifier import short_name

    return short_name(AGREEMENT.negotiation)


def issued(node, state):
    node.answers["AdminService/IssueDocument"] = {"document": None, "object": waiting(state), "produced": []}


def test_accepting_a_request_has_the_provider_in_custody_sign_the_draft_as_it_is(run, node):
    inbox(node)
    issued(node, "AGREED")
    done = run("inbox", "accept", short_of(node), operator=True, venue="gz.example")
    [asked] = node.requests("AdminService/IssueDocument")

    assert done.exit_code == 10
    assert asked["statement_json"] == document(AGREEMENT).payload
    assert asked["signer"] == "bureau"


def test_refusing_a_request_says_why_to_the_other_side(run, node):
    inbox(node)
    issued(node, "TERMINATED")
    done = run("inbox", "refuse", short_of(node), "--reason", "not for us", operator=True, venue="gz.example")
    made = statement(node.submitted()[0][1])

    assert done.exit_code == 0
    assert (made["message"], made["reason"]) == ("ContractNegotiationTerminationMessage", "not for us")
    assert (made["iss"], made["counterpart"]) == (PROVIDER, CONSUMER)
    assert (made["number"], made["previous"]) == (2, document(negotiation_message()).digest)


def test_the_operator_of_a_third_venue_answers_for_nobody(run, node):
    inbox(node)
    done = run("inbox", "refuse", short_of(node), "--reason", "no", operator=True, venue="fin.example")

    assert done.exit_code == 3
    assert node.submitted() == []


def test_what_does_not_wait_cannot_be_accepted(run, node):
    inbox(node)

    assert run("inbox", "accept", "ABCDEFGH").exit_code == 4


def test_a_counter_offer_carries_other_terms_compiled(run, node, tmp_path):
    inbox(node)
    node.answers["CatalogService/DescribeListing"] = {"listing": listed(), "offers": [], "answered_at": NOW}
    issued(node, "OFFERED")
    (tmp_path / "terms.toml").write_text(
        'price = "0.02 CNY per row"\npurposes = ["statistics"]\nwho = "anyone"\nperiod = "12 months"\n'
        'columns = ["origin"]\nkeep = "90 days"\nonward = "forbidden"\n',
        encoding="utf-8",
    )
    done = run("inbox", "counter", short_of(node), str(tmp_path / "terms.toml"), operator=True, venue="gz.example")
    [sent] = node.requests("AdminService/IssueDocument")

    assert done.exit_code == 10
    assert statement(sent["statement_json"])["message"] == "ContractOfferMessage"
    assert statement(sent["statement_json"])["offer_sha256"] == sent["supporting"][0].digest
    assert statement(sent["supporting"][0].payload)["price"] == {"unit": "ROW", "cny": "0.02"}
    assert "purposes   any                          ->  statistics                   stricter" in done.stderr
    assert "price      free                         ->  0.02 CNY per row" in done.stderr


# --- receipts, accesses -----------------------------------------------------------------------------------------------

ACCESS = "00000000-0000-4000-8000-00000000000a"
RECEIPT = Receipt(
    **common("gz.example", 7), access=ACCESS, request_sha256="0" * 64, agreement=CONTRACT, agreement_sha256="0" * 64,
    policy_sha256="0" * 64, decision=DecisionLink(1, "0" * 64), plan_commitment="0" * 64, outcome="COMPLETE", frames=2,
    rows=8505, bytes=100, stream_salt="0" * 32, stream_commitment="0" * 64, meter=(Meter("ROW", 8505),), cost_fen=17010,
    started=NOW, ended=NOW,
)  # fmt: skip


def ack(verdict="EQUAL"):
    item = AckItem(
        access=ACCESS, frames=2, rows=8505, bytes=100, stream_commitment="0" * 64, verdict=verdict, final=True
    )
    return document(ReceiptAck(**common(CONSUMER, 8), by="PARTICIPANT", items=(item,)))


def delivered(node, *acks):
    request = AccessRequest(
        **common(CONSUMER, 9), agreement=CONTRACT, agreement_sha256="0" * 64, consumer=CONSUMER, home="zj.example",
        provider="gz.example", purpose="statistics", operation="read", query_commitment="0" * 64, request_proof="SIGNED",
    )  # fmt: skip
    node.answers["DocumentService/GetObject"] = found(
        thing("agreement", CONTRACT, "PERFORMING", AGREEMENT), document(OFFER), document(negotiation_message())
    )
    node.answers["DocumentService/ListObjects"] = page(thing("access", ACCESS, "DELIVERED", request))
    node.answers["AccessService/GetReceipt"] = {"access": None, "receipt": document(RECEIPT), "acks": list(acks)}


def test_a_receipt_is_signed_by_those_who_agree(run, node):
    delivered(node, ack())
    body = json.loads(run("receipts", "flights", "--json").stdout)

    assert body["items"][0]["signed_by"] == ["gz.example", CONSUMER]
    assert body["items"][0]["cost_fen"] == 17010


def test_an_acknowledgement_that_differs_is_no_signature(run, node):
    delivered(node, ack("DIFFERENT"))

    assert json.loads(run("receipts", "flights", "--json").stdout)["items"][0]["signed_by"] == ["gz.example"]


def test_the_cost_is_the_sum_of_the_receipts(run, node):
    delivered(node, ack())

    assert run("cost", "flights").stdout == "170.10 CNY  8,505 rows in 1 receipt; price free\n"


def test_a_bundle_whose_bytes_are_not_those_sent_is_not_kept(run, node, tmp_path):
    delivered(node)
    node.answers["EvidenceService/GetBundle"] = [{"chunk": b"abc", "total_bytes": 3, "sha256": b"x" * 32}]
    done = run("evidence", "bundle", "flights", "-o", str(tmp_path / "deal.bundle"))

    assert done.exit_code == 7
    assert list(tmp_path.glob("*.bundle*")) == []


def test_a_running_access_is_stopped_with_a_reason(run, node):
    delivered(node)
    node.answers["DocumentService/GetObject"] = found(thing("access", ACCESS, "STREAMING"))
    node.answers["AdminService/IssueDocument"] = {
        "document": None,
        "object": thing("access", ACCESS, "ABORTED"),
        "produced": [],
    }
    done = run("access", "stop", "x", "--reason", "too much", "--yes", operator=True)
    made = statement(node.submitted()[0][1])

    assert done.exit_code == 0
    assert (made["machine"], made["event"], made["iss"], made["cause"]) == ("access", "abort", "zj.example", "VENUE")


# --- explain ----------------------------------------------------------------------------------------------------------


def explanation(**changes):
    base = {
        "allowed": True, "reason": "", "message": "", "next_step": "", "columns_total": 56, "rows_estimate": 8505,
        "rows_total": 10000, "price": "0.02 CNY per row", "price_fen": 17010, "counters": [], "terms": [],
        "columns": [
            {"name": name, "type": "utf8", "unit": "", "mask": mask, "description": ""}
            for name, mask in [*((f"c{n}", "") for n in range(7)), *((f"m{n}", "hash") for n in range(3))]
        ],
    }  # fmt: skip
    return {"explanation": {**base, **changes}}


def test_an_explanation_begins_as_in_the_story(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))
    node.answers["AccessService/ExplainAccess"] = explanation()
    done = run("explain", "flights", "--sql", "select * from loans")

    assert done.stdout.splitlines()[0] == "10 of 56 columns, 3 masked; 8,505 of 10,000 rows; 170.10 CNY; reads nothing"
    assert node.requests("AccessService/ExplainAccess")[0]["agreement"] == CONTRACT


def test_the_budget_is_what_the_limits_leave(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))
    counter = {"text": "50 reads per day", "used": 47, "reserved": 1, "limit": 50}
    node.answers["AccessService/ExplainAccess"] = explanation(allowed=False, reason="DENIED", counters=[counter])

    assert run("budget", "flights").stdout.splitlines()[1].split()[-3:] == ["47", "1", "2"]
    assert json.loads(run("budget", "flights", "--json").stdout)["items"][0]["left"] == 2


def test_an_explanation_of_an_offer_needs_no_agreement(run, node):
    node.answers["AccessService/ExplainAccess"] = explanation()
    run("explain", "gz.example/flights-2013", "--offer", "open", "--purpose", "statistics")

    assert node.requests("AccessService/ExplainAccess")[0]["offer"] == {
        "product": "gz.example/flights-2013",
        "offer": "open",
    }


def test_a_query_that_would_be_refused_is_refused_with_its_reason(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))
    node.answers["AccessService/ExplainAccess"] = explanation(
        allowed=False, reason="PURPOSE_NOT_AGREED", message="agreed: credit-scoring; never: marketing"
    )
    done = run("explain", "flights", "--purpose", "marketing")

    assert done.exit_code == 3
    assert done.stderr.splitlines()[0] == "REFUSED  PURPOSE_NOT_AGREED  agreed: credit-scoring; never: marketing"


# --- operator ---------------------------------------------------------------------------------------------------------


PEOPLE = (("li", "SYSTEM"), ("wang", "SECURITY"))


def status(**changes):
    base = {
        "trust_domain": "zj.example", "name": "Zhejiang", "level": "REGIONAL", "area": "3300", "node_id": "2", "version": "1.2.0",
        "listen": "127.0.0.1:7443", "state": "SERVING", "started_at": "2026-11-11T23:20:03.000Z", "now": NOW, "alarms": [],
        "log": {"entries": 48211, "signed": 48211, "cosignatures": [
            {"witness": "gz.example", "size": 48211, "behind": None, "problem": ""},
            {"witness": "nat.example", "size": 48211, "behind": None, "problem": ""},
            {"witness": "fin.example", "size": 48200, "behind": 3.2, "problem": ""},
        ]},
        "peers": [
            {"trust_domain": "nat.example", "relation": "PARENT", "state": "APPROVED", "round_trip": 0.004, "silent_since": None, "card_version": 1, "outbox": 0, "control_seq": 0, "catalog_seq": 0},
            {"trust_domain": "fin.example", "relation": "PEER", "state": "APPROVED", "round_trip": None, "silent_since": "2026-11-24T04:03:00.000Z", "card_version": 1, "outbox": 2, "control_seq": 0, "catalog_seq": 0},
        ],
        "today": {"contracts": 14, "reads": 2104, "refused": 37, "rows": 41_000_000, "streams": 3},
        "certificate_not_after": None, "certificate_renews_at": "2026-11-24T14:20:03.000Z",
        "authority_not_after": "2027-02-01T00:00:00.000Z", "clock_offset": 0.02, "disk_used_percent": 71, "disk_days_left": 40,
        "backup_at": None, "backup_tested_at": None,
        "operators": [{"name": n, "role": r, "public_key": "", "account": ""} for n, r in PEOPLE],
    }  # fmt: skip
    return {"status": {**base, **changes}}


def test_the_status_fits_a_screen_and_says_what_runs_out_when(run, node):
    node.answers["AdminService/GetStatus"] = status()
    lines = run("status", operator=True).stdout.splitlines()

    assert lines == [
        "zj.example  REGIONAL 3300  v1.2.0  up 12 d 4 h",
        "log         48,211 entries; cosigned to 48,211 by gz, nat; fin 3 s behind",
        "peers       nat PARENT ok 4 ms   fin PEER silent since 12:03",
        "today       14 contracts   2,104 reads   37 refused   41 M rows   3 streams",
        "certificate renews itself in 11 h; authority ends 2027-02-01 (68 d)",
        "clock       +0.02 s against 1 peer; disk 71 %, 40 d at this rate",
        "backup      none yet: trustnode backup create -o FILE",
        "operators   li SYSTEM, wang SECURITY",
    ]


def test_a_status_with_an_alarm_ends_with_nine(run, node):
    alarm = {
        "name": "root_key_present",
        "message": "root.key is on this machine",
        "next_step": "move it off",
        "since": NOW,
    }
    node.answers["AdminService/GetStatus"] = status(alarms=[alarm])
    done = run("status", operator=True)

    assert done.exit_code == 9
    assert done.stdout.splitlines()[0].endswith("1 alarm")
    assert done.stdout.splitlines()[-1] == "ALARM       root.key is on this machine: move it off"


def test_the_status_with_json_has_the_fields_of_the_contract(run, node):
    node.answers["AdminService/GetStatus"] = status()
    body = json.loads(run("status", "--json", operator=True).stdout)

    assert body["log"]["entries"] == 48211
    assert body["peers"][0]["round_trip_ms"] == 4


@pytest.mark.parametrize("state, code", [("SERVING", 0), ("READ_ONLY", 9), ("STARTING", 6), ("DRAINING", 6)])
def test_a_probe_learns_the_state_from_the_exit_status(run, node, state, code):
    node.answers["AdminService/GetStatus"] = status(state=state)

    assert run("healthcheck", operator=True).exit_code == code


def test_a_node_that_does_not_run_ends_with_six(home):
    from click.testing import CliRunner

    from trustnode.cli.root import root

    done = CliRunner().invoke(root, ["status", "--home", str(home)])

    assert done.exit_code == 6
    assert f"trustnode start --home {home}" in done.stderr


def test_stopping_says_how_many_streams_are_left(run, node):
    node.answers["AdminService/DrainNode"] = {"streams": 1}
    done = run("stop", "--grace", "5", operator=True)

    assert done.stdout == "stopping  1 stream still running\n"
    assert node.requests("AdminService/DrainNode") == [{"grace": 5}]


def test_the_peers_are_a_table(run, node):
    node.answers["AdminService/GetStatus"] = status()
    lines = run("peer", "list", operator=True).stdout.splitlines()

    assert lines[0] == "VENUE        IS OUR  STATE     ANSWERS             CARD  WAITING"
    assert lines[2] == "fin.example  PEER    APPROVED  silent since 12:03  1     2"


def test_a_peer_test_that_fails_names_cause_and_next_step(run, node):
    checks = [
        {"name": "address", "ok": True, "detail": "127.0.0.1:7443", "next_step": ""},
        {"name": "handshake", "ok": False, "detail": "refused", "next_step": "Start it."},
    ]
    node.answers["AdminService/TestPeer"] = {"checks": checks, "round_trip": None}
    done = run("peer", "test", "gz.example", operator=True)

    assert done.exit_code == 6
    assert done.stdout.splitlines() == [
        "ok     address: 127.0.0.1:7443",
        "FAILED handshake: refused",
        "next   Start it.",
    ]


def key_of(custody="HELD"):
    return ParticipantKey(
        **common("zj.example", 10), participant=CONSUMER, title="Acme Analytics", roles=("CONSUMER",), public="0" * 64,
        custody=custody, not_before=NOW, not_after="2028-11-24T00:00:00.000Z",
    )  # fmt: skip


def test_participants_are_listed_with_who_holds_their_key(run, node):
    node.answers["DocumentService/ListObjects"] = page(thing("participant", CONSUMER, "ENROLLED", key_of("CUSTODY")))
    lines = run("participant", "list", operator=True).stdout.splitlines()

    assert lines[1].split() == ["acme", "Acme", "Analytics", "CONSUMER", "CUSTODY", "ENROLLED"]


def test_an_invitation_is_written_for_its_owner_alone_and_never_over_another(run, node, tmp_path):
    node.answers["AdminService/InviteParticipant"] = {
        "invitation": b"secret",
        "participant": CONSUMER,
        "expires_at": NOW,
    }
    path = tmp_path / "acme.invite"
    words = ("participant", "invite", "acme", "--role", "CONSUMER", "--name", "Acme Analytics", "-o", str(path))
    first, second = run(*words, operator=True), run(*words, operator=True)

    assert first.exit_code == 0
    assert path.read_bytes() == b"secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert second.exit_code == 5
    assert b"secret" not in first.stdout_bytes
    assert node.requests("AdminService/InviteParticipant")[0]["title"] == "Acme Analytics"


def test_enrolling_into_custody_says_so(run, node):
    node.answers["AdminService/IssueDocument"] = {
        "document": None,
        "object": thing("participant", CONSUMER, "ENROLLED"),
        "produced": [],
    }
    done = run("participant", "enroll", "acme", "--role", "CONSUMER", operator=True)

    assert "held here, in custody" in done.stdout
    assert node.requests("AdminService/IssueDocument")[0]["signer"] == "acme"


def test_revoking_shows_the_effect_and_asks(run, node):
    node.answers["DocumentService/GetObject"] = found(thing("participant", CONSUMER, "ENROLLED", key_of()))
    node.answers["DocumentService/ListObjects"] = page()
    done = run("participant", "revoke", "acme", "--reason", "left", operator=True)

    assert done.exit_code == 2
    assert "0 agreements in force" in done.stderr
    assert node.submitted() == []


@pytest.mark.parametrize(
    "words", [("rekey", "acme"), ("rekey", "acme", "--lost", "--stolen-since", "2026-11-20T00:00+08:00")]
)
def test_a_new_key_needs_one_reason(run, node, words):
    assert run("participant", *words, "--yes", operator=True).exit_code == 2


def test_a_stolen_key_names_what_was_signed_since(run, node, tmp_path):
    node.answers["DocumentService/GetObject"] = found(thing("participant", CONSUMER, "ENROLLED", key_of()))
    node.answers["DocumentService/ListObjects"] = lambda asked: (
        page(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT)) if "consumer" in asked["filter"] else page()
    )
    node.answers["AdminService/IssueDocument"] = {
        "document": None,
        "object": thing("participant", CONSUMER, "SUSPENDED"),
        "produced": [],
    }
    node.answers["AdminService/InviteParticipant"] = {"invitation": b"x", "participant": CONSUMER, "expires_at": NOW}
    told, silent = status()["status"]["peers"]
    node.answers["AdminService/GetStatus"] = status(peers=[told, {**silent, "notice_waits_since": NOW}])
    done = run(
        "participant", "rekey", "acme", "--stolen-since", "2026-11-20T00:00+08:00", "-o", str(tmp_path / "i"), "--yes",
        operator=True,
    )  # fmt: skip

    assert done.exit_code == 0
    assert "old key revoked here and at 1 peer in 0." in done.stderr
    assert "(not reached: fin.example, told when it answers); streams cut: " in done.stderr
    assert f"signed since then, to be looked at: 1 agreement ({SHORT}), 0 receipts" in done.stderr
    (notice,) = (json.loads(one["statement_json"]) for one in node.requests("AdminService/IssueDocument"))
    revoked, suspended = notice["events"]
    assert (revoked["kind"], revoked["invalid_from"]) == ("KEY_REVOKED", "2026-11-19T16:00:00.000Z")
    assert (suspended["kind"], suspended["subject"], suspended["state"]) == ("PARTICIPANT", CONSUMER, "SUSPENDED")


def test_a_backup_is_named_with_its_digest_and_overwrites_nothing(run, node, tmp_path):
    node.answers["AdminService/BackupStore"] = {"size_bytes": 1_500_000, "sha256": b"\1" * 32, "entries": 7}
    done = run("backup", "create", "-o", str(tmp_path / "b"), operator=True)
    (tmp_path / "b").write_bytes(b"")

    assert done.stdout == f"written  {tmp_path / 'b'}: 1.5 MB, 7 entries, sha256 0101010101010101...\n"
    assert run("backup", "create", "-o", str(tmp_path / "b"), operator=True).exit_code == 5


def test_a_corrupt_store_ends_with_eight(run, node, monkeypatch):
    monkeypatch.setattr("trustnode.cli.store._runs", lambda _: True)
    node.answers["AdminService/CheckStore"] = error("STORE_CORRUPT", "entry 7 differs")

    assert run("store", "check", operator=True).exit_code == 8


def test_entries_are_erased_by_a_signed_act(run, node):
    node.answers["AdminService/IssueDocument"] = {"object": thing("node", "zj.example", "ERASED"), "produced": []}
    because = ("--reason", "ORDER", "--authority", "court of Guiyang, 2026-17")
    done = run("evidence", "erase", "7", "3", *because, operator=True)
    run("evidence", "erase", "--object", "participant", CONSUMER, *because, operator=True)

    assert done.stdout.startswith("erased   2 entries: no trace is left in the database files")
    (_, entries), (_, named) = node.submitted()
    assert (statement(entries)["entries"], statement(entries)["object"]) == ([3, 7], "")
    assert (statement(named)["entries"], statement(named)["object"]) == ([], CONSUMER)
    assert run("evidence", "erase", "7", operator=True).exit_code == 2


def test_the_store_of_a_stopped_node_is_checked_without_it(run, monkeypatch):
    found = [Difference(where="access", message="rows is 8, the log tells 7", index=3, object="access a1")] * 2
    for differences, exit_code in (([], 0), (found, 8)):
        checked = StoreChecked(9, differences)
        monkeypatch.setattr("trustnode.home.check_stopped", lambda _, checked=checked: checked)
        done = run("store", "check", operator=True)
        assert done.exit_code == exit_code
    assert "access: entry 3: rows is 8, the log tells 7 (access a1); and 1 more" in done.stderr


# --- publishing -------------------------------------------------------------------------------------------------------

FLIGHTS = """\
[product]
name = "flights-2013"
title = "Flights from New York, 2013"
title_zh = "2013年纽约航班"
abstract = "336,776 departures."
provider = "bureau"
licence = "CC0"
category = "ENTERPRISE"
level = "GENERAL_1"
level_basis = "published before"
classes = { topic = "transport", scene = "W0600", industry = "0054" }
facts = { form = "DATASET", updates = "HISTORICAL", source = "ORIGINAL" }
personal = { kind = "NONE", processing = "RAW" }
source_statement = "collected by ourselves"
rights = [{ right = ["HOLD", "OPERATE"], holder = "bureau", basis = "our own work" }]
cross_border = false
zone = "Asia/Shanghai"

[resource]
kind = "csv"
location = "flights.csv"
table = "flights"

[[offer]]
name = "open"
price = "free"
approval = "automatic"

[offer.terms]
purposes = "any"
who = "anyone"
period = "24 months"
columns = "all"
limits = ["200 reads per day"]
keep = "unlimited"
onward = "allowed"
duties = ["name the source"]
"""


@pytest.fixture
def flights(tmp_path):
    (tmp_path / "flights.csv").write_text("origin,distance\nEWR,1400\n", encoding="utf-8")
    path = tmp_path / "flights.toml"
    path.write_text(FLIGHTS, encoding="utf-8")
    return path


class Venue:
    """A venue that keeps what it is sent, as far as publishing looks at it."""

    def __init__(self, node):
        self.products, self.listings, self.offers = {}, {}, {}
        node.answers["DocumentService/GetObject"] = self.get
        node.answers["DocumentService/ListObjects"] = lambda asked: page(
            *(self.listings.values() if asked["kind"] == "listing" else ())
        )
        node.answers["CatalogService/ResolveIdentifier"] = {
            "kind": "product",
            "identifier": "691520100000000019F52007F31K0Q94",
            "handle": "",
        }
        node.answers["AdminService/IssueDocument"] = self.issue
        self.state = "REGISTERED"

    def get(self, asked):
        held = {"product": self.products, "listing": self.listings}[asked["kind"]].get(asked["id"])
        if held is None:
            raise error("NOT_FOUND")
        return found(held, *self.offers.values())

    def issue(self, asked):
        body, sent = statement(asked["statement_json"]), Document(asked["payload_type"], asked["statement_json"])
        for one in asked["supporting"]:
            if one.name == "offer":
                self.offers[one.digest] = one
        if body["type"] == "registration":
            made = thing("product", body["product"], self.state)._replace(document=sent)
            self.products[body["product"]] = made
        else:
            made = thing("listing", body["listing"], "LISTED")._replace(document=sent)
            self.listings[body["listing"]] = made
        return {"document": sent, "object": made, "produced": []}


def test_publishing_looks_as_on_the_page(run, node, flights):
    Venue(node)
    done = run("publish", str(flights), operator=True)

    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "registered  zj.example/flights-2013  691520100000000019F52007F31K0Q94  version 1  GENERAL_1",
        "listed      offer open: free, automatic approval; seen by NETWORK",
    ]
    assert done.stderr == "as operator at zj.example\n"


def test_publishing_sends_binding_with_registration_and_offers_with_listing(run, node, flights):
    Venue(node)
    run("publish", str(flights), operator=True)
    registered, listed_ = node.requests("AdminService/IssueDocument")

    assert [d.name for d in registered["supporting"]] == ["resource-binding"]
    assert [d.name for d in listed_["supporting"]] == ["offer"]
    assert registered["signer"] == listed_["signer"] == "bureau"
    assert statement(listed_["statement_json"])["offers"] == [listed_["supporting"][0].digest]


def test_publishing_the_same_file_again_changes_nothing(run, node, flights):
    Venue(node)
    run("publish", str(flights), operator=True)
    before = len(node.submitted())
    done = run("publish", str(flights), operator=True)

    assert done.stdout.startswith("unchanged ")
    assert len(node.submitted()) == before


def test_a_change_of_price_is_shown_and_asked_for(run, node, flights):
    Venue(node)
    run("publish", str(flights), operator=True)
    before = len(node.submitted())
    flights.write_text(FLIGHTS.replace('price = "free"', 'price = "0.03 CNY per row"'), encoding="utf-8")
    asked = run("publish", str(flights), operator=True)
    done = run("publish", str(flights), "--yes", operator=True)
    changed = node.submitted()[before:]

    assert asked.exit_code == 2
    assert "offer open   price  free -> 0.03 CNY per row" in asked.stderr
    assert done.exit_code == 0
    assert [statement(payload)["type"] for _, payload in changed] == ["listing"]
    assert statement(changed[0][1])["previous"]


def test_changed_terms_are_told_in_words_before_they_are_published(run, node, flights):
    Venue(node)
    run("publish", str(flights), operator=True)
    flights.write_text(FLIGHTS.replace("200 reads", "300 reads"), encoding="utf-8")
    asked = run("publish", str(flights), operator=True)

    assert "terms weaker: more is let through than before" in asked.stderr
    assert "limits     200 reads per day            ->  300 reads per day            weaker" in asked.stderr


def test_a_changed_product_becomes_its_next_version(run, node, flights):
    Venue(node)
    run("publish", str(flights), operator=True)
    flights.write_text(FLIGHTS.replace("336,776 departures.", "All departures."), encoding="utf-8")
    done = run("publish", str(flights), "--yes", operator=True)

    assert "version 2" in done.stdout
    assert "abstract     336,776 departures. -> All departures." in done.stderr


def test_a_notice_is_named_with_its_end_and_exit_ten(run, node, flights):
    Venue(node).state = "PUBLIC_NOTICE"
    text = FLIGHTS.replace("GENERAL_1", "IMPORTANT")
    flights.write_text(text[: text.index("[[offer]]")], encoding="utf-8")
    done = run("product", "register", str(flights), operator=True)

    assert done.exit_code == 10
    assert done.stdout.splitlines()[1] == "PUBLIC_NOTICE until 2026-12-04"


def test_a_product_without_an_offer_cannot_be_published(run, node, flights):
    flights.write_text(FLIGHTS[: FLIGHTS.index("[[offer]]")], encoding="utf-8")

    assert run("publish", str(flights), operator=True).exit_code == 1


def test_checking_a_file_shows_each_line_with_its_class_and_asks_no_node(run, node, flights):
    done = run("product", "check", str(flights))
    body = json.loads(run("product", "check", str(flights), "--json").stdout)

    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "publishable: yes"
    assert all(output.width(line) <= 80 for line in done.stdout.splitlines())
    assert {line["kept"] for line in body["offers"][0]["lines"]} == {"enforced", "promised"}
    assert node.asked == []


def test_an_offer_that_nothing_enforces_is_refused_as_in_the_story(run, node, flights):
    flights.write_text(FLIGHTS + 'environment = "TEE"\n', encoding="utf-8")
    done = run("publish", str(flights), operator=True)

    assert done.exit_code == 3
    assert done.stderr.splitlines()[0] == 'REFUSED  OFFER_UNENFORCEABLE  line 38: environment = "TEE": no verifier here'
    assert node.asked == []


def test_a_draft_is_written_once(run, flights, tmp_path):
    target = tmp_path / "draft.toml"
    first = run("product", "new", str(tmp_path / "flights.csv"), "-o", str(target))

    assert first.exit_code == 0, first.stderr
    assert '"origin",' in target.read_text(encoding="utf-8")
    assert run("product", "new", str(tmp_path / "flights.csv"), "-o", str(target)).exit_code == 5


@pytest.mark.parametrize("form", ["words", "terms", "odrl", "sql"])
def test_a_policy_is_shown_in_every_form(run, node, flights, form):
    done = run("policy", "show", str(flights), "--as", form)
    body = json.loads(run("policy", "show", str(flights), "--as", form, "--json").stdout)

    assert done.exit_code == 0, done.stderr
    assert done.stdout
    assert body["items"][0]["form"] == form


def test_the_odrl_form_is_json_alone(run, flights):
    assert json.loads(run("policy", "show", str(flights), "--as", "odrl").stdout)["@type"] == "Offer"


def test_the_policy_of_a_product_on_sale_is_asked_for(run, node):
    described = {"offer": document(OFFER), "name": "open", "columns": [], "terms": []}
    node.answers["CatalogService/DescribeListing"] = {"listing": listed(), "offers": [described], "answered_at": NOW}
    done = run("policy", "explain", "gz.example/flights-2013", "--offer", "open")

    assert done.exit_code == 0
    assert done.stdout.startswith("offer open\n")


def test_a_listing_is_suspended_by_the_name_of_its_product(run, node):
    node.answers["DocumentService/ListObjects"] = page(thing("listing", LISTING.listing, "LISTED", LISTING))
    node.answers["AdminService/IssueDocument"] = {
        "document": None,
        "object": thing("listing", LISTING.listing, "SUSPENDED", LISTING),
        "produced": [],
    }
    done = run("listing", "suspend", REGISTRATION.product, "--reason", "error in a column", operator=True)
    made = statement(node.submitted()[0][1])

    assert done.exit_code == 0
    assert (made["machine"], made["object"], made["event"]) == ("listing", LISTING.listing, "suspend")


def test_a_recall_shows_what_it_ends(run, node):
    node.answers["DocumentService/GetObject"] = found(
        thing("product", REGISTRATION.product, "REGISTERED", REGISTRATION)
    )
    node.answers["DocumentService/ListObjects"] = page(thing("agreement", CONTRACT, "PERFORMING", AGREEMENT))
    done = run("product", "recall", REGISTRATION.product, "--reason", "names in it", "--dry-run", operator=True)

    assert done.exit_code == 0
    assert "end 1 agreement" in done.stderr
    assert node.submitted() == []


def test_a_provider_is_named_by_its_participant(run, node):
    node.answers["DocumentService/GetObject"] = found(
        thing("product", REGISTRATION.product, "REGISTERED", REGISTRATION)
    )
    done = run("product", "show", REGISTRATION.product)

    assert "provider  bureau at gz.example" in done.stdout
    assert PROVIDER not in done.stdout


# --- negotiate and read, as far as they are shown ---------------------------------------------------------------------


def test_an_agreement_is_announced_as_on_the_page():
    from trustnode.cli.market import agreed_line
    from trustnode.cli.values import Item

    item = Item("agreement", CONTRACT, "PERFORMING", document=document(AGREEMENT), alias="flights", offer_name="open")

    assert agreed_line(item) == (
        f'agreed  {SHORT} "flights"  gz.example/flights-2013, offer open, until 2028-11-24, free'
    )


def test_a_result_is_aligned_as_in_the_readme():
    from trustnode.cli.data import result_table

    assert result_table(("origin", "n"), [("EWR", 120835), ("JFK", 111279), ("LGA", 104662)]) == [
        "origin       n",
        "EWR     120835",
        "JFK     111279",
        "LGA     104662",
    ]


def test_a_result_shows_nothing_for_null_and_no_control_characters():
    from trustnode.cli.data import result_table

    assert result_table(("a", "b"), [(None, "x\x1by")]) == ["a  b", f"   x{chr(0xFFFD)}y"]


def test_an_empty_result_still_has_its_columns():
    from trustnode.cli.data import result_table

    assert result_table(("a", "b"), []) == ["a  b"]


class Memory:
    """Stands for the SDK's read: three rows in memory."""

    def __init__(self, monkeypatch, signed):
        import pyarrow as pa

        from trustnode.cli import session
        from trustnode.cli.values import Delivery, Outcome

        table = pa.table({"origin": ["EWR", "JFK", "LGA"], "n": [1, 2, 3]})
        receipt = Delivery(ACCESS, "COMPLETE", "", 3, 100, 0, NOW, NOW, signed, "0" * 64)
        outcome = Outcome(3, ("origin", "n"), table, receipt)
        monkeypatch.setattr(session.Client, "read", lambda *_words, **_more: outcome)


def test_rows_go_to_stdout_and_the_receipt_to_stderr(run, monkeypatch):
    Memory(monkeypatch, ("gz.example", CONSUMER))
    done = run("read", "flights", "--sql", "select 1")

    assert done.stdout.splitlines() == ["origin  n", "EWR     1", "JFK     2", "LGA     3"]
    assert done.stderr.startswith("receipt ")
    assert done.stderr.endswith("  3 rows  free  both signatures in both logs\n")


def test_rows_with_json_are_one_object_with_their_receipt(run, monkeypatch):
    Memory(monkeypatch, ("gz.example",))
    done = run("read", "flights", "--json", "--quiet")
    body = json.loads(done.stdout)

    assert body["items"][0] == {"origin": "EWR", "n": 1}
    assert body["receipt"]["access"] == ACCESS
    assert done.stderr == ""


def test_a_file_of_another_kind_is_refused_before_anything_is_read(run, node, tmp_path):
    done = run("read", "flights", "-o", str(tmp_path / "x.xlsx"))

    assert done.exit_code == 2
    assert ".parquet, .csv, .arrow" in done.stderr
    assert node.asked == []


# --- reference --------------------------------------------------------------------------------------------------------


def test_a_reason_is_explained_in_both_languages(run):
    assert run("why", "offer_unenforceable").stdout.startswith("OFFER_UNENFORCEABLE  constraint without enforcer")
    assert run("why", "OFFER_UNENFORCEABLE", "--lang", "zh").stdout.startswith("OFFER_UNENFORCEABLE  策略不可执行")
    assert json.loads(run("why", "OFFER_UNENFORCEABLE", "--json").stdout)["exit_status"] == 3


def test_words_of_a_kind_are_listed_and_an_unknown_kind_names_the_nearest(run):
    assert "credit-scoring" in run("words", "purpose").stdout
    assert "GENERAL_1" in run("words", "level").stdout
    assert "did you mean purpose?" in run("words", "purpos").stderr
    assert {item["kind"] for item in json.loads(run("words", "--json").stdout)["items"]} >= {"purpose", "topic", "mask"}


def test_the_contract_is_written_out(run, tmp_path):
    done = run("protos", "-o", str(tmp_path))

    assert (tmp_path / "trustnode/v1/document.proto").is_file()
    assert json.loads(run("protos", "-o", str(tmp_path), "--json").stdout)["files"]
    assert done.exit_code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_every_shell_is_a_script(run, shell):
    assert "_TRUSTNODE_COMPLETE" in run("completion", shell).stdout


def test_settings_are_checked_and_shown_with_their_origin(run, home):
    shown = json.loads(run("config", "show", "node", "--origin", "--json", operator=True).stdout)
    (home / "trustnode.toml").write_text("[node]\nlisten_adress = 1\n", encoding="utf-8")
    broken = run("config", "check", operator=True)

    assert {"key": "node.trust_domain", "value": "zj.example", "origin": "file line 2", "unit": ""} in shown["items"]
    assert broken.exit_code == 2
    assert "line 2, column 1" in broken.stderr
