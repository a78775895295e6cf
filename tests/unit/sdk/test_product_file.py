"""The product file of surface 8: each rule in both directions, each refusal with file, line and column."""

import hashlib
import itertools
import json

import msgspec
import pytest

from trustnode.core.catalog import Table
from trustnode.core.contract import Price
from trustnode.core.document import canonical
from trustnode.core.policy import odrl
from trustnode.core.policy.compile import compile_terms
from trustnode.core.policy.schema import Column
from trustnode.core.policy.terms import KEYS, Terms
from trustnode.errors import TrustnodeError
from trustnode.sdk.product_draft import draft
from trustnode.sdk.product_file import KINDS, Header, load
from trustnode.sdk.toml_position import Positions

LOANS = """\
[product]
name = "loans-2018"                        # the handle's second half, for ever
title = "Consumer loans, first quarter of 2018"
title_zh = "2018年一季度消费贷款"
abstract = "10,000 loans: grade, rate, income band, status; for scoring models."
provider = "lendco"                        # an enrolled participant
licence = "contract only"
category = "ENTERPRISE"                    # PUBLIC asks for [product.public]; PERSONAL, MIXED for more in `personal`
level = "GENERAL_3"
level_basis = "income bands and job titles of borrowers, identities removed"
classes = { topic = "finance", scene = "fintech", industry = "0066" }
facts = { form = "DATASET", updates = "HISTORICAL", source = "ORIGINAL" }
personal = { kind = "NONE", processing = "ANONYMISED", method = "method.txt" }
source_statement = "source.pdf"            # text, or a file: its digest is registered, it stays home
rights = [{ right = ["HOLD", "OPERATE"], holder = "lendco", basis = "rights.pdf" }]
cross_border = false
zone = "Asia/Shanghai"

[resource]                                 # never leaves home
kind = "parquet"                           # parquet, csv, json, duckdb, sqlite; postgres, s3 [governed data]
location = "loans.parquet"
table = "loans"                            # its name in SQL; several: [[resource.table]]

[[offer]]
name = "scoring"
price = "0.02 CNY per row"                 # free | N CNY once, per month, per read, per row; text, never a float
approval = "provider"                      # automatic | provider | provider and venue

[offer.terms]
purposes = ["credit-scoring"]              # or "any"
not_for = ["marketing"]
who = ["role:CONSUMER", "assurance:organisation-checked"]      # or "anyone"; also participant:, venue:, space:
places = ["CN"]
period = "2026-12-01 to 2027-11-30"        # whole days in `zone`; or "12 months" from signing
rows = "application_type = 'individual'"   # columns, literals, = <> < <= > >= in between is null and or not
columns = ["grade", "interest_rate", "term", "loan_amount", "loan_purpose", "state", "loan_status"]
masks = { annual_income = "bucket 10000", emp_title = "hash", earliest_credit_line = "bucket 5" }
limits = ["50 reads per day", "2000000 rows in all"]
keep = "90 days"                           # no copy | N days | unlimited
onward = "forbidden"                       # forbidden | results | with these terms | allowed
derived = "same terms"                     # free | same terms
duties = ["pay within 30 days", "report use monthly", "report a leak within 24 hours"]
"""
TEXTS = ("grade", "loan_purpose", "state", "loan_status", "emp_title", "application_type")
NUMBERS = ("interest_rate", "term", "loan_amount", "annual_income", "earliest_credit_line")
COLUMNS = (
    *(Column(name=name, type="utf8") for name in TEXTS),
    *(Column(name=name, type="int64") for name in NUMBERS),
)
NOW = "2026-11-24T00:00:00.000Z"


def describe(where):
    return tuple(Table(name=name, columns=COLUMNS) for name in where.tables or {"loans": ""})


def header():
    numbers = itertools.count(1)
    return Header("fin.example", NOW, lambda: f"00000000-0000-4000-8000-{next(numbers):012d}")


@pytest.fixture
def folder(tmp_path):
    for name in ("method.txt", "source.pdf", "rights.pdf"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    return tmp_path


@pytest.fixture
def read(folder):
    def read(text=LOANS):
        path = folder / "loans.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, describe)

    return read


def changed(old, new, text=LOANS):
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    return text.replace(old, new)


def everything(file):
    """What ``publish`` would make of a file."""
    at = header()
    return file.registration(at), file.offers(at), file.binding(at)


def refused(read, text):
    with pytest.raises(TrustnodeError) as caught:
        everything(read(text))
    return caught.value


def place(problem):
    return int(problem.metadata["line"]), int(problem.metadata["column"])


def offer_of(read, text):
    return read(text).offers(header())[0]


# --- what a file becomes ----------------------------------------------------------------------------------------------


def test_a_file_becomes_the_registration_it_states(read):
    made = read().registration(header(), version=3)

    assert (made.product, made.version, made.provider) == (
        "fin.example/loans-2018",
        3,
        "spiffe://fin.example/participant/lendco",
    )
    assert (made.topic, made.scene, made.industry) == ("B0500", "W0300", "0066")
    assert made.tables == (Table(name="loans", columns=COLUMNS),)
    assert made.rights[0].right == ("HOLD", "OPERATE")


def test_a_statement_in_a_file_is_registered_by_the_digest_of_its_bytes(read):
    made = read().registration(header())

    assert made.source_sha256 == hashlib.sha256(b"source.pdf").hexdigest()
    assert made.rights[0].basis_sha256 == hashlib.sha256(b"rights.pdf").hexdigest()
    assert made.personal.method_sha256 == hashlib.sha256(b"method.txt").hexdigest()


def test_a_statement_in_words_is_registered_by_the_digest_of_its_text(read):
    text = changed('"source.pdf"  ', '"made by ourselves"  ')

    assert read(text).registration(header()).source_sha256 == hashlib.sha256(b"made by ourselves").hexdigest()


def test_a_statement_that_names_no_file_is_refused(read):
    problem = refused(read, changed("rights.pdf", "right.pdf"))

    assert problem.reason == "FIELD_MISSING"
    assert place(problem) == (15, 61)


def test_the_binding_names_the_source_absolutely_and_is_for_home_alone(read, folder):
    binding = read().binding(header())

    assert binding.location == str((folder / "loans.parquet").resolve())
    assert binding.tables == (("loans", "loans.parquet"),)
    assert binding.aud == ("fin.example",)


def test_a_table_of_a_database_is_bound_by_its_name(read):
    binding = read(changed('kind = "parquet"', 'kind = "duckdb"')).binding(header())

    assert binding.tables == (("loans", "loans"),)


def test_the_listing_is_seen_by_the_network_unless_the_file_says_otherwise(read):
    narrow = read(LOANS + '\n[listing]\nvisibility = "VENUE"\n')

    assert read().listing(header(), ["0" * 64]).visibility == "NETWORK"
    assert narrow.listing(header(), ["0" * 64]).visibility == "VENUE"


def test_every_document_of_a_file_is_canonical_and_bounded(read):
    file = read()
    registration, offers, binding = everything(file)
    for statement in (registration, *offers, binding, file.listing(header(), ["0" * 64])):
        assert msgspec.json.decode(canonical(statement), type=type(statement)) == statement


def test_columns_take_unit_and_description_from_the_file(read):
    text = changed(
        "[resource] ", '[product.columns]\nloan_amount = { unit = "USD", description = "as paid out" }\n\n[resource] '
    )
    column = next(c for c in read(text).registration(header()).tables[0].columns if c.name == "loan_amount")

    assert (column.unit, column.description) == ("USD", "as paid out")


def test_a_unit_of_a_column_that_is_not_there_is_refused(read):
    text = changed("[resource] ", '[product.columns]\nloan_amont = { unit = "USD" }\n\n[resource] ')

    assert "loan_amount" in refused(read, text).message


# --- one text, one policy ---------------------------------------------------------------------------------------------


def test_the_same_terms_in_another_order_give_the_same_policy(read):
    keep, onward = (
        'keep = "90 days"                           # no copy | N days | unlimited\n',
        'onward = "forbidden"  ',
    )
    text = changed(keep, "")
    text = changed(onward, keep + onward, text)
    text = changed(keep + onward, onward.replace("  ", "\n") + keep.rstrip("\n") + "#", text)

    assert odrl.digest(offer_of(read, text).policy) == odrl.digest(offer_of(read, LOANS).policy)


def test_another_word_gives_another_policy(read):
    other = offer_of(read, changed('"50 reads per day"', '"51 reads per day"'))

    assert odrl.digest(other.policy) != odrl.digest(offer_of(read, LOANS).policy)


def test_the_terms_that_an_offer_carries_compile_to_its_policy_again(read):
    offer = offer_of(read, LOANS)
    terms = msgspec.json.decode(offer.terms, type=Terms)
    again = compile_terms(
        terms, price=str(offer.price), schema=COLUMNS, zone="Asia/Shanghai", level="GENERAL_3",
        at=msgspec.convert(NOW, type=__import__("datetime").datetime),
    )  # fmt: skip

    assert again == offer.policy


def test_a_policy_file_may_stand_for_the_terms_and_passes_the_same_compiler(read, folder):
    wanted = offer_of(read, LOANS)
    (folder / "offer.jsonld").write_bytes(odrl.encode(wanted.policy))
    text = LOANS[: LOANS.index("[offer.terms]")] + 'odrl = "offer.jsonld"\n'
    offer = offer_of(read, text)

    assert offer.policy == wanted.policy
    assert set(json.loads(offer.terms)) == set(json.loads(wanted.terms))


def test_a_policy_file_in_another_order_that_names_a_strategy_is_the_same_policy(read, folder):
    wanted = offer_of(read, LOANS)
    written = {**json.loads(odrl.encode(wanted.policy)), "conflict": "prohibit", "@id": "urn:mine"}
    (folder / "offer.jsonld").write_text(json.dumps(dict(reversed(written.items())), indent=3))
    text = LOANS[: LOANS.index("[offer.terms]")] + 'odrl = "offer.jsonld"\n'

    assert offer_of(read, text).policy == wanted.policy


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda p: p["prohibition"].append({"action": "read"}), "POLICY_CONFLICT"),
        (
            lambda p: p["permission"][0]["constraint"].append(
                {"leftOperand": "spatial", "operator": "eq", "rightOperand": "CN"}
            ),
            "VOCABULARY_UNKNOWN",
        ),
        (lambda p: p.update(inheritFrom="urn:elsewhere"), "MESSAGE_UNPARSABLE"),
        (lambda p: p["permission"].append({"action": "distribute"}), "POLICY_CONFLICT"),
    ],
    ids=["rules that meet", "a word of ODRL that nothing here keeps", "an unknown key", "onward both ways"],
)
def test_a_policy_file_that_says_what_nothing_keeps_is_refused_as_terms_would_be(read, folder, change, reason):
    written = json.loads(odrl.encode(offer_of(read, LOANS).policy))
    change(written)
    (folder / "offer.jsonld").write_text(json.dumps(written))
    text = LOANS[: LOANS.index("[offer.terms]")] + 'odrl = "offer.jsonld"\n'

    assert refused(read, text).reason == reason


def test_a_policy_file_whose_price_is_not_the_one_in_the_file_is_refused(read, folder):
    (folder / "offer.jsonld").write_bytes(odrl.encode(offer_of(read, LOANS).policy))
    text = LOANS[: LOANS.index("[offer.terms]")] + 'odrl = "offer.jsonld"\n'

    assert refused(read, changed("0.02 CNY", "0.01 CNY", text)).reason == "POLICY_CONFLICT"


def test_an_offer_has_terms_or_a_policy_file_never_both_nor_none(read):
    both = changed("[offer.terms]", 'odrl = "offer.jsonld"\n\n[offer.terms]')
    none = LOANS[: LOANS.index("[offer.terms]")]

    assert refused(read, both).reason == refused(read, none).reason == "FIELD_MISSING"


# --- nothing by silence, silence forbids ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["purposes", "who", "period", "columns", "keep", "onward", "price"])
def test_what_must_be_said_must_stand_there(read, key):
    line = next(line for line in LOANS.splitlines(keepends=True) if line.startswith(f"{key} = "))
    text = changed(line, "")
    if key == "columns":  # masks alone say it, too: then all that is delivered is masked
        text = changed(next(line for line in LOANS.splitlines() if line.startswith("masks = ")), "", text)
    problem = refused(read, text)

    assert problem.reason == "FIELD_MISSING"
    assert key in problem.message
    assert "line" in problem.metadata


@pytest.mark.parametrize(
    "line",
    [line for line in LOANS[: LOANS.index("[resource]")].splitlines() if " = " in line],
    ids=lambda line: line.split()[0],
)
def test_a_mandatory_key_of_the_product_is_missed_at_its_table(read, line):
    if line.startswith("title_zh"):
        assert everything(read(changed(line, "")))
    else:
        problem = refused(read, changed(line, ""))
        assert problem.reason == "FIELD_MISSING"
        assert problem.message == f"line 1: [product] needs {line.split()[0]}"


def test_any_and_anyone_are_said_as_words(read):
    text = changed('["credit-scoring"]  ', '"any"  ')
    text = changed('["role:CONSUMER", "assurance:organisation-checked"]', '"anyone"', text)

    assert offer_of(read, text).policy.permission


def test_all_columns_only_at_the_lowest_level(read):
    line = next(line for line in LOANS.splitlines() if line.startswith("columns = "))
    everywhere = changed(line, 'columns = "all"')
    problem = refused(read, everywhere)

    assert problem.reason == "LEVEL_FORBIDDEN"
    assert place(problem) == (36, 1)


def test_all_columns_are_frozen_to_the_list_there_is(read):
    line = next(line for line in LOANS.splitlines() if line.startswith("columns = "))
    text = changed(line, 'columns = "all"', changed('level = "GENERAL_3"', 'level = "GENERAL_1"'))
    carried = json.loads(offer_of(read, text).terms)["columns"]

    masked = {"annual_income", "emp_title", "earliest_credit_line"}
    assert carried == [column.name for column in COLUMNS if column.name not in masked]


# --- closed words -----------------------------------------------------------------------------------------------------

MISSPELT = {
    "a key of the product": ('level_basis = "', 'level_bases = "', (10, 1), "level_basis"),
    "a table": ("[resource] ", "[resourse] ", (19, 1), "resource"),
    "a key of an offer": ('approval = "provider"', 'aproval = "provider"', (27, 1), "approval"),
    "a key of the terms": ("not_for = ", "notfor = ", (31, 1), "not_for"),
    "a key in an inline table": ('scene = "fintech"', 'scen = "fintech"', (11, 32), "scene"),
    "a purpose": ('"credit-scoring"', '"credit-scorring"', (30, 13), "credit-scoring"),
    "a forbidden purpose": ('"marketing"', '"marketting"', (31, 12), "marketing"),
    "a role": ("role:CONSUMER", "role:CONSUMR", (32, 8), "CONSUMER"),
    "a kind of condition": ("assurance:organ", "asurance:organ", (32, 25), "assurance:"),
    "a column": ('"state", ', '"stat", ', (36, 77), "state"),
    "a masked column": ("emp_title = ", "emp_titel = ", (37, 43), "emp_title"),
    "a mask": ('"hash"', '"hsh"', (37, 43), "hash"),
    "a unit": ("50 reads per day", "50 reds per day", (38, 11), "read"),
    "a window": ("50 reads per day", "50 reads per dya", (38, 11), "day"),
    "onward": ('"forbidden"', '"forbiden"', (40, 1), "forbidden"),
    "derived": ('"same terms"', '"sam terms"', (41, 1), "same terms"),
    "a duty": ("pay within 30 days", "pay in 30 days", (42, 11), "pay within 30 days"),
    "the level": ('"GENERAL_3"', '"GENERAL_9"', (9, 1), "GENERAL_"),
    "the category": ('"ENTERPRISE"', '"ENTERPRIZE"', (8, 1), "ENTERPRISE"),
    "the form": ('"DATASET"', '"DATASETT"', (12, 11), "DATASET"),
    "the processing": ('"ANONYMISED"', '"ANONYMIZED"', (13, 29), "ANONYMISED"),
    "a right": ('"OPERATE"', '"OPERATES"', (15, 12), "OPERATE"),
    "the zone": ("Asia/Shanghai", "Asia/Shangai", (17, 1), "Asia/Shanghai"),
    "the kind of source": ('kind = "parquet"', 'kind = "parket"', (20, 1), "parquet"),
    "the approval": ('approval = "provider"', 'approval = "provder"', (27, 1), "provider"),
}


@pytest.mark.parametrize("old, new, at, nearest", MISSPELT.values(), ids=MISSPELT)
def test_a_word_that_is_not_known_is_refused_where_it_stands_with_the_nearest(read, folder, old, new, at, nearest):
    problem = refused(read, changed(old, new))

    assert problem.reason == "VOCABULARY_UNKNOWN"
    assert nearest in problem.message
    assert problem.metadata["file"] == str(folder / "loans.toml")
    assert place(problem)[0] == at[0]
    assert place(problem)[1] in (at[1], 1)


@pytest.mark.parametrize("key", ["not_for", "places", "limits", "duties"])
def test_an_empty_list_is_refused_instead_of_meaning_something(read, key):
    line = next(line for line in LOANS.splitlines() if line.startswith(f"{key} = "))
    problem = refused(read, changed(line, f"{key} = []"))

    assert problem.reason == "FIELD_MISSING"
    assert place(problem) == (LOANS[: LOANS.index(line)].count("\n") + 1, 1)


def test_an_empty_text_is_refused(read):
    assert refused(read, changed('licence = "contract only"', 'licence = ""')).reason == "FIELD_MISSING"


@pytest.mark.parametrize(
    "old, new",
    [
        ("cross_border = false", 'cross_border = "no"'),
        ('title = "Consumer loans, first quarter of 2018"', "title = 7"),
        ('"0.02 CNY per row"  ', "0.02  "),
        ('["credit-scoring"]  ', "[7]  "),
    ],
    ids=["text for a truth", "number for a text", "a price that is a float", "a number for a word"],
)
def test_a_value_of_another_kind_is_refused_with_its_line(read, old, new):
    problem = refused(read, changed(old, new))

    assert problem.reason in ("FIELD_FORMAT", "PRICE_MISSING", "VOCABULARY_UNKNOWN")
    assert place(problem)[0] == LOANS[: LOANS.index(old)].count("\n") + 1


def test_a_text_that_is_no_toml_is_refused_at_its_place(read):
    problem = refused(read, changed('title = "Consumer loans, first quarter of 2018"', 'title = "Consumer'))

    assert problem.reason == "FIELD_FORMAT"
    assert place(problem)[0] == 3


def test_a_title_beyond_its_length_is_refused_at_its_line(read):
    problem = refused(read, changed("Consumer loans, first quarter of 2018", "x" * 129))

    assert (problem.reason, place(problem)) == ("FIELD_FORMAT", (3, 1))


# --- the level adds, no beats yes, three classes ----------------------------------------------------------------------


def test_an_approval_below_the_level_is_refused(read):
    problem = refused(read, changed('approval = "provider" ', 'approval = "automatic" '))

    assert (problem.reason, place(problem)) == ("LEVEL_FORBIDDEN", (27, 1))


def test_automatic_approval_is_a_mandate_for_a_million_agreements(read):
    text = changed('approval = "provider" ', 'approval = "automatic" ', changed("GENERAL_3", "GENERAL_2"))

    assert offer_of(read, text).mandate.max_agreements == 1_000_000
    assert (
        offer_of(read, changed('name = "scoring"', 'name = "scoring"\nmax_agreements = 3', text)).mandate.max_agreements
        == 3
    )
    assert offer_of(read, LOANS).mandate is None


def test_a_term_that_nothing_keeps_makes_the_offer_unpublishable(read):
    problem = refused(read, LOANS + 'environment = "TEE"\n')

    assert problem.reason == "OFFER_UNENFORCEABLE"
    assert problem.message == 'line 43: environment = "TEE": no verifier here'


def test_a_purpose_allowed_and_forbidden_is_refused(read):
    problem = refused(read, changed('["marketing"]', '["credit-scoring"]'))

    assert problem.reason == "POLICY_CONFLICT"
    assert place(problem)[0] in (30, 31)


def test_a_period_that_is_over_is_refused(read):
    assert refused(read, changed("2026-12-01 to 2027-11-30", "2025-01-01 to 2025-12-31")).reason == "POLICY_CONFLICT"


def test_anonymised_data_need_a_method_statement(read):
    problem = refused(read, changed(', method = "method.txt"', ""))

    assert (problem.reason, place(problem)[0]) == ("CATEGORY_FIELD_MISSING", 13)


def test_a_provider_that_may_not_operate_is_refused(read):
    problem = refused(read, changed('["HOLD", "OPERATE"]', '["HOLD"]'))

    assert (problem.reason, place(problem)[0]) == ("RIGHT_MISSING", 15)


def test_public_data_name_who_authorised_them(read):
    public = (
        '[product.public]\nauthorising_body = "a bureau"\nauthorisation = "no. 7"\nfee_mode = "free"\n\n[resource] '
    )
    without = changed('"ENTERPRISE"', '"PUBLIC"')

    assert refused(read, without).reason == "CATEGORY_FIELD_MISSING"
    assert everything(read(changed("[resource] ", public, without)))


# --- the floor --------------------------------------------------------------------------------------------------------


def floor(lines):
    return changed("[resource] ", f"[product.terms]\n{lines}\n\n[resource] ")


def test_an_offer_below_the_floor_is_refused_with_its_line(read):
    problem = refused(read, floor('keep = "30 days"'))

    assert problem.reason == "POLICY_WEAKER"
    assert place(problem) == (42, 1)


def test_an_offer_above_the_floor_carries_it_in_the_registration(read):
    registration, _, _ = everything(read(floor('keep = "120 days"')))

    assert json.loads(registration.floor) == {"keep": "120 days"}


def test_a_floor_that_nothing_keeps_is_refused(read):
    problem = refused(read, floor('environment = "TEE"'))

    assert (problem.reason, place(problem)) == ("OFFER_UNENFORCEABLE", (20, 1))


# --- offers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["free", "500 CNY once", "20 CNY per month", "1 CNY per read", "0.02 CNY per row"])
def test_a_price_is_one_of_five_forms(read, text):
    without_duty = changed('"pay within 30 days", ', "")
    assert offer_of(read, changed('"0.02 CNY per row"  ', f'"{text}"  ', without_duty)).price == Price.parse(text)


@pytest.mark.parametrize("text", ["0.02", "2 fen per row", "0.02 CNY per rw", "-1 CNY once", "0.02 USD per row"])
def test_a_price_in_another_form_is_refused_at_its_line(read, text):
    problem = refused(read, changed('"0.02 CNY per row"  ', f'"{text}"  '))

    assert (problem.reason, place(problem)[0]) == ("PRICE_MISSING", 26)


def test_an_offer_stands_until_its_period_ends_or_a_year(read):
    relative = changed('"2026-12-01 to 2027-11-30"', '"12 months"')
    until = changed('name = "scoring"', 'name = "scoring"\nuntil = "2027-01-31"')

    assert offer_of(read, LOANS).valid_until == "2027-11-30T16:00:00.000Z"
    assert offer_of(read, relative).valid_until == "2027-11-24T00:00:00.000Z"
    assert offer_of(read, until).valid_until == "2027-01-31T16:00:00.000Z"


@pytest.mark.parametrize("day", ["soon", "2026-01-01"])
def test_an_offer_that_is_over_or_ends_on_no_day_is_refused(read, day):
    problem = refused(read, changed('name = "scoring"', f'name = "scoring"\nuntil = "{day}"'))

    assert place(problem) == (26, 1)


def test_two_offers_of_one_name_are_refused(read):
    twice = LOANS + LOANS[LOANS.index("[[offer]]") :]

    assert refused(read, twice).reason == "DUPLICATE"


def test_offers_are_chosen_by_name(read):
    second = LOANS[LOANS.index("[[offer]]") :].replace('name = "scoring"', 'name = "other"')
    file = read(LOANS + second)

    assert [offer.name for offer in file.offers(header())] == ["scoring", "other"]
    assert [offer.name for offer in file.offers(header(), names=["other"])] == ["other"]
    with pytest.raises(TrustnodeError, match="NOT_FOUND"):
        file.offers(header(), names=["third"])


def test_several_tables_are_registered_but_not_offered_under_one_policy(read):
    line = next(line for line in LOANS.splitlines() if line.startswith("table = "))
    tables = '[[resource.table]]\nname = "loans"\nlocation = "a"\n\n[[resource.table]]\nname = "more"\nlocation = "b"\n'
    text = changed(line, tables)

    assert [table.name for table in read(text).registration(header()).tables] == ["loans", "more"]
    assert refused(read, text).reason == "OFFER_UNENFORCEABLE"


# --- the draft --------------------------------------------------------------------------------------------------------


def test_a_draft_names_every_mandatory_field_and_every_column(folder):
    (folder / "flights.parquet").write_bytes(b"")
    text = draft(folder / "flights.parquet", describe, folder)

    for name in (
        "level_basis",
        "source_statement",
        "rights",
        "zone",
        "purposes",
        "who",
        "period",
        "keep",
        "onward",
        "price",
    ):
        assert f"\n{name} = " in text
    for column in COLUMNS:
        assert f'  "{column.name}",' in text
    assert 'location = "flights.parquet"' in text


def test_a_draft_is_a_product_file_once_its_dots_are_replaced(folder, read):
    text = draft(folder / "loans.parquet", describe, folder)
    text = text.replace('topic = "..."', 'topic = "finance"').replace('scene = "..."', 'scene = "fintech"')
    text = text.replace('holder = "..."', 'holder = "acme"').replace('provider = "..."', 'provider = "acme"')
    text = text.replace('"..."', '"made by ourselves"')

    assert everything(read(text))


def test_a_draft_as_it_is_cannot_be_published(folder, read):
    assert refused(read, draft(folder / "loans.parquet", describe, folder)).metadata["line"]


def test_a_source_of_no_known_kind_gets_no_draft(folder):
    with pytest.raises(TrustnodeError, match="FIELD_FORMAT"):
        draft(folder / "loans.xlsx", describe, folder)


def test_the_kinds_of_sources_are_those_of_the_page():
    assert KINDS == ("parquet", "csv", "json", "duckdb", "sqlite", "postgres", "s3")


# --- positions --------------------------------------------------------------------------------------------------------


def test_positions_survive_strings_comments_and_brackets_in_odd_places():
    text = (
        '# [not] = "a table"\n'
        'a = "x # no comment ] }"\n'
        "b = '''\nmore\nlines = 1\n'''\n"
        "[t.'quoted key']\n"
        "c = [ # first\n  1,\n  { d = [2, 3] },\n]\n"
        "[[t.list]]\n"
        "e = 1\n"
        "[[t.list]]\n"
        "e = 2\n"
        "[t.list.below]\n"
        'f.g = """\n"quoted" """\n'
        "h = 2026-01-01\n"
    )
    found = Positions(text)

    assert found.of(("a",)) == (2, 1)
    assert found.of(("b",)) == (3, 1)
    assert found.of(("t", "quoted key", "c", 1, "d", 1)) == (10, 13)
    assert found.of(("t", "list", 0, "e")) == (13, 1)
    assert found.of(("t", "list", 1, "e")) == (15, 1)
    assert found.of(("t", "list", 1, "below", "f", "g")) == (17, 1)
    assert found.of(("t", "list", 1, "below", "h")) == (19, 1)
    assert found.of(("t", "list", 1, "below", "nothing")) == (16, 1)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_terms_has_a_place_in_a_file(key):
    assert Positions(f"[[offer]]\n[offer.terms]\n{key} = 1\n").of(("offer", 0, "terms", key)) == (3, 1)
