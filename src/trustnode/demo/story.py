"""The story: nine steps, each answering a question of somebody who sees trustnode for the first time.

Decides: what is typed and what must come back; a refusal that does not come counts as a failure. Leaves to others:
processes and printing (``stage``), the data (``data``).
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from trustnode.demo import liars
from trustnode.demo.stage import VENUES, Done, Stage, Venue, lines_with, number, say

PRODUCTS: Final = Path(__file__).parent / "products"
PEERINGS: Final = (
    # who applies, to whom, as what, scopes
    ("zj", "nat", "PARENT", "CATALOG,EVIDENCE"),
    ("gz", "nat", "PARENT", "CATALOG,EVIDENCE"),
    ("fin", "nat", "PARENT", "CATALOG,EVIDENCE"),
    ("zj", "gz", "PEER", "CATALOG,CONTRACT,ACCESS,EVIDENCE"),
    ("zj", "fin", "PEER", "CONTRACT,ACCESS,EVIDENCE"),
)
"""nat is the parent of all; zj and fin know each other for contracts and data, the catalogue travels through nat."""
WAITS: Final = 10
"""Exit status of a command after which somebody else has to move."""
NOISE: Final = 200
"""No draw of the patients' noise is larger: its deviation is 17."""
EVERY_FLIGHT: Final = "select a.* from flights a join flights b on a.carrier = b.carrier"
"""More rows than anybody waits for: a download that is still running when the contract is stopped."""


def tell(stage: Stage, rows: dict[str, int]) -> None:
    """All of it."""
    say("trustnode demo: four exchanges, real data, one story          Ctrl-C ends it")
    say("data     " + "   ".join(f"{name} {count:,}" for name, count in rows.items()))
    _nodes(stage)
    _people(stage)
    for step in (_publish, _find, _open_data, _protected, _health, _limits, _control, _liars, _proof):
        say()
        step(stage)


# --- before the story -----------------------------------------------------------------------------------------------


def _nodes(stage: Stage) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda venue: _init(stage, venue), VENUES))
    for venue in VENUES:
        stage.start(venue)
    for venue in VENUES:
        stage.wait_ready(venue)
    seconds = time.monotonic() - started
    say("nodes    nat.example NATIONAL    zj.example, gz.example REGIONAL")
    say(f"         fin.example INDUSTRY    made and ready in {seconds:.1f} s")
    for venue in VENUES:
        done = stage.run("peer", "card", "-o", f"{venue.name}.card", home=venue.name)
        stage.fingerprints[venue.domain] = number(done.out, r"fingerprint ([0-9A-F-]{39})")
    for one, other, relation, scopes in PEERINGS:
        _peer(stage, one, other, relation, scopes)
    say("         peered by cards, each fingerprint compared by both operators")


def _init(stage: Stage, venue: Venue) -> None:
    stage.run(
        "init", "--venue", venue.title, "--level", venue.level, "--area", venue.area, "--subject", venue.subject,
        "--trust-domain", venue.domain, "--listen", f"127.0.0.1:{stage.port(venue)}", home=venue.name,
    )  # fmt: skip


def _peer(stage: Stage, one: str, other: str, relation: str, scopes: str) -> None:
    theirs, ours = f"{other}.example", f"{one}.example"
    mark = stage.fingerprints[theirs]
    words = ("peer", "add", f"{other}.card", "--as", relation, "--fingerprint", mark, "--scope", scopes)
    stage.run(*words, home=one)
    for _ in range(50):
        done = stage.run("peer", "confirm", ours, "--fingerprint", stage.fingerprints[ours], home=other, check=False)
        if done.status == 0:
            break
        time.sleep(0.1)
    stage.expect(done.status == 0, f"{theirs} confirms {ours}", done)


def _people(stage: Stage) -> None:
    for venue, name, title in (
        ("gz", "transport", "Transport bureau"),
        ("gz", "hospital", "Hospital"),
        ("zj", "bureau", "Public data bureau"),
        ("fin", "lendco", "Lendco"),
    ):
        stage.run("participant", "enrol", name, "--role", "PROVIDER", "--name", title, home=venue)
    for name, title in (("acme", "Acme Analytics"), ("beta", "Beta Research")):
        _join(stage, "zj", name, title)
    for name in ("flights", "divisions", "loans", "patients"):
        shutil.copy(stage.folder / "data" / f"{name}.parquet", stage.folder)
    for file in PRODUCTS.glob("*.toml"):
        shutil.copy(file, stage.folder)


def _join(stage: Stage, venue: str, name: str, title: str) -> None:
    words = ("participant", "invite", name, "--role", "CONSUMER", "--name", title, "-o", f"{name}.invite")
    stage.run(*words, home=venue)
    mark = stage.fingerprints[f"{venue}.example"]
    stage.run("join", f"{name}.invite", "--fingerprint", mark, "-o", f"profiles/{name}")


def _refusal(line: str) -> str:
    return line if line.startswith("REFUSED") else f"REFUSED  {line}"


# --- the story ------------------------------------------------------------------------------------------------------


def _publish(stage: Stage) -> None:
    say("1  PUBLISH: can I trust what is promised?     provider lendco, at fin.example")
    say("$ trustnode publish loans.toml")
    done = stage.run("publish", "loans.toml", home="fin")
    stage.expect("listed" in done.text, "the loans are listed", done)
    say("listed   fin.example/loans-2018  GENERAL_3  0.02 CNY per row, lendco approves")
    say("$ trustnode publish loans-tee.toml")
    done = stage.run("publish", "loans-tee.toml", home="fin", check=False)
    line = stage.refused(done, "OFFER_UNENFORCEABLE", 3)
    say(_refusal(line))
    for file, home in (("flights.toml", "gz"), ("patients.toml", "gz"), ("divisions.toml", "zj")):
        done = stage.run("publish", file, home=home)
        stage.expect("listed" in done.text, f"{file} is listed", done)
    say("         (published too: gz flights-2013 and patients, zj divisions)")


def _find(stage: Stage) -> None:
    say("2  FIND: what is there?                           analyst acme, at zj.example")
    for words, product, hops in (
        ("贷款", "fin.example/loans-2018", "2"),
        ("航班 准点", "gz.example/flights-2013", "1"),
        ("flights", "gz.example/flights-2013", "1"),
    ):
        say(f"$ trustnode search {words}")
        done = _until(stage, product, "search", words, profile="acme")
        line = next(lines_with(done.out, product), "")
        stage.expect(f" {hops} " in f" {line} ", f"{product} is found over {hops} hops", done)
        say(line)


def _until(stage: Stage, word: str, *words: str, profile: str) -> Done:
    """Run a command until its answer holds a word: the catalogue travels in seconds."""
    done = stage.run(*words, profile=profile, check=False)
    for _ in range(40):
        if word in done.out:
            break
        time.sleep(0.25)
        done = stage.run(*words, profile=profile, check=False)
    stage.expect(word in done.out, f"{word} is found", done)
    return done


def _open_data(stage: Stage) -> None:
    say("3  OPEN DATA: is it easy?")
    words = ("gz.example/flights-2013", "--purpose", "statistics", "--as", "flights")
    say("$ trustnode negotiate gz.example/flights-2013 --purpose statistics --as flights")
    done = stage.run("negotiate", *words, profile="acme")
    stage.expect("agreed" in done.text, "the contract is in force", done)
    say(next(lines_with(done.text, "agreed")))
    sql = "select origin, count(*) n, avg((arr_delay <= 15)::int) on_time from flights group by 1 order by 1"
    say('$ trustnode read flights --sql "select origin, count(*) n, ... group by 1"')
    done = stage.run("read", "flights", "--sql", sql, profile="acme")
    for origin, count in (("EWR", "120835"), ("JFK", "111279"), ("LGA", "104662")):
        line = next(lines_with(done.out, origin), "")
        stage.expect(count in line.replace(",", ""), f"{origin} has {count} departures", done)
        say(line)
    say(next(lines_with(done.text, "receipt"), "").strip())


def _protected(stage: Stage) -> None:
    say("4  PROTECTED DATA: the contract is the query plan")
    say("$ trustnode negotiate fin.example/loans-2018 --purpose credit-scoring --wait")
    words = ("negotiate", "fin.example/loans-2018", "--purpose", "credit-scoring", "--as", "loans", "--wait")
    asking = stage.begin(*words, profile="acme")
    _approve(stage, "fin")
    out, err = asking.communicate(timeout=60)
    done = Done(" ".join(words), asking.returncode, out, err)
    stage.expect(done.status == 0 and "agreed" in done.text, "lendco approved, both signed", done)
    say("waiting for lendco ... approved; " + next(lines_with(done.text, "agreed")).split('  "')[0])
    say('$ trustnode explain loans --sql "select * from loans"')
    done = stage.run("explain", "loans", "--sql", "select * from loans", profile="acme")
    facts = ("10 of 56 columns", "3 masked", "8,505 of 10,000 rows", "170.10 CNY")
    stage.expect(all(fact in done.text for fact in facts), ", ".join(facts), done)
    say(next(lines_with(done.text, "56 columns")))
    say('$ trustnode read loans --sql "select state, grade, ... from loans limit 2"')
    sql = "select state, grade, interest_rate, annual_income, emp_title from loans limit 2"
    done = stage.run("read", "loans", "--sql", sql, profile="acme")
    for line in [row for row in done.out.splitlines() if row.strip()][:3]:
        say(f"   {line}")
    stage.expect("90000" in done.out.replace(",", ""), "incomes come in bands of 10,000", done)
    say("$ trustnode read loans --purpose marketing")
    done = stage.run(
        "read", "loans", "--purpose", "marketing", "--sql", "select 1 from loans", profile="acme", check=False
    )
    say(_refusal(stage.refused(done, "PURPOSE_NOT_AGREED", 3)))


def _approve(stage: Stage, home: str) -> None:
    """The operator of a venue looks into the inbox until something waits, and says yes."""
    for _ in range(80):
        done = stage.run("inbox", "--json", home=home)
        waiting = number(done.out, r'"id": "([0-9a-f-]{36})"')
        if waiting:
            done = stage.run("inbox", "accept", waiting, home=home, check=False)
            stage.expect(done.status in (0, WAITS), "the request is accepted", done)
            return
        time.sleep(0.1)
    stage.expect(False, f"a request waits in the inbox of {home}", done)


def _health(stage: Stage) -> None:
    say("5  HEALTH: answers, never patients               gz.example/patients, GENERAL_4")
    words = ("negotiate", "gz.example/patients", "--purpose", "public-health", "--as", "patients", "--wait")
    asking = stage.begin(*words, profile="acme")
    for _ in ("the hospital", "the venue"):
        _approve(stage, "gz")
    out, err = asking.communicate(timeout=60)
    done = Done(" ".join(words), asking.returncode, out, err)
    stage.expect(done.status == 0 and "agreed" in done.text, "hospital and venue approved, both signed", done)
    sql = "select age, count(*) n, sum(status) died from patients group by age order by age"
    say('$ trustnode explain patients --sql "select age, count(*) n, sum(status) died ..."')
    done = stage.run("explain", "patients", "--sql", sql, profile="acme")
    cost = next(lines_with(done.text, "this question costs"), "")
    stage.expect("epsilon 0.5; 3 of 3" in cost, "the question costs epsilon 0.5, three are left", done)
    say(cost.removeprefix("limit").strip())
    say("$ trustnode read patients --sql ...                      ... twice, for the price of one:")
    answers = [stage.run("read", "patients", "--sql", sql, profile="acme") for _ in range(2)]
    stage.expect(answers[0].out == answers[1].out, "the same question, the same answer", answers[1])
    for age, count, died in ((40, 3726, 78), (60, 3307, 316)):
        line = next((row for row in answers[0].out.splitlines() if row.split()[:1] == [str(age)]), "")
        found = [int(word.replace(",", "")) for word in line.split()[1:3]]
        near = len(found) == 2 and all(abs(a - b) < NOISE for a, b in zip(found, (count, died), strict=True))
        stage.expect(near, f"age {age}: about {count} persons, {died} died", answers[0])
        say(f"age {age}   n {found[0]:,}   died {found[1]:,}   each with noise, 95 % within 32")
    done = stage.run("explain", "patients", "--sql", sql.replace("group by", "where male = 1 group by"), profile="acme")
    stage.expect("2 of 3" in done.text, "two questions are left", done)
    say('$ trustnode read patients --sql "select * from patients"')
    done = stage.run("read", "patients", "--sql", "select * from patients", profile="acme", check=False)
    say(_refusal(stage.refused(done, "DENIED", 3)))


def _limits(stage: Stage) -> None:
    say("6  LIMITS: three reads a day                            zj.example/divisions")
    stage.run("negotiate", "zj.example/divisions", "--purpose", "statistics", "--as", "divisions", profile="acme")
    read = ("read", "divisions", "--sql", "select name from divisions where name like '%贵阳%'")
    for _ in range(3):
        done = stage.run(*read, profile="acme")
        stage.expect("贵阳" in done.out, "a read within the limit answers", done)
    say("$ trustnode read divisions --sql ...                     ... the fourth time:")
    done = stage.run(*read, profile="acme", check=False)
    say(_refusal(stage.refused(done, "QUOTA_WINDOW", 6)))


def _control(stage: Stage) -> None:
    say("7  CONTROL: who can stop it?")
    say('acme$ trustnode read flights --sql "select ... from flights a join flights b ..."')
    running = stage.begin("read", "flights", "--sql", EVERY_FLIGHT, "-o", "all.parquet", profile="acme")
    access = _running_access(stage)
    listed = stage.run("agreement", "list", home="gz")
    name = next(lines_with(listed.out, "flights-20"), "").split(" ")[0]
    stage.expect(bool(name), "gz sees the agreement", listed)
    say(f"gz$   trustnode agreement suspend {name}")
    stopped = time.monotonic()
    stage.run("agreement", "suspend", name, "--reason", "complaint 118", home="gz")
    out, err = running.communicate(timeout=60)
    seconds = time.monotonic() - stopped
    done = Done("read flights", running.returncode, out, err)
    stage.expect(done.status == 3 and "GRANT_INVALID" in done.text, "the download ended", done)
    stage.refusals += 1
    say(f"acme: {next(lines_with(done.text, 'GRANT_INVALID')).strip()}")
    for home in ("gz", "zj"):
        shown = _until_home(stage, home, access, "ABORTED")
        stage.expect("ABORTED" in shown.text, f"{home} settled on what was delivered", shown)
    say(f"stopped  at both nodes, command included, in {seconds:.1f} s; both settled on what was sent")
    stage.run("agreement", "resume", name, home="gz")


def _running_access(stage: Stage) -> str:
    for _ in range(100):
        done = stage.run("access", "list", "--running", "--json", home="gz")
        found = number(done.out, r'"id": "([0-9a-f-]{36})"')
        if found:
            time.sleep(0.3)
            return found
        time.sleep(0.1)
    stage.expect(False, "the download runs at gz", done)
    return ""


def _until_home(stage: Stage, home: str, access: str, word: str) -> Done:
    for _ in range(40):
        done = stage.run("access", "list", "--json", home=home)
        if word in done.out.partition(access)[2][:400] or word in done.out.partition(access)[0][-400:]:
            break
        time.sleep(0.1)
    return done


def _liars(stage: Stage) -> None:
    say("8  LIARS")
    reason = liars.forged_certificate(stage.folder, issuer="zj", claims="gz.example", at="nat")
    stage.expect(reason == "IDENTITY_WRONG_DOMAIN", f"a forged certificate is refused, not {reason}")
    stage.refusals += 1
    say(f"{'a certificate for gz, signed by zj':<45}{reason}")
    _join(stage, "nat", "buyer", "National buyer")
    words = ("negotiate", "fin.example/loans-2018", "--purpose", "credit-scoring")
    done = stage.run(*words, profile="buyer", check=False)
    stage.refused(done, "NATIONAL_NODE_CANNOT_TRADE", 3)
    say(f"{'the national node as a buyer':<45}NATIONAL_NODE_CANNOT_TRADE")
    agreement = number(stage.run("agreement", "show", "loans", "--json", profile="acme").out, r'"id": "([^"]+)"')
    done = stage.run("read", agreement, "--sql", "select * from loans", profile="beta", check=False)
    stage.refused(done, "NOT_FOUND", 4)
    say(f"{'another client with the contract of acme':<45}NOT_FOUND, as if there were none")


def _witnessed(stage: Stage) -> None:
    """The other venues have signed under the newest head of this venue's log, so it cannot tell two stories."""
    wanted = [f"{name}.example/witness" for name in ("fin", "gz", "nat")]
    say("$ trustnode log status                              the operator of zj.example")
    for _ in range(40):
        done = stage.run("log", "status", home="zj")
        if all(name in done.out for name in wanted):
            break
        time.sleep(0.25)
    stage.expect(all(name in done.out for name in wanted), "three venues cosigned the log of zj", done)
    say(next(lines_with(done.out, "entries")))
    say("cosigned by fin, gz, nat: none of them signs another past")


def _proof(stage: Stage) -> None:
    say("9  PROOF: how does a stranger know?")
    _witnessed(stage)
    say("$ trustnode evidence bundle loans -o loans.bundle")
    stage.run("evidence", "bundle", "loans", "-o", "loans.bundle", profile="acme")
    known = ("fin.example", "zj.example", "nat.example")
    anchors = [word for d in known for word in ("--anchor", f"{d}={stage.fingerprints[d]}")]
    say("$ trustnode verify loans.bundle --anchor fin.example=... --anchor zj.example=... --anchor nat.example=...")
    done = stage.run("verify", "loans.bundle", *anchors)
    stage.expect(done.status == 0 and "verified" in done.text, "the bundle verifies offline", done)
    say(next(lines_with(done.text, "verified")))
    for title, file in (
        ("one byte of it changed", liars.one_byte_changed(stage.folder / "loans.bundle")),
        ("one receipt left out", liars.one_receipt_left_out(stage.folder / "loans.bundle")),
    ):
        done = stage.run("verify", file, *anchors, check=False)
        stage.expect(done.status == 7, f"{title}: not verified", done)
        stage.refusals += 1
        verdict = next(lines_with(done.text, "INVALID:", "INCOMPLETE:"), "not verified").strip()
        say(f"{title:<26}exit 7  {verdict}")
    done = stage.run("verify", "loans.bundle", check=False)
    stage.expect(done.status == 7 and "UNANCHORED" in done.text, "without an anchor nothing is proven", done)
    say(f"{'without an anchor':<26}exit 7  UNANCHORED: consistent, but who vouches for the keys?")
