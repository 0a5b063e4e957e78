"""Any report over REST: JSON, CSV, pages, tags, and whom a number is about."""

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.utils import timezone

from analytics.api import answers, freshness
from analytics.exports import flat
from analytics.models import Goal
from analytics.reporting import query as queries
from analytics.reporting import registry
from analytics.reporting.shapes import Column, Kind, Report, Row, Sheet, Table
from analytics.reports import figures, kept, people
from analytics.reports.filters import Filters
from analytics.reports.periods import EVER
from campaigns.models import Broadcast, Flow, ListJob, Segment, SegmentMembership
from campaigns.segments import list_work
from crm import api_keys
from crm.models import AuditEntry, Connection, Identifier
from delivery.models import LinkHit, Message
from tests.analytics import world

pytestmark = pytest.mark.django_db
BY_MAIL = {"kind": "attribute", "field": "email", "op": "contains", "value": "ann@"}
NAMES = ("Zofia-Secret", "secret@example.org", "C-SECRET-7")


@pytest.fixture
def get(client, monkeypatch):
    """Ask as a key that may read, at one moment; `scope` names another key."""
    monkeypatch.setattr(kept, "span", lambda: 1)
    keys = {scope: api_keys.create(scope, [scope])[1] for scope in ("read", "read_masked", "write")}

    def ask(path: str, *, scope: str = "read", tag: str = "", accept: str = "", **query: object):
        headers = {"HTTP_AUTHORIZATION": f"Bearer {keys[scope]}"}
        if tag:
            headers["HTTP_IF_NONE_MATCH"] = tag
        if accept:
            headers["HTTP_ACCEPT"] = accept
        return client.get(f"/api/v1/reports/{path}?{urlencode(query)}", **headers)

    return ask


@pytest.fixture
def sent():
    """Three messages that went out today, one with a purchase behind it."""
    at = timezone.now() - timedelta(hours=1)
    person = world.person(first_name=NAMES[0], email=NAMES[1])
    Identifier.objects.create(profile=person, kind="external_id", value=NAMES[2])
    for slug in ("a", "b", "c"):
        made = world.message(slug)
        delivery = world.delivery(made, person, "delivered", at)
        world.delivery(made, world.person(), "sent", at)
        if slug != "c":
            world.engages(delivery, "clicked", at + timedelta(minutes=1))
    world.happens(person, "purchase", at + timedelta(minutes=5), total=7.5, currency="EUR")
    world.count()
    return person


def rows(response) -> list[list[str]]:
    return list(csv.reader(io.StringIO(b"".join(response.streaming_content).decode())))


def asked_of(report: Report) -> dict[str, str]:
    """What a report that is about one thing has to be asked."""
    if report.subject == "message":
        return {"message": "a"}
    if report.subject == "flow":
        return {"flow": str(Flow.objects.get_or_create(slug="series", defaults={"name": "Series"})[0].pk)}
    if report.subject == "broadcast":
        segment, _new = Segment.objects.get_or_create(slug="all", defaults={"name": "All", "rule": {}})
        made = Broadcast.objects.first() or Broadcast.objects.create(
            name="Sale", message=Message.objects.get(slug="a"), segment=segment
        )
        return {"broadcast": str(made.pk)}
    return {}


def test_the_catalogue_tells_all_reports_and_what_figures_mean(get):
    body = get("").json()
    assert [each["report"] for each in body["reports"]] == list(registry.reports())
    assert all(each["title"] and each["description"] for each in body["reports"])
    assert all(figure["definition"] for figure in body["figures"])
    assert {"sent", "open_rate", "revenue"} <= {figure["key"] for figure in body["figures"]}


def test_every_report_says_what_its_columns_mean_and_nothing_about_people(get, sent):
    for report in registry.reports().values():
        response = get(f"{report.slug}/", **asked_of(report))
        assert response.status_code == 200, (report.slug, response.content)
        body = response.json()
        assert body["report"] == report.slug
        for table in body["tables"]:
            assert all(column["definition"] for column in table["columns"]), (report.slug, table["table"])
            keys = [row["key"] for row in table["rows"]]
            assert len(set(keys)) == len(keys), (report.slug, table["table"])
            names = {column["key"] for column in table["columns"]}
            assert all(set(row["values"]) == names for row in table["rows"])
        text = response.content.decode()
        assert not any(name in text for name in NAMES), report.slug


def test_the_numbers_of_json_and_csv_are_those_of_the_sheet(get, sent):
    report = registry.reports()["messages"]
    query = queries.parse(report, {"period": "7"})
    sheet = report.build(query)
    body = get("messages/", period="7").json()
    assert body["figures"]["values"]["sent"] == sheet.figures.values["sent"] == 6
    assert body["period"]["from"] == str(query.period.first)
    [table], [told] = sheet.tables, body["tables"]
    by_key = {row["key"]: row for row in told["rows"]}
    written = rows(get("messages/", period="7", format="csv"))
    assert [line[0] for line in written[1:]] == [row.key for row in table.rows], "in the report's order"
    heads = flat.heads(table)
    for row, line in zip(table.rows, written[1:], strict=True):
        assert by_key[row.key]["place"] == table.rows.index(row) + 1
        for column in table.columns:
            raw = row.values[column.key]
            assert by_key[row.key]["values"][column.key] == answers.value(column.kind, raw)
        for head, text in zip(heads, line[2:], strict=True):
            raw = head.value(row)
            assert text == "" if raw is None else Decimal(text) == Decimal(str(raw)), head.key
    assert "revenue_EUR" in written[0]
    assert sum(Decimal(line[written[0].index("revenue_EUR")]) for line in written[1:]) == Decimal("7.5")


@pytest.mark.parametrize("limit", [1, 2])
def test_pages_put_together_are_the_whole(get, sent, limit):
    whole = get("messages/").json()["tables"][0]["rows"]
    found, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {"table": "messages"}
        body = get("messages/", limit=limit, **more).json()
        [table] = body["tables"]
        assert len(table["rows"]) <= limit
        found += table["rows"]
        cursor = table["next_cursor"]
        if cursor is None:
            break
        # What is new meanwhile takes nothing away and brings nothing twice.
        if len(found) == limit:
            world.delivery(world.message("0-before"), world.person(), at=timezone.now())
            world.count()
    assert [row["key"] for row in found] == [row["key"] for row in whole] == ["a", "b", "c"]
    assert sorted(row["place"] for row in whole) == [1, 2, 3]


def test_csv_comes_page_by_page_where_that_is_asked_for(get, sent):
    first = get("messages/", accept="text/csv", limit=2)
    assert first["Content-Type"].startswith("text/csv")
    link = first["Link"]
    assert link.endswith('; rel="next"')
    second = get(
        "messages/",
        **dict(pair.split("=") for pair in link[1:].split(">")[0].split("?")[1].split("&")),
        accept="text/csv",
    )
    assert [line[0] for line in rows(first)[1:] + rows(second)[1:]] == ["a", "b", "c"]
    assert "Link" not in second


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ({"period": "someday"}, "invalid_value", "period"),
        ({"from": "2026-02-30", "to": "2026-03-01"}, "invalid_value", "from"),
        ({"message": "nobody"}, "invalid_value", "message"),
        ({"by": "colour"}, "invalid_value", "by"),
        ({"colour": "red"}, "unknown_parameter", "colour"),
        ({"step": "hello"}, "unknown_parameter", "step"),
        ({"table": "chairs"}, "invalid_value", "table"),
        ({"cursor": "AAAA"}, "invalid_cursor", "cursor"),
        ({"limit": "0"}, "invalid_value", "limit"),
        ({"limit": "0", "format": "csv"}, "invalid_value", "limit"),
    ],
)
def test_what_nobody_can_mean_is_refused(get, query, code, field):
    response = get("messages/", **query)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (400, code, field)


def test_a_cursor_belongs_to_its_report_and_table(get, sent):
    cursor = get("messages/", table="messages", limit=1).json()["tables"][0]["next_cursor"]
    for path, more in (("channels/", {}), ("messages/", {"table": "figures"})):
        assert get(path, cursor=cursor, **more).json()["error"]["code"] == "invalid_cursor"


def test_unchanged_answers_are_told_by_their_tag_without_being_made(get, sent, monkeypatch):
    first = get("messages/", period="7")
    tag = first["ETag"]
    assert first["Cache-Control"] == "private, no-cache"
    assert "Accept-Language" in first["Vary"]

    def never(query):
        raise AssertionError("it was made")

    report = registry.reports()["messages"]
    with monkeypatch.context() as patched:
        patched.setitem(registry.reports(), "messages", _replaced(report, never))
        again = get("messages/", period="7", tag=tag)
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
    monkeypatch.setattr(kept, "span", lambda: -1)
    assert get("messages/", period="7", tag=tag).status_code == 200, "what was kept may be another by now"


def _replaced(report: Report, build) -> Report:
    import msgspec

    return msgspec.structs.replace(report, build=build)


def test_tags_differ_by_what_is_asked_and_change_with_what_answers_say(get, sent, client):
    tags = {
        name: get("messages/", **query)["ETag"]
        for name, query in {
            "usual": {},
            "other days": {"period": "7"},
            "csv": {"format": "csv"},
            "a page": {"limit": 1},
            "filtered": {"channel": "email"},
            "by": {"by": "origin"},
        }.items()
    }
    assert len(set(tags.values())) == len(tags)
    assert get("messages/", period="30")["ETag"] == tags["usual"], "the same question in other words"
    seen = {tags["usual"]}

    def changed() -> bool:
        tag = get("messages/")["ETag"]
        new = tag not in seen
        seen.add(tag)
        return new

    assert not changed()
    made = world.message("new")
    assert changed()
    made.name = "Called otherwise"
    made.save()
    assert changed()
    crm = Connection.objects.create(kind="sandbox", name="Shop CRM", slug="shop")
    assert changed()
    crm.cursor = {"contacts": {}}
    crm.save()
    assert not changed(), "how far it has read, which is all the time"
    crm.state = Connection.State.PAUSED
    crm.save()
    assert changed(), "which the report of sources says"
    world.delivery(made, world.person(), "queued", logged=False)
    assert changed()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE analytics_rollupstate SET generation = generation + 1")
    assert changed()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE crm_logcursor SET seq = seq + 1")
        if not cursor.rowcount:
            cursor.execute(
                "INSERT INTO crm_logcursor (name, txid, seq) VALUES (%s, 1, 1)", [freshness.projection.CURSOR]
            )
    assert changed()


@pytest.mark.django_db(transaction=True)
def test_tags_change_with_any_table_that_reports_read():
    before = freshness.etag("x")
    person = world.person()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    assert freshness.etag("x") != before
    delivery = world.delivery(world.message(), person)

    def city():
        person.city = "Kraków"
        person.save()

    def clicked_again():
        LinkHit.objects.create(delivery=delivery, link=0, at=timezone.now(), verdict="person")

    for change in (city, clicked_again):
        before = freshness.etag("x")
        assert freshness.etag("x") == before
        change()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
        assert freshness.etag("x") != before, change


def test_whom_a_number_is_about(get, sent):
    found, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        body = get("messages/people/", column="clicked", limit=1, **more).json()
        found += body["people"]
        if (cursor := body["next_cursor"]) is None:
            break
    report = registry.reports()["messages"]
    query = queries.parse(report, {})
    expected = people.page("clicked", query.period, query.filters).rows
    assert [row["delivery"] for row in found] == [row.delivery_id for row in expected]
    assert len(found) == 2
    assert {(row["id"], *row["external_ids"]) for row in found} == {(sent.pk, NAMES[2])}
    assert NAMES[1] not in json.dumps(found)
    assert get("messages/people/", column="clicked", message="a").json()["people"][0]["id"] == sent.pk
    assert get("messages/people/", column="name").json()["error"]["field"] == "column"


@pytest.mark.parametrize("model", ["", *Goal.Model.values])
def test_who_converted_is_told_as_it_is_counted(get, sent, model):
    filters = Filters(model=model)
    counted = figures.total(EVER, filters).people_converted
    found = people.page("people_converted", EVER, filters, limit=9).rows
    assert len(found) == counted
    assert counted == {"linear": 2, "position": 2, "view_through": 0}.get(model, 1)
    everybody = list(people.everybody("people_converted", EVER, filters))
    assert everybody == ([sent.pk] if counted else [])
    asked = {"model": model} if model else {}
    table = get("messages/", **asked).json()["tables"][0]
    assert {each["key"]: each["people"] for each in table["columns"]}["conversion_rate"] == "people_converted"
    body = get("messages/people/", column="people_converted", **asked).json()
    assert [row["delivery"] for row in body["people"]] == [row.delivery_id for row in found]
    Goal.objects.create(slug="other", name="Other", event="other")
    assert get("messages/people/", column="people_converted", goal="other").json()["people"] == []


def test_reading_people_is_in_the_audit_log(get, sent):
    get("messages/people/", column="clicked", period="7")
    get("messages/people/", column="nobody")
    entry = AuditEntry.objects.get(action="report.people_viewed")
    assert (entry.actor_type, entry.actor, entry.object_id) == ("key", "read", "messages")
    assert entry.detail == {"rows": 2, "column": "clicked", "parameters": {"period": "7"}}


def test_whom_a_number_is_about_become_a_list(get, sent, client):
    key = api_keys.create("lists", ["write", "read_masked"])[1]

    def post(path: str, body: object, key: str = key):
        headers = {"HTTP_AUTHORIZATION": f"Bearer {key}"}
        return client.post(f"/api/v1/reports/{path}", body, content_type="application/json", **headers)

    asked = "messages/people/snapshot/?column=clicked&message=a"
    answer = post(asked, {"name": "Clicked", "slug": "clicked"})
    assert answer.status_code == 202, answer.content
    assert (answer.json()["list"], answer.json()["state"]) == ("clicked", "running")
    list_work.work()
    members = SegmentMembership.objects.filter(segment__slug="clicked")
    assert [member.profile_id for member in members] == [sent.pk]
    assert AuditEntry.objects.get(action="list.filled").detail["report"] == "messages"
    assert post(asked, {"name": "Clicked", "slug": "clicked"}).status_code == 409
    assert post(asked, {"name": " "}).json()["error"]["field"] == "name"
    assert post(asked, {"name": "X", "who": 1}).status_code == 400
    assert post("messages/people/snapshot/?column=no", {"name": "X"}).json()["error"]["field"] == "column"
    assert post("goals/people/snapshot/?column=sent", {"name": "X"}).status_code == 404
    asked = Segment.objects.create(slug="at-home", name="At home", rule=BY_MAIL)
    refused = post("messages/people/snapshot/?column=sent&segment=at-home", {"name": "X"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "segment")
    reader = api_keys.create("reader", ["read"])[1]
    assert post("messages/people/snapshot/?column=sent", {"name": "X"}, reader).status_code == 403
    assert ListJob.objects.count() == 1


def test_a_period_says_how_many_of_its_days_are_not_over(get, sent):
    found = {
        name: get("channels/", period=name).json()["period"]["unfinished"]
        for name in ("today", "7", "yesterday", "all")
    }
    assert found == {"today": 1, "7": 1, "yesterday": 0, "all": None}


def test_who_may_see_no_contact_data_has_numbers_only(get, sent):
    asked = Segment.objects.create(slug="at-home", name="At home", rule=BY_MAIL)
    assert get("", scope="read_masked").status_code == 200
    assert get("messages/", scope="read_masked").json() == get("messages/").json()
    assert get("messages/people/", scope="read_masked", column="sent").status_code == 403
    refused = get("messages/", scope="read_masked", segment=asked.slug)
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "segment")
    assert get("messages/", segment=asked.slug).status_code == 200
    assert get("messages/", scope="write").status_code == 403


def test_a_formula_in_a_name_is_only_text(get, monkeypatch):
    column = Column(key="n", label="N", definition="N", kind=Kind.TEXT)
    table = Table(
        slug="t",
        title="T",
        head="H",
        columns=[column],
        rows=[Row(key="=1+1", label="=HYPERLINK(1)", values={"n": "+cmd"})],
    )
    report = _replaced(registry.reports()["channels"], lambda query: Sheet(tables=[table]))
    monkeypatch.setitem(registry.reports(), "channels", report)
    assert rows(get("channels/", format="csv"))[1] == ["'=1+1", "'=HYPERLINK(1)", "'+cmd"]
