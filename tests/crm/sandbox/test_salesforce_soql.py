"""SOQL: what is understood, what is refused, and that queries find what a plain loop over the store finds."""

import math
import random
import time
from datetime import UTC, date, datetime

import pytest

from crm.sandbox import salesforce_dates, salesforce_ids
from crm.sandbox.salesforce import Salesforce
from crm.sandbox.salesforce_filter import chosen_ids, lowest_id, stamp_bounds
from crm.sandbox.salesforce_replies import ApiError
from crm.sandbox.salesforce_soql import And, Comparison, Literal, Name, Not, Or, parse
from crm.sandbox.store import Clock


@pytest.fixture(autouse=True)
def recorded():
    """Nothing here goes over the wire."""


@pytest.fixture(scope="module")
def salesforce():
    return Salesforce(Clock(), contacts=400, seed=3)


def find(salesforce, text, deleted=False):
    """The rows that a query shows."""
    result = salesforce.engine.run(text, deleted=deleted)
    if result.rows is not None:
        return result.rows
    return [result.shape.row(record, "/base") for record in result.records]


def refusal(salesforce, text):
    with pytest.raises(ApiError) as caught:
        salesforce.engine.run(text)
    return caught.value.code, caught.value.message


def test_ids_have_the_checksum_of_their_capitals():
    # A pair published in Salesforce's own documentation of 18-character ids.
    assert salesforce_ids.long_form("001A0000006Vm9r") == "001A0000006Vm9rIAC"
    assert salesforce_ids.long_form("001A0000006Vm9rIAC") == "001A0000006Vm9rIAC"
    assert salesforce_ids.long_form("001A0000006Vm9rIAD") is None
    assert salesforce_ids.long_form("'; drop") is None
    ids = [salesforce_ids.make("003", number) for number in range(1, 4000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len({item.lower() for item in ids}) == 3999  # safe where case is lost


def test_a_condition_becomes_a_tree():
    query = parse(
        "select Id, Account.Name FROM Contact c where (Email = 'o\\'hara' or not IsDeleted = TRUE) "
        "and Nudge_Opens__c >= -1.5e2 order by Email desc nulls last, Id limit 5 offset 10"
    )
    assert [item.path for item in query.fields] == ["Id", "Account.Name"]
    email = Comparison(Name("Email", query.text.index("Email")), "=", Literal("string", "o'hara"))
    deleted = Comparison(Name("IsDeleted", query.text.index("IsDeleted")), "=", Literal("boolean", True))
    opens = Comparison(Name("Nudge_Opens__c", query.text.index("Nudge_O")), ">=", Literal("number", -150.0))
    assert query.where == And((Or((email, Not(deleted))), opens))
    assert [(key.name.path, key.descending, key.nulls_last) for key in query.order] == [
        ("Email", True, True),
        ("Id", False, False),
    ]
    assert (query.alias, query.limit, query.offset) == ("c", 5, 10)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT Id FROM", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT Id FORM Contact", "MALFORMED_QUERY", "found 'FORM'"),
        ("SELECT Id FROM Contact WHERE", "MALFORMED_QUERY", "<EOF>"),
        ("SELECT Id FROM Contact WHERE Id = 'a' AND Id = 'b' OR Id = 'c'", "MALFORMED_QUERY", "'OR'"),
        ("SELECT Id FROM Contact WHERE Email = 'x", "MALFORMED_QUERY", "'''"),
        (
            r"SELECT Id FROM Contact WHERE Email = 'a\d'",
            "MALFORMED_QUERY",
            r"Illegal character sequence '\d'",
        ),
        ("SELECT Id FROM Contact LIMIT -1", "MALFORMED_QUERY", "'-1'"),
        ("SELECT Id FROM Contact; DROP", "MALFORMED_QUERY", "';'"),
        ("SELECT Id FROM Contact AS c", "MALFORMED_QUERY", "'AS'"),
        ("SELECT Id FROM Contact ORDER BY DESC", "MALFORMED_QUERY", "'DESC'"),
        ("SELECT Id FROM Contact WHERE Nudge_Opens__c = 1.", "MALFORMED_QUERY", "'1'"),
        ("SELECT * FROM Contact", "MALFORMED_QUERY", "'*'"),
        ("SELECT Id, id FROM Contact", "MALFORMED_QUERY", "duplicate field selected: Id"),
        ("SELECT Id FROM Contact WHERE CreatedDate > 2026-13-01T00:00:00Z", "MALFORMED_QUERY", "valid date"),
        ("SELECT FIELDS(ALL) FROM Contact", "MALFORMED_QUERY", "LIMIT of at most 200"),
        ("SELECT FIELDS(CUSTOM) FROM Contact LIMIT 201", "MALFORMED_QUERY", "LIMIT of at most 200"),
        ("SELECT Id, COUNT(Id) FROM Contact", "MALFORMED_QUERY", "must be grouped or aggregated: Id"),
        ("SELECT Id FROM Contact" + " WHERE NOT" + " (" * 60, "QUERY_TOO_COMPLICATED", "too deep"),
        ("SELECT Nope__c FROM Contact", "INVALID_FIELD", "No such column 'Nope__c' on entity 'Contact'."),
        ("SELECT Id FROM Contact ORDER BY Nope", "INVALID_FIELD", "No such column 'Nope'"),
        ("SELECT Nope.Name FROM Contact", "INVALID_FIELD", "Didn't understand relationship 'Nope'"),
        ("SELECT Id FROM Contact WHERE SystemModstamp > '2026-01-01'", "INVALID_FIELD", "of type dateTime"),
        ("SELECT Id FROM Contact WHERE SystemModstamp > 2026-01-01", "INVALID_FIELD", "of type dateTime"),
        ("SELECT Id FROM Contact WHERE Email = 5", "INVALID_FIELD", "should be enclosed in quotes"),
        ("SELECT Id FROM Contact WHERE HasOptedOutOfEmail = 'true'", "INVALID_FIELD", "of type boolean"),
        ("SELECT Id FROM Contact WHERE Description = 'x'", "INVALID_FIELD", "can not be filtered"),
        ("SELECT Id FROM Contact WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: x"),
        (
            "SELECT Id FROM Contact WHERE Birthdate LIKE '1%'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator",
        ),
        ("SELECT Id FROM Nope", "INVALID_TYPE", "sObject type 'Nope' is not supported."),
        (
            "SELECT (SELECT Id FROM Nopes) FROM Contact",
            "INVALID_TYPE",
            "Didn't understand relationship 'Nopes'",
        ),
        (
            "SELECT Id FROM Contact LIMIT 1 OFFSET 2001",
            "NUMBER_OUTSIDE_VALID_RANGE",
            "offset allowed is 2000",
        ),
    ],
)
def test_refusals_in_salesforces_words(salesforce, text, code, words):
    refused = refusal(salesforce, text)
    assert refused[0] == code
    assert words in refused[1]


def test_an_error_points_at_its_place(salesforce):
    assert refusal(salesforce, "SELECT Id\nFROM Contact\nWHERE Nope = 1")[1].startswith(
        "\nWHERE Nope = 1\n      ^\nERROR at Row:3:Column:7\nNo such column 'Nope'"
    )


def random_condition(rng, records, depth=0):
    """A condition in SOQL and the same as a Python function over REST's values of a record."""
    if depth < 3 and rng.random() < 0.5:
        joint = rng.choice(("AND", "OR"))
        parts = [random_condition(rng, records, depth + 1) for _ in range(rng.randint(2, 3))]
        texts = f" {joint} ".join(f"({text})" for text, _ in parts)
        combine = all if joint == "AND" else any
        if rng.random() < 0.3:
            return f"NOT ({texts})", lambda row: not combine(test(row) for _, test in parts)
        return texts, lambda row: combine(test(row) for _, test in parts)
    sample = rng.choice(records)
    name = rng.choice(
        ("Id", "SystemModstamp", "Email", "LastName", "Loyalty_Points__c", "Birthdate", "HasOptedOutOfEmail")
    )
    value = sample.get(name)
    sign = rng.choice(
        ("=", "!=") if name == "HasOptedOutOfEmail" or value is None else ("=", "!=", "<", "<=", ">", ">=")
    )
    if value is None:
        text = "null"
    elif name == "SystemModstamp":
        text = value.replace("+0000", "Z")
    elif name in ("Id", "Email", "LastName"):
        text = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    else:
        text = str(value).lower()

    def fold(item):
        return item.casefold() if name in ("Email", "LastName") and item is not None else item

    def test(row):
        mine, other = fold(row.get(name)), fold(value)
        if sign in ("=", "!="):
            return (mine == other) == (sign == "=")
        if mine is None:
            return False
        return {"<": mine < other, "<=": mine <= other, ">": mine > other, ">=": mine >= other}[sign]

    return f"{name} {sign} {text}", test


@pytest.mark.parametrize(
    "order", ["", "ORDER BY Id", "ORDER BY SystemModstamp, Id", "ORDER BY Email DESC NULLS LAST, Id"]
)
def test_queries_find_what_a_loop_over_the_store_finds(salesforce, order):
    rng = random.Random(f"soql {order}")
    rows = [row["properties"] for row in salesforce.dump("contacts")]
    for _ in range(120):
        text, test = random_condition(rng, rows)
        found = [row["Id"] for row in find(salesforce, f"SELECT Id FROM Contact WHERE {text} {order}")]
        assert len(found) == len(set(found)), text
        assert set(found) == {row["Id"] for row in rows if test(row)}, text
        if "SystemModstamp" in order:
            stamps = {row["Id"]: row["SystemModstamp"] for row in rows}
            assert found == sorted(found, key=lambda key: (stamps[key], key)), text
        elif order == "ORDER BY Id":
            assert found == sorted(found), text


def test_keyset_pages_join_without_gap_or_repeat(salesforce):
    everyone = [row["Id"] for row in find(salesforce, "SELECT Id FROM Contact ORDER BY SystemModstamp, Id")]
    walked, after = [], None
    while True:
        where = ""
        if after:
            stamp, key = after
            where = f"WHERE (SystemModstamp = {stamp} AND Id > '{key}') OR SystemModstamp > {stamp}"
        page = find(
            salesforce, f"SELECT Id, SystemModstamp FROM Contact {where} ORDER BY SystemModstamp, Id LIMIT 37"
        )
        walked += [row["Id"] for row in page]
        if len(page) < 37:
            break
        after = page[-1]["SystemModstamp"].replace("+0000", "Z"), page[-1]["Id"]
    assert walked == everyone
    assert len(walked) == 400


def test_bounds_narrow_what_is_read():
    where = parse(
        "SELECT Id FROM Contact WHERE ((SystemModstamp = 2026-01-01T00:00:00Z AND Id > '003Qy0000000009')"
        " OR SystemModstamp > 2026-01-01T00:00:00Z) AND SystemModstamp <= 2026-02-01T00:00:00Z"
    ).where
    stamps = [datetime(2026, month, 1, tzinfo=UTC).timestamp() * 1000 for month in (1, 2)]
    assert stamp_bounds(where) == tuple(stamps)
    assert lowest_id(where) == ""
    negated = parse("SELECT Id FROM Contact WHERE NOT SystemModstamp > 2026-01-01T00:00:00Z").where
    assert stamp_bounds(negated) == (-math.inf, math.inf)
    one = parse("SELECT Id FROM Contact WHERE Id IN ('003Qy0000000009') AND Email = null").where
    assert chosen_ids(one) == {salesforce_ids.long_form("003Qy0000000009")}


def test_text_like_and_lists(salesforce):
    salesforce.create("Contact", {"LastName": "100% Łoś_x", "Email": "Like@Example.com"})
    names = "SELECT LastName FROM Contact WHERE LastName "
    assert find(salesforce, names + r"LIKE '100\% %'")[0]["LastName"] == "100% Łoś_x"
    assert find(salesforce, names + "LIKE '100%łoś_x'")[0]["LastName"] == "100% Łoś_x"
    assert find(salesforce, names + r"LIKE '%\_x'")[0]["LastName"] == "100% Łoś_x"
    assert find(salesforce, names + r"LIKE '100\_%'") == []
    query = "SELECT Email FROM Contact WHERE Email IN ('like@example.COM', 'nobody@example.com')"
    assert [row["Email"] for row in find(salesforce, query)] == ["Like@Example.com"]


def test_parents_children_and_inner_queries(salesforce):
    (won,) = find(
        salesforce,
        "SELECT Id, ContactId, Contact.Account.Name, Contact.LastName, IsWon FROM Opportunity "
        "WHERE IsWon = true AND Contact.AccountId != null ORDER BY Amount DESC LIMIT 1",
    )
    assert won["IsWon"] is True
    assert won["Contact"]["attributes"]["type"] == "Contact"
    assert won["Contact"]["Account"]["Name"]
    (buyer,) = find(
        salesforce,
        "SELECT Id, (SELECT OpportunityId, Opportunity.Name, Role FROM OpportunityContactRoles "
        f"ORDER BY SystemModstamp DESC) FROM Contact WHERE Id = '{won['ContactId'][:15]}'",
    )
    roles = buyer["OpportunityContactRoles"]
    assert roles["done"] is True
    assert roles["totalSize"] == len(roles["records"]) > 0
    assert won["Id"] in [role["OpportunityId"] for role in roles["records"]]
    for minute in range(3):
        role = salesforce.create("OpportunityContactRole", {"ContactId": buyer["Id"]})
        late = {"modified": f"2027-01-01T00:0{9 - minute}:00Z"}
        salesforce.edit("OpportunityContactRole", role["id"], late)
    (buyer,) = find(
        salesforce,
        "SELECT Id, (SELECT SystemModstamp FROM OpportunityContactRoles ORDER BY SystemModstamp, Id) "
        f"FROM Contact WHERE Id = '{buyer['Id']}'",
    )
    stamps = [row["SystemModstamp"] for row in buyer["OpportunityContactRoles"]["records"]]
    assert stamps == sorted(stamps)
    buyers = "SELECT Id FROM Contact WHERE Id {} (SELECT ContactId FROM Opportunity)"
    some, others = (len(find(salesforce, buyers.format(sign))) for sign in ("IN", "NOT IN"))
    assert some > 0
    assert some + others == len(find(salesforce, "SELECT Id FROM Contact"))
    without = find(salesforce, "SELECT Account.Name FROM Contact WHERE AccountId = null LIMIT 1")
    assert without[0]["Account"] is None


def test_counting_and_grouping(salesforce):
    total = len(find(salesforce, "SELECT Id FROM Opportunity"))
    assert salesforce.engine.run("SELECT COUNT() FROM Opportunity").total == total
    rows = find(
        salesforce,
        "SELECT StageName, COUNT(Id) orders, SUM(Amount), MAX(CloseDate) last FROM Opportunity GROUP BY StageName",
    )
    assert sum(row["orders"] for row in rows) == total
    assert {"attributes", "StageName", "orders", "expr0", "last"} == set(rows[0])
    (newest,) = find(salesforce, "SELECT MAX(SystemModstamp) FROM Contact WHERE LastName != '100% Łoś_x'")
    newest_row = find(
        salesforce,
        "SELECT SystemModstamp FROM Contact WHERE LastName != '100% Łoś_x' ORDER BY SystemModstamp DESC LIMIT 1",
    )
    assert newest["expr0"] == newest_row[0]["SystemModstamp"]


def test_all_fields_by_group(salesforce):
    (everything,) = find(salesforce, "SELECT FIELDS(ALL) FROM Contact LIMIT 1")
    (standard,) = find(salesforce, "SELECT FIELDS(STANDARD) FROM Contact LIMIT 1")
    (custom,) = find(salesforce, "SELECT FIELDS(CUSTOM) FROM Contact LIMIT 1")
    assert set(everything) == set(standard) | set(custom)
    assert set(standard) & set(custom) == {"attributes"}
    assert "Nudge_Score__c" in custom


@pytest.mark.parametrize(
    ("name", "number", "first", "after"),
    [
        ("TODAY", 0, (2026, 3, 4), (2026, 3, 5)),
        ("YESTERDAY", 0, (2026, 3, 3), (2026, 3, 4)),
        ("LAST_N_DAYS", 2, (2026, 3, 2), (2026, 3, 5)),
        ("NEXT_N_DAYS", 2, (2026, 3, 5), (2026, 3, 7)),
        ("N_DAYS_AGO", 4, (2026, 2, 28), (2026, 3, 1)),
        ("THIS_WEEK", 0, (2026, 3, 1), (2026, 3, 8)),
        ("LAST_MONTH", 0, (2026, 2, 1), (2026, 3, 1)),
        ("LAST_N_MONTHS", 3, (2025, 12, 1), (2026, 3, 1)),
        ("NEXT_QUARTER", 0, (2026, 4, 1), (2026, 7, 1)),
        ("LAST_N_QUARTERS", 1, (2025, 10, 1), (2026, 1, 1)),
        ("THIS_YEAR", 0, (2026, 1, 1), (2027, 1, 1)),
        ("LAST_90_DAYS", 0, (2025, 12, 4), (2026, 3, 5)),
    ],
)
def test_relative_dates(name, number, first, after):
    assert salesforce_dates.is_relative(name.lower())
    assert salesforce_dates.span(name, number, date(2026, 3, 4)) == (date(*first), date(*after))


def test_relative_dates_in_conditions(salesforce):
    fresh = salesforce.create("Contact", {"LastName": "Fresh"})["id"]
    query = "SELECT Id FROM Contact WHERE LastName = 'Fresh' AND CreatedDate {}"
    for condition in ("= TODAY", ">= LAST_N_DAYS:30", "> YESTERDAY", "< TOMORROW", "!= LAST_N_YEARS:2"):
        assert [row["Id"] for row in find(salesforce, query.format(condition))] == [fresh], condition
    assert find(salesforce, query.format("< TODAY")) == []
    assert refusal(salesforce, query.format("= LAST_N_DAYS:99999999"))[0] == "MALFORMED_QUERY"


def test_a_page_of_two_thousand_rows_is_quick():
    salesforce = Salesforce(Clock(), contacts=5000, seed=1)
    text = (
        "SELECT Id, FirstName, LastName, Email, Account.Name, SystemModstamp, CreatedDate, IsDeleted FROM Contact "
        "WHERE SystemModstamp > 2025-01-01T00:00:00Z ORDER BY SystemModstamp, Id LIMIT 2000"
    )
    times = []
    for _ in range(5):
        start = time.process_time()
        assert len(find(salesforce, text, deleted=True)) == 2000
        times.append(time.process_time() - start)
    assert min(times) < 0.1
