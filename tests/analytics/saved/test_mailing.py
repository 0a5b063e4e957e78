"""Saved reports by email: over a real SMTP server, once for each due time, to whoever may see them."""

import csv
import io
import socketserver
import threading
from datetime import UTC, datetime, time, timedelta
from html.parser import HTMLParser
from typing import Any

import openpyxl
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection

from analytics import tasks
from analytics.models import ReportMail, ReportRecipient, SavedReport
from analytics.saved import letter, mailing, post, store, tokens
from campaigns.models import Segment
from crm.models import Alert, AuditEntry
from delivery.models import Account, SandboxItem
from delivery.providers import smtp
from tests.analytics import world
from tests.delivery.email.sink import Sink, running

DUE = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
State = ReportMail.State


@pytest.fixture
def sink(settings) -> Any:
    settings.EMAIL_HOST = ""
    with running() as found:
        Account.objects.create(
            name="Mail",
            slug="mail",
            channel="email",
            provider="smtp",
            config={
                "host": "127.0.0.1",
                "port": found.port,
                "security": "none",
                "from_address": "reports@shop.example",
            },
            credentials={},
        )
        yield found
        smtp.pool.clear()


def user(name: str, *permissions: str, **more: Any) -> User:
    made = User.objects.create_user(name, f"{name}@example.com", is_staff=True, **more)
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return made


def boss(name: str = "boss") -> User:
    return user(name, "view_message", "export_report", "mail_report", "mail_report_outside")


def saved(owner: User | None, *recipients: Any, **more: Any) -> SavedReport:
    """The channels' report, due at DUE; a recipient is a user or an address, with a language."""
    fields = {"report": "channels", "name": "My channels", "every": "day", "at": time(8), "next_at": DUE}
    made = SavedReport.objects.create(owner=owner, **{**fields, **more})
    for who, language in recipients:
        key = {"user": who} if isinstance(who, User) else {"address": who}
        ReportRecipient.objects.create(saved=made, language=language, **key)
    return made


def states(made: SavedReport) -> list[str]:
    return list(ReportMail.objects.filter(saved=made).order_by("pk").values_list("state", flat=True))


class Outline(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.django_db
def test_the_sandbox_takes_a_report_too(settings):
    settings.EMAIL_HOST = ""
    Account.objects.create(name="Sandbox", slug="sandbox-mail", channel="email", provider="sandbox")
    owner = boss()
    made = saved(owner, (owner, "en"))
    assert mailing.run(DUE) == 1
    assert states(made) == [State.SENT]
    [kept] = SandboxItem.objects.all()
    assert kept.address == "boss@example.com"
    assert "Last 30 days" in kept.payload["html"]


@pytest.mark.django_db
def test_a_report_arrives_whole_in_the_readers_language(sink: Sink):
    world.delivery(world.message(), world.person(), "delivered", datetime(2026, 3, 1, 9, 0, tzinfo=UTC))
    world.count()
    owner = boss()
    made = saved(owner, (owner, "en"), ("mail@partner.example", "ar"))
    assert mailing.run(DUE) == 2
    assert states(made) == [State.SENT, State.SENT]
    mail = sink.to("boss@example.com").parsed
    assert mail["Subject"].startswith("My channels: Last 30 days")
    plain, page = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
    link = "/admin/analytics/engagement/reports/channels/"
    for text in (plain, page):
        assert all(words in text for words in ("Web push", link, "100%"))
        assert "Today is not over: it counts until 8 a.m., against a whole day of the period before." in text
    outline = Outline(page)
    assert ("html", {"lang": "en", "dir": "ltr"}) in outline.tags
    assert all("scope" in attrs for tag, attrs in outline.tags if tag == "th")
    [book] = mail.iter_attachments()
    assert book.get_filename() == "channels-2026-03-03.xlsx"
    pages = openpyxl.load_workbook(io.BytesIO(book.get_content())).worksheets
    assert any("Web push" in str(cell) for line in pages[-1].iter_rows(values_only=True) for cell in line)
    outside = sink.to("mail@partner.example").parsed
    page = outside.get_body(("html",)).get_content()
    assert Outline(page).tags[0] == ("html", {"lang": "ar", "dir": "rtl"})
    assert "افتح التقرير" in page
    assert "اليوم لم ينتهِ بعد" in page
    leave = outside["List-Unsubscribe"].strip("<>")
    assert leave in page
    assert "List-Unsubscribe" not in mail
    assert AuditEntry.objects.filter(action="report.mailed", object_id="channels", actor="boss").count() == 2
    made.refresh_from_db()
    assert (made.next_at, made.last_due, made.last_error) == (DUE + timedelta(days=1), DUE, "")


@pytest.mark.django_db
def test_a_due_time_is_mailed_once_and_missed_ones_together(sink: Sink):
    owner = boss()
    made = saved(owner, (owner, "en"), attach="csv")
    assert mailing.run(DUE - timedelta(seconds=1)) == 0
    late = DUE + timedelta(days=9, hours=1)
    assert (mailing.run(late), mailing.run(late), mailing.run(late + timedelta(hours=22))) == (1, 0, 0)
    made.refresh_from_db()
    assert made.next_at == DUE + timedelta(days=10)
    assert mailing.run(DUE + timedelta(days=10)) == 1
    assert len(sink.mails) == 2
    [file] = sink.mails[0].parsed.iter_attachments()
    assert file.get_content_type() == "text/csv"
    assert next(csv.reader(io.StringIO(file.get_content().removeprefix("\ufeff"))))[0] == "Channel"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("zone", "hours", "following"), [("Europe/Warsaw", -1, 23), ("America/New_York", 5, 29)]
)
def test_after_a_change_of_the_accounts_zone_it_goes_by_the_new_clock(
    sink: Sink, settings, zone: str, hours: int, following: int
):
    owner = boss()
    made = saved(owner, (owner, "en"))
    settings.TIME_ZONE = zone
    due = DUE + timedelta(hours=hours)
    before, after = (due + timedelta(seconds=seconds) for seconds in (-1, 0))
    assert (mailing.run(before), mailing.run(after), mailing.run(after)) == (0, 1, 0)
    made.refresh_from_db()
    assert (made.last_due, made.next_at) == (due, DUE + timedelta(hours=following))


@pytest.mark.django_db(transaction=True)
def test_many_processes_mail_a_due_time_once(sink: Sink):
    owner = boss()
    saved(owner, *[(f"p{number}@example.com", "en") for number in range(6)], attach="")
    sent = []

    def work() -> None:
        try:
            sent.append(mailing.run(DUE))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(sent) == 6
    assert sorted(mail.recipients[0] for mail in sink.mails) == [
        f"p{number}@example.com" for number in range(6)
    ]


@pytest.mark.django_db
def test_who_may_not_see_it_any_more_gets_nothing(sink: Sink):
    owner = boss()
    gone, away, other = user("gone"), user("away", "view_message", is_active=False), user("o", "view_message")
    made = saved(owner, (owner, "en"), (gone, "en"), (away, "en"), (other, "en"), ("x@example.com", "en"))
    assert mailing.run(DUE) == 3
    assert states(made) == [State.SENT, State.SKIPPED, State.SKIPPED, State.SENT, State.SENT]
    assert not list(sink.to("o@example.com").parsed.iter_attachments()), "who may not export gets no files"
    owner.user_permissions.remove(*Permission.objects.filter(codename__startswith="mail_report"))
    assert mailing.run(DUE + timedelta(days=1)) == 1
    assert sink.mails[-1].recipients == ["boss@example.com"]
    SavedReport.objects.update(owner=None)
    assert mailing.run(DUE + timedelta(days=2)) == 0


@pytest.mark.django_db
def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(sink: Sink):
    owner = boss()
    made = saved(owner, ("busy@example.com", "en"), ("never@example.com", "en"))
    sink.rcpt = {"busy@example.com": "451 4.7.1 later", "never@example.com": "550 5.1.1 unknown"}
    assert mailing.run(DUE) == 0
    assert states(made) == [State.WAITING, State.FAILED]
    assert mailing.run(DUE + timedelta(seconds=30)) == 0, "not at once"
    assert Alert.objects.filter(key=store.alert_key(made.pk), resolved_at=None).exists()
    sink.rcpt = {}
    assert mailing.run(DUE + timedelta(minutes=3)) == 1
    assert states(made) == [State.SENT, State.FAILED]
    assert not Alert.objects.filter(key=store.alert_key(made.pk), resolved_at=None).exists()


@pytest.mark.django_db
def test_a_mail_that_broke_off_is_not_sent_again(sink: Sink, monkeypatch):
    owner = boss()
    made = saved(owner, (owner, "en"))

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(post, "send", killed)
        with pytest.raises(KeyboardInterrupt):
            mailing.run(DUE)
    assert states(made) == [State.SENDING]
    assert mailing.run(DUE + timedelta(hours=1)) == 0
    assert states(made) == [State.FAILED]


@pytest.mark.django_db
def test_without_an_account_it_waits_and_says_what_to_do(settings):
    settings.EMAIL_HOST = ""
    owner = boss()
    made = saved(owner, (owner, "en"))
    assert mailing.run(DUE) == 0
    made.refresh_from_db()
    assert "Sending accounts" in made.last_error
    assert "Sending accounts" in Alert.objects.get(key=store.alert_key(made.pk)).detail
    with pytest.raises(mailing.NotMailed, match="Sending accounts"):
        mailing.send_now(made, owner, "en")
    assert mailing.run(DUE + timedelta(days=1, hours=3)) == 0
    assert State.FAILED in states(made)


@pytest.mark.django_db
@pytest.mark.parametrize("only", ["filled", "changed"])
def test_what_says_nothing_new_stays_where_it_is(sink: Sink, only: str):
    owner = boss()
    made = saved(owner, (owner, "en"), ("x@example.com", "pl"), only=only, attach="")
    first = {"filled": 0, "changed": 2}[only]
    assert mailing.run(DUE) == first
    assert mailing.run(DUE + timedelta(days=1)) == 0
    assert set(states(made)[-2:]) == {State.SKIPPED}
    world.delivery(world.message(), world.person(), "sent", DUE)
    world.count()
    assert mailing.run(DUE + timedelta(days=2)) == 2
    assert len(sink.mails) == first + 2


@pytest.mark.django_db
def test_one_that_asks_for_what_was_deleted_says_so_once(sink: Sink):
    owner = boss()
    segment = Segment.objects.create(slug="vip", name="VIP", rule={})
    made = saved(owner, (owner, "en"), ("x@example.com", "en"), params={"segment": str(segment.pk)})
    segment.delete()
    for days in range(2):
        assert mailing.run(DUE + timedelta(days=days)) == 0
    assert set(states(made)) == {State.SKIPPED}
    [told] = sink.mails
    assert told.recipients == ["boss@example.com"]
    assert "segment" in told.parsed.get_body(("plain",)).get_content()
    made.refresh_from_db()
    assert "segment" in made.last_error
    assert Alert.objects.filter(key=store.alert_key(made.pk), resolved_at=None).exists()
    store.keep(owner, "channels", {}, "My channels")
    assert mailing.run(DUE + timedelta(days=2)) == 2


@pytest.mark.django_db
def test_a_paused_one_waits(sink: Sink):
    owner = boss()
    saved(owner, (owner, "en"), paused=True)
    assert mailing.run(DUE) == 0
    tasks.mail_reports()
    assert not sink.mails


@pytest.mark.django_db
def test_hidden_segments_stay_hidden_from_who_gets_it(sink: Sink):
    rule = {"kind": "attribute", "field": "email", "op": "eq", "value": "ada@example.com"}
    segment = Segment.objects.create(slug="ada", name="Ada", rule=rule)
    sees = user("sees", "view_message", "view_contact_data", "mail_report")
    hides = user("hides", "view_message")
    made = saved(sees, (hides, "en"), (sees, "en"), params={"segment": str(segment.pk)})
    assert mailing.run(DUE) == 1
    assert states(made) == [State.SKIPPED, State.SENT], "whoever may see it gets it"
    assert "contact data" in ReportMail.objects.get(state=State.SKIPPED).detail
    assert [mail.recipients for mail in sink.mails] == [["sees@example.com"]]
    assert not Alert.objects.filter(key=store.alert_key(made.pk)).exists()


@pytest.mark.django_db
def test_whoever_reads_it_outside_leaves_by_one_click(sink: Sink, client):
    owner = boss()
    made = saved(owner, ("x@example.com", "pl"))
    mailing.run(DUE)
    url = sink.to("x@example.com").parsed["List-Unsubscribe"].strip("<>")
    path = "/" + url.split("/", 3)[3]
    page = client.get(path)
    assert (page.status_code, "x@example.com" in page.content.decode()) == (200, True)
    assert ReportRecipient.objects.get().left_at is None, "looking changes nothing"
    assert client.post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert mailing.run(DUE + timedelta(days=1)) == 0
    assert len(sink.mails) == 1
    made.refresh_from_db()
    assert made.last_error, "nobody gets it"
    assert client.get(path[:-8] + "x/leave/").status_code == 404
    with pytest.raises(tokens.BadToken):
        tokens.read("nonsense")


@pytest.mark.django_db
def test_by_the_server_of_the_settings(settings, sink: Sink):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", sink.port
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.DEFAULT_FROM_EMAIL = "nudge@shop.example"
    owner = boss()
    made = saved(owner, (owner, "en"), ("never@example.com", "en"))
    sink.rcpt["never@example.com"] = "550 5.1.1 unknown"
    assert mailing.run(DUE) == 1
    assert states(made) == [State.SENT, State.FAILED]
    mail = sink.to("boss@example.com").parsed
    assert mail["From"] == "nudge@shop.example"
    assert len(list(mail.iter_attachments())) == 1
    assert letter.SHOWN_ROWS


@pytest.mark.django_db
def test_a_server_that_hangs_up_before_it_was_given_anything_is_asked_again(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    owner = boss()
    made = saved(owner, (owner, "en"))

    class HangsUp(socketserver.BaseRequestHandler):
        pass

    with socketserver.TCPServer(("127.0.0.1", 0), HangsUp) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        assert mailing.run(DUE) == 0
        answering.join()
    assert states(made) == [State.WAITING]
