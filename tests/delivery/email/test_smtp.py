"""Handing over to an SMTP server: what its answers mean, broken connections, signatures, headers."""

import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import dkim as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery import providers
from delivery.channels.base import Address, Outcome, Parcel, Result
from delivery.email import dkim, mime
from delivery.email.content import EmailPayload
from delivery.email.smtp import IDLE
from delivery.providers import smtp
from delivery.providers.base import ProviderError, Sender
from tests.delivery.email.sink import Sink, running

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def sink() -> Any:
    with running() as found:
        yield found
        smtp.pool.clear()


def sender(sink: Sink, secrets: dict[str, str] | None = None, **config: Any) -> Sender:
    settings = {
        "host": "127.0.0.1",
        "port": sink.port,
        "security": "none",
        "from_address": "news@shop.example",
    }
    return Sender(
        1,
        "Mail",
        smtp.SmtpConfig(**{**settings, **config}),
        smtp.SmtpCredentials(**(secrets or {})),
        "https://n.example/callbacks/x/",
    )


def parcel(number: int, address: str = "", **payload: Any) -> Parcel:
    fields = {"subject": "Hi", "html": "<p>Hi</p>\n.dot\n", "text": "Hi\n.dot\n..\n", **payload}
    to = address or f"p{number}@example.com"
    return Parcel(number, SimpleNamespace(pk=number), Address(to), EmailPayload(**fields))  # type: ignore[arg-type]


def sent(by: Sender, *parcels: Parcel) -> dict[int, Result]:
    found = list(providers.get("email", "smtp").send(by, parcels, NOW))
    assert sorted(result.number for result in found) == sorted(parcel.number for parcel in parcels)
    return {result.number: result for result in found}


def test_many_go_over_few_connections(sink: Sink) -> None:
    by = sender(sink, connections=3)
    results = sent(by, *(parcel(number) for number in range(40)))
    assert {result.outcome for result in results.values()} == {Outcome.ACCEPTED}
    assert len(sink.mails) == 40
    assert sink.connections <= 3
    assert len({result.provider_id for result in results.values()}) == 40
    assert sink.to("p7@example.com").parsed["Message-ID"] == results[7].provider_id
    sent(by, parcel(99))
    assert sink.connections <= 3, "they stay open for the next batch"
    body = sink.to("p99@example.com").parsed.get_body(("plain",)).get_content()
    assert body.split() == ["Hi", ".dot", ".."]


def test_a_connection_carries_as_many_as_it_may(sink: Sink) -> None:
    sent(sender(sink, connections=1, per_connection=5), *(parcel(number) for number in range(12)))
    assert (len(sink.mails), sink.connections) == (12, 3)


@pytest.mark.parametrize(
    ("answer", "outcome", "told"),
    [
        ("550 5.1.1 unknown", Outcome.GONE, "bounced"),
        ("550 No such user here", Outcome.GONE, "bounced"),
        ("550 5.7.26 not authenticated", Outcome.REFUSED, ""),
        ("552 5.2.2 mailbox full", Outcome.REFUSED, ""),
        ("451 4.7.1 greylisted", Outcome.RETRY, ""),
        ("452 4.2.2 mailbox full", Outcome.RETRY, ""),
        ("421 4.7.28 too many", Outcome.RETRY, ""),
        ("530 5.7.0 authenticate", Outcome.CONFIGURATION, ""),
    ],
)
def test_what_is_said_of_a_recipient(sink: Sink, answer: str, outcome: Outcome, told: str) -> None:
    sink.rcpt["p2@example.com"] = answer
    results = sent(sender(sink, connections=1), parcel(1), parcel(2), parcel(3))
    assert [results[number].outcome for number in (1, 2, 3)] == [Outcome.ACCEPTED, outcome, Outcome.ACCEPTED]
    assert (results[2].status_code, results[2].told) == (int(answer[:3]), told)
    assert [mail.recipients for mail in sink.mails] == [["p1@example.com"], ["p3@example.com"]]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("554 5.7.1 spam", Outcome.REFUSED),
        ("451 4.3.0 later", Outcome.RETRY),
        ("250 2.0.0 queued", Outcome.ACCEPTED),
    ],
)
def test_what_is_said_of_a_message(sink: Sink, answer: str, outcome: Outcome) -> None:
    sink.data["p1@example.com"] = answer
    assert sent(sender(sink, connections=1), parcel(1), parcel(2))[1].outcome == outcome


def test_a_message_whose_answer_is_lost_is_never_repeated(sink: Sink) -> None:
    sink.data["p2@example.com"] = "cut"
    results = sent(sender(sink, connections=1), *(parcel(number) for number in range(5)))
    assert results.pop(2).outcome == Outcome.STARTED
    assert {result.outcome for result in results.values()} == {Outcome.ACCEPTED}
    assert sorted(mail.recipients[0] for mail in sink.mails) == [
        f"p{number}@example.com" for number in range(5)
    ]


def test_a_connection_that_breaks_before_the_message_costs_nothing(sink: Sink) -> None:
    sink.rcpt["p2@example.com"] = "cut"
    results = sent(sender(sink, connections=1), *(parcel(number) for number in range(5)))
    assert results.pop(2).outcome == Outcome.RETRY
    assert {result.outcome for result in results.values()} == {Outcome.ACCEPTED}


def test_a_server_that_is_away_leaves_the_rest_unread(sink: Sink) -> None:
    gone = sender(sink, port=1, connections=2)
    read = []

    def coming() -> Any:
        for number in range(100):
            read.append(number)
            yield parcel(number)

    results: list[Result] = []
    with pytest.raises(ProviderError, match="can't be reached"):
        results.extend(providers.get("email", "smtp").send(gone, coming(), NOW))
    assert len(read) < 20
    with pytest.raises(ProviderError):
        providers.get("email", "smtp").check(gone)


def test_a_password_is_needed_where_it_is_asked_for() -> None:
    others = threading.active_count()
    with running("secret") as sink:
        wrong = sender(sink, {"password": "guess"}, username="nudge", connections=1)
        with pytest.raises(ProviderError) as told:
            providers.get("email", "smtp").check(wrong)
        assert "guess" not in str(told.value)
        assert sent(wrong, parcel(1))[1].outcome == Outcome.CONFIGURATION
        right = sender(sink, {"password": "secret"}, username="nudge")
        assert "takes messages" in providers.get("email", "smtp").check(right)
        assert sent(right, parcel(1))[1].outcome == Outcome.ACCEPTED
        smtp.pool.clear()
    assert threading.active_count() < others + 5, "what sent is gone"


def test_an_old_connection_is_not_trusted(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    by = sender(sink, connections=1)
    sent(by, parcel(1))
    [[kept]] = smtp.pool._idle.values()
    kept.used_at -= IDLE + 1
    sent(by, parcel(2))
    assert sink.connections == 2
    [[kept]] = smtp.pool._idle.values()
    kept._smtp.sock.close()  # as a server does that has waited long enough
    assert sent(by, parcel(3))[3].outcome == Outcome.ACCEPTED


def test_what_is_signed_can_be_checked(sink: Sink) -> None:
    pem, config, secrets = dkim.new_key(), {"dkim_domain": "shop.example"}, {}
    providers.get("email", "smtp").complete(config, secrets)
    assert "BEGIN PRIVATE KEY" in secrets["dkim_key"]
    by = sender(sink, {"dkim_key": pem}, dkim_domain="shop.example")
    [(_label, name), (_text, record)] = providers.get("email", "smtp").facts(by)
    assert name == "nudge._domainkey.shop.example"
    headers = {
        "List-Unsubscribe": f"<https://n.example/{'x' * 90}/>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    sent(by, parcel(1, subject="Zażółć  gęślą " * 8, headers=headers, to_name="Ann", text="a  b \n\n\n"))
    raw = sink.to("p1@example.com").raw

    def dns(asked: bytes, timeout: int = 5) -> bytes:
        assert asked == b"nudge._domainkey.shop.example."
        return record.encode()

    assert oracle.verify(raw, dnsfunc=dns)
    assert b"list-unsubscribe:list-unsubscribe-post" in raw
    for changed in (
        raw.replace(b"<p>Hi", b"<p>Ho"),
        raw.replace(b"To: Ann", b"To: Bob"),
        raw.replace(b"/>\r\n", b"x/>\r\n", 1),
    ):
        assert changed != raw
        assert not oracle.verify(changed, dnsfunc=dns)


def test_addresses_that_are_none_are_refused(sink: Sink) -> None:
    bad = [
        "nobody",
        "a@b.example\r\nRCPT TO:<x@y.example>",
        "<a@b.example>",
        "ä@b.example",
        "a b@c.example",
        "a@b,c.example",
    ]
    results = sent(sender(sink), *(parcel(number, address) for number, address in enumerate(bad)))
    assert {result.outcome for result in results.values()} == {Outcome.REFUSED}
    assert not sink.mails
    assert mime.address("a@bücher.example") == "a@xn--bcher-kva.example"


ANYTHING = st.text(max_size=120)


@settings(max_examples=40, deadline=None)
@given(ANYTHING, ANYTHING, ANYTHING)
def test_no_text_can_make_a_header(subject: str, name: str, value: str) -> None:
    from email import message_from_bytes, policy

    from delivery.email.headers import one_line

    payload = EmailPayload(
        to="a@b.example",
        to_name=one_line(name),
        from_address="n@s.example",
        from_name=one_line(name),
        subject=one_line(subject),
        html="<p>x</p>",
        text="x",
    )
    raw = mime.message(payload, "<1@s.example>", NOW)
    head = raw.partition(b"\r\n\r\n")[0]
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    names = [line.split(b":")[0] for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert names == [b"From", b"To", b"Subject", b"Date", b"Message-ID", b"MIME-Version", b"Content-Type"]
    parsed = message_from_bytes(raw, policy=policy.SMTP)
    assert parsed["From"].addresses[0].addr_spec == "n@s.example"
    assert parsed["To"].addresses[0].addr_spec == "a@b.example"
    try:
        payload.headers = {"Feedback-ID": value}
        raw = mime.message(payload, "<1@s.example>", NOW)
    except ValueError:
        return
    assert raw.partition(b"\r\n\r\n")[0].count(b"\r\n") == head.count(b"\r\n") + 1


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=300).map(lambda text: text.replace("\r", "\n")))
def test_texts_arrive_as_they_were(text: str) -> None:
    from email import message_from_bytes, policy

    payload = EmailPayload(
        to="a@b.example", from_address="n@s.example", subject="x", html=f"<p>{text}</p>", text=text
    )
    raw = mime.message(payload, "<1@s.example>", NOW)
    parsed = message_from_bytes(raw, policy=policy.SMTP)
    wanted = text.encode("utf-8", "replace").decode()
    parts = [part.get_payload(decode=True).decode().replace("\r\n", "\n") for part in parsed.iter_parts()]
    assert parts == [wanted, f"<p>{wanted}</p>"]
