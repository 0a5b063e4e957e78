"""Flows as YAML: out and in again."""

import pytest
from django.core.management import call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.as_code import exporting, importing, text
from campaigns.as_code.documents import Bundle, read
from campaigns.as_code.problems import BundleError
from campaigns.models import Flow, FlowSettings, Segment, SegmentVersion
from crm.models import AuditEntry, Connection, Topic
from delivery.models import CouponPool, Message, MessageContent

SHOP = """\
version: 1
topics:
  offers:
    name: Offers
    translations:
      ar:
        name: عروض
    needs_yes: true
coupons:
  welcome-10:
    name: Welcome 10 %
    kind: fixed
    code: '0010'
    expires_at: '2030-12-31T22:59:00Z'
segments:
  a-polish-guests:
    name: Polish guests
    rule:
      all:
        - kind: segment
          slug: poles
        - kind: list
          slug: guests
  guests:
    name: Guests of the fair
    kind: list
  poles:
    name: Poles
    rule:
      kind: attribute
      field: country
      op: eq
      value: PL
messages:
  hello:
    name: Hello
    topic: offers
    goal_window_hours: 24
    contents:
      webpush:
        default:
          title: Hello
          body: Welcome
        ar:
          title: مرحبا
          body: أهلا
      inapp:
        default:
          title: Hello
          text: |-
            Hello {{ first_name }},

              nice to see you: "yes" & 100 % 🎉
    variants:
      b:
        webpush:
          default:
            title: Hi
            body: Welcome
    parts:
      a: 60
      b: 40
    variant_names:
      b: Short
flows:
  welcome:
    name: Welcome
    description: Who has come in
    trigger:
      kind: segment
      segment: a-polish-guests
      'on': entered
    reentry:
      mode: after
      days: 30
    goal:
      name: purchase
      where:
        - property: total
          op: gte
          value: 9.5
    window:
      from: 08:00
      to: '20:00'
    holdout_percent: 10
    steps:
      - key: s1
        kind: message
        config:
          message: hello
          channel: webpush
      - key: s2
        kind: split
        note: Those who like us
        config:
          name: Bought?
        branches:
          - name: bought
            rule:
              kind: event
              name: purchase
            steps:
              - key: s3
                kind: coupon
                config:
                  pool: welcome-10
          - name: else
      - key: s4
        kind: exit
        config:
          reason: done
"""

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(
    [
        "no",
        "on",
        "09:00",
        "1e3",
        "0o7",
        "08",
        "2026-01-01",
        "~",
        "",
        "null",
        "- x",
        " a\nb",
        "a\n\n",
        "\tt\nx",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_any_value_comes_back_from_its_text(value):
    written = text.dump(value)
    again, _positions = text.load(written)
    assert text.dump(again) == written
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    ("source", "line", "column", "says"),
    [
        ("a: &x 1\nb: *x", 1, 4, "anchors"),
        ("a: 1\nb: *x", 2, 4, "aliases"),
        ("a: !!python/object/apply:os.system [x]", 1, 4, "tags"),
        ("a: 1\nb:\n  c: 1\n  c: 2", 4, 3, "twice"),
        ("a: [1", 2, 1, "not YAML"),
        ("---\na: 1\n---\nb: 1", 3, 1, "second document"),
        ("[" * 100, 1, 61, "deep"),
        ("a: 1e999", 1, 4, "too large"),
        ("? [a]\n: b", 1, 3, "text"),
    ],
)
def test_what_is_not_read(source, line, column, says):
    with pytest.raises(BundleError) as refused:
        text.load(source)
    [problem] = refused.value.problems
    assert problem.position is not None
    # The parser tells the end of a text as the line after it, or as its last one.
    assert problem.position.line in ((line,) if "[1" not in source else (1, 2))
    assert says in problem.text
    if "[1" not in source and "*x" not in source:
        assert problem.position.column == column


def test_a_text_that_is_too_large_is_not_parsed():
    with pytest.raises(BundleError, match="larger than 2 MB"):
        text.load("a" * (2 * 2**20 + 1))


def test_words_mean_what_they_say():
    value = text.load("{on: no, at: 09:00, day: 2026-01-01, n: 0x10, t: true, e: }")[0]
    assert value == {"on": "no", "at": "09:00", "day": "2026-01-01", "n": 16, "t": True, "e": None}


def test_what_is_taken_is_written_alike(db):
    bundle = read(SHOP)
    assert importing.check(bundle) == []
    assert {change.state for change in importing.plan(bundle)} == {"created"}
    assert not Flow.objects.exists()

    applied = importing.apply(bundle, "flows_import")
    assert [change.state for change in applied.changes] == ["created"] * 7
    flow = Flow.objects.get()
    assert (flow.state, flow.name, flow.draft["holdout_percent"]) == ("draft", "Welcome", 10)
    assert "window" in flow.draft
    assert "priority" not in flow.draft
    assert CouponPool.objects.get().code == "0010"
    assert SegmentVersion.objects.filter(by="flows_import").count() == 2
    assert AuditEntry.objects.filter(action="flow.imported", actor="flows_import").count() == 1

    written = exporting.write(["welcome"])
    assert written == SHOP
    again = read(written)
    assert {change.state for change in importing.plan(again)} == {"unchanged"}
    before = (
        list(Flow.objects.values()),
        list(Segment.objects.values()),
        list(MessageContent.objects.values()),
    )
    importing.apply(again, "flows_import")
    assert before == (
        list(Flow.objects.values()),
        list(Segment.objects.values()),
        list(MessageContent.objects.values()),
    )
    assert AuditEntry.objects.filter(action="flow.imported").count() == 1
    assert exporting.write() == written
    assert "messages:" not in exporting.write(with_references=False)


def test_a_change_is_shown_and_can_be_undone(db):
    importing.apply(read(SHOP), "flows_import")
    changed = read(SHOP.replace("days: 30", "days: 60").replace("body: أهلا", "body: أهلا بك"))
    found = {change.slug: change for change in importing.plan(changed) if change.state != "unchanged"}
    assert found.keys() == {"hello", "welcome"}
    assert [line for line in found["welcome"].diff if line[0] in "+-"] == ["-  days: 30", "+  days: 60"]
    importing.apply(changed, "flows_import")
    flow = Flow.objects.get()
    assert flow.revision == 1
    assert flow.revisions.get().definition["reentry"]["days"] == 30


def test_words_that_a_file_leaves_out_are_gone(db):
    importing.apply(read(SHOP), "flows_import")
    bundle = read(SHOP)
    del bundle.data["messages"]["hello"]["contents"]["webpush"]["ar"]
    importing.apply(Bundle(bundle.data), "flows_import")
    assert not MessageContent.objects.filter(locale="ar").exists()
    assert Message.objects.get().contents.count() == 3


def nothing_is_there():
    return not any(model.objects.exists() for model in (Flow, Topic, Segment, Message, CouponPool))


def mistakes(source):
    return {
        (source.splitlines()[problem.position.line - 1].strip(), problem.blocking, problem.path[-1])
        for problem in importing.check(read(source))
    }


@pytest.mark.parametrize(
    ("right", "wrong", "line", "blocking"),
    [
        ("op: eq\n", "op: equal\n", "op: equal", True),
        ("slug: poles", "slug: pole", "slug: pole", True),
        ("op: gte", "op: more", "op: more", False),
        ("channel: webpush", "channel: pigeon", "channel: pigeon", False),
        ("message: hello", "message: bye", "message: bye", False),
        ("      segment: a-polish-guests", "      segment: nobody", "segment: nobody", False),
        ("topic: offers", "topic: news", "topic: news", True),
        ("body: Welcome\n        ar", "body: '{{ x'\n        ar", "body: '{{ x'", True),
        ("kind: fixed", "kind: unique", "code: '0010'", True),
        ("expires_at: '2030-12-31T22:59:00Z'", "expires_at: soon", "expires_at: soon", True),
    ],
)
def test_mistakes_are_told_at_their_line(db, right, wrong, line, blocking):
    source = SHOP.replace(right, wrong, 1)
    found = mistakes(source)
    assert (line, blocking) in [(told, blocks) for told, blocks, _key in found]
    assert len(found) <= 2  # what is made of something wrong is wrong, too
    assert nothing_is_there()
    if blocking:
        with pytest.raises(BundleError):
            importing.apply(read(source), "flows_import")
        assert nothing_is_there()


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("flows:\n  a:\n    name: A\n    stepz: []", "4:5: flows.a.stepz"),
        ("flows:\n  a:\n    name: A\n    priority: high", "4:5: flows.a.priority"),
        ("flows:\n  a b: {name: A}", "2:3: flows.a b"),
        ("flows:\n  a: {}", "2:3: flows.a"),
        ("recipes: {}", "1:1: recipes"),
        ("version: 2", "1:1: version"),
        ("- a", "1:1: Begin"),
    ],
)
def test_what_is_no_bundle(source, where):
    with pytest.raises(BundleError) as refused:
        read(source)
    assert str(refused.value).startswith(where)


def test_a_crm_is_named_by_its_short_name(db):
    connection = Connection.objects.create(name="Ours", slug="ours", kind="sandbox")
    source = (
        "version: 1\nflows:\n  a:\n    name: A\n    steps:\n      - key: s1\n        kind: crm_write\n"
        "        config:\n          connection: ours\n          fields:\n            Plan: gold\n"
    )
    importing.apply(read(source), "flows_import")
    assert Flow.objects.get().draft["steps"][0]["config"]["connection"] == connection.pk
    assert exporting.write() == source


def test_publishing_needs_all_that_publishing_needs(db):
    FlowSettings(approval_required=True).save()
    with pytest.raises(BundleError, match="Another person has to approve"):
        importing.apply(read(SHOP), "flows_import", publish=True)
    assert not Flow.objects.exists()
    FlowSettings(approval_required=False).save()
    assert importing.apply(read(SHOP), "flows_import", publish=True).published == ["welcome"]
    assert Flow.objects.get().state == "live"
    assert importing.apply(read(SHOP), "flows_import", publish=True).published == []


def test_the_commands(db, tmp_path, capsys):
    file, out = tmp_path / "shop.yaml", tmp_path / "out.yaml"
    file.write_text(SHOP)
    call_command("flows_import", str(file), "--check")
    assert not Flow.objects.exists()
    call_command("flows_import", str(file))
    call_command("flows_export", "welcome", "--out", str(out))
    assert "flows/welcome: created" in capsys.readouterr().out
    call_command("flows_import", str(out))
    assert "created" not in capsys.readouterr().out
    file.write_text(SHOP.replace("channel: webpush", "channel: pigeon"))
    with pytest.raises(SystemExit) as ended:
        call_command("flows_import", str(file), "--check")
    assert ended.value.code == 1
    line = next(n for n, each in enumerate(file.read_text().splitlines(), 1) if "pigeon" in each)
    assert capsys.readouterr().err.startswith(f"{file}:{line}:11: flows.welcome.steps[0].config")
