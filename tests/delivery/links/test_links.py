"""Links in messages: what goes out leads to where the author meant, and only people's clicks count."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from crm.models import Consent, Profile
from delivery import clicks, dispatch, links, spool_drain
from delivery.content.addresses import text_links
from delivery.email import links as email_links
from delivery.links import bots, hits, targets, tokens, utm
from delivery.models import Account, Delivery, LinkHit, LinkSettings, Message, SandboxItem
from delivery.preferences import links as preference_links
from delivery.templatetags import texts
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.usefixtures("spooled")
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
)
MINUTE = NOW + timedelta(minutes=1)
RULES = links.Rules(
    base="https://go.example.com",
    ours="https://nudge.example.com/p/",
    untracked=frozenset(),
    opens=True,
    sites=(),
    untouched=("app.example.com",),
    words={},
)
addresses = st.builds(
    "{}://{}{}{}{}".format,
    st.sampled_from(["http", "https", "HTTPS"]),
    st.sampled_from(["shop.example.com", "a.example:8080", "xn--bcher-kva.example", "متجر.example"]),
    st.sampled_from(["", "/", "/a_(b)", "/a/b-c.html", "/سلة", "/a'b"]),
    st.sampled_from(["", "?a=1&b=2", "?utm_source=own", "?q=%20x&amp=1", "?"]),
    st.sampled_from(["", "#top", "#a&b"]),
)
words = st.text(st.characters(exclude_characters="\x00<>", exclude_categories=["Cs"]), max_size=12)
words = words.filter(lambda text: "://" not in text)


def tracker(**rules: Any) -> links.Tracker:
    message = Message(slug="sale", tracking="")
    delivery = Delivery(pk=7, message=message, channel="sms", variant="b")
    return links.Tracker(delivery, msgspec.structs.replace(RULES, **rules))


def resolved(text: str, made: links.Tracker) -> str:
    """`text` with each tracked link replaced by where it leads."""

    def target(found: re.Match[str]) -> str:
        delivery, number = tokens.read(found[1])
        assert delivery == 7
        return made.targets[number]

    return re.sub(r"https://go\.example\.com/l/(\w{19})", target, text)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(words, addresses, st.sampled_from([" ", ". ", ") ", ", ", "؟ ", "\n", "…"])), max_size=4
    )
)
def test_every_text_leads_where_it_was_meant_to(pieces: list[tuple[str, str, str]]) -> None:
    text = "".join(f"{before} {address}{after}" for before, address, after in pieces)
    made = tracker()
    changed = text_links(text, made.link)
    assert resolved(changed, made) == text
    assert len(re.findall(r"go\.example\.com/l/", changed)) == len(pieces)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(words, addresses), max_size=4))
def test_every_email_does_and_what_is_no_link_stays(pieces: list[tuple[str, str]]) -> None:
    from html import escape

    html = "".join(
        f'<p>{escape(text)}<a class="x" href="{escape(address)}">{escape(address)}</a><img src="{escape(address)}"></p>'
        for text, address in pieces
    )
    made = tracker()
    changed = email_links.rewrite(html, made.link)
    back = re.sub(
        r'href="(https://go[^"]+)"',
        lambda found: f'href="{escape(resolved(unescape(found[1]), made))}"',
        changed,
    )
    assert back == html
    assert changed.count("/l/") == sum(a.lower().startswith("http") for _t, a in pieces)


@settings(deadline=None, max_examples=100)
@given(addresses)
def test_words_for_analytics_are_added_once_and_nothing_else_changes(address: str) -> None:
    told = {"utm_source": "nudge", "utm_campaign": "été & co"}
    tagged = utm.tagged(address, told)
    assert utm.tagged(tagged, told) == tagged
    assert tagged.count("utm_source=") == 1
    assert ("utm_source=own" in address) == ("utm_source=own" in tagged)
    before, _hash, fragment = address.partition("#")
    assert tagged.startswith(before.rstrip("?"))
    assert tagged.endswith(fragment)


def test_what_is_not_to_be_counted_stays_as_it_is() -> None:
    made = tracker(words={"utm_source": "{channel}-{variant}-{message}"}, sites=("example.com",))
    stays = ["", "mailto:a@example.com", "tel:+48", "myapp://cart", "#a", "https://app.example.com/x"]
    stays += ["https://nudge.example.com/p/x.y/unsubscribe/", "https://in.app.example.com/"]
    assert [made.link(each) for each in stays] == stays
    assert not made.targets
    first = made.link("https://example.com/a")
    assert made.targets == ["https://example.com/a?utm_source=sms-b-sale"]
    assert made.link("https://example.com/a") == first
    assert len(first) == links.short_length(RULES.base)
    assert made.link("https://other.example/") != first
    assert made.targets[1] == "https://other.example/"
    untracked = tracker(words={"utm_source": "x"}, sites=("example.com",), untracked=frozenset({"sms"}))
    assert untracked.link("https://shop.example.com/") == "https://shop.example.com/?utm_source=x"
    many = tracker()
    shown = [many.link(f"https://s.example/{number}") for number in range(300)]
    assert len(many.targets) == 256
    assert shown[256] == "https://s.example/256"


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 2**41 - 1), st.integers(0, 255), st.integers(0, 18), st.sampled_from("0aZ9_-é"))
def test_tokens_say_what_they_were_made_of_and_no_other_is_taken(
    number: int, link: int, place: int, digit: str
) -> None:
    token = tokens.make(number, link)
    assert len(token) == tokens.LENGTH
    assert tokens.read(token) == (number, link)
    forged = token[:place] + digit + token[place + 1 :]
    if forged != token:
        with pytest.raises(tokens.BadToken):
            tokens.read(forged)
    with pytest.raises(tokens.BadToken):
        tokens.read(token, "open")


def test_tokens_outlive_a_new_secret(settings: Any) -> None:
    token, old = tokens.make(5), settings.SECRET_KEY
    settings.SECRET_KEY = "new" * 20
    with pytest.raises(tokens.BadToken):
        tokens.read(token)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert tokens.read(token) == (5, 0)


def account(channel: str) -> Account:
    return Account.objects.create(name=channel, slug=channel, channel=channel, provider="sandbox")


def sent(channel: str, content: dict[str, Any], **fields: Any) -> tuple[Delivery, dict[str, Any]]:
    """One message sent at NOW, and what the provider was given."""
    account(channel)
    person = world.person(1, channels=[channel], phone="+48600000001")
    message = world.message("sale", channel, content, **fields)
    [delivery] = world.queue(message, [person], channel)
    dispatch.run(NOW)
    delivery.refresh_from_db()
    assert delivery.state == "sent", delivery.reason
    return delivery, SandboxItem.objects.get().payload


def path_of(text: str, kind: str = "l") -> str:
    found = re.search(rf"/{kind}/[\w.]+", text)
    assert found, text
    return found[0]


def settled() -> None:
    spool_drain.run()
    while hits.settle(timezone.now() + timedelta(hours=1)):
        pass


@pytest.mark.django_db
def test_a_text_goes_out_with_short_links_and_a_click_is_logged(client: Any) -> None:
    LinkSettings(own_hosts=["shop.example.com"], utm_medium="{channel}").save()
    text = "Look: https://shop.example.com/tea?x=1 or https://other.example/."
    delivery, payload = sent("sms", {"text": text})
    assert delivery.content["text"] == text, "the ledger keeps what was written"
    assert delivery.links == ["https://shop.example.com/tea?x=1&utm_medium=sms", "https://other.example/"]
    assert "shop.example.com" not in payload["text"]
    assert payload["text"].endswith(".")

    where = path_of(payload["text"])
    answer = client.get(where, HTTP_USER_AGENT=PHONE)
    assert answer.status_code == 302
    assert answer["Cache-Control"].startswith("no-store")
    target, _sep, visitor = answer["Location"].partition("&nudge_c=")
    assert target == delivery.links[0]
    assert clicks.people([visitor]) == {visitor: delivery.profile_id}
    assert client.post(where).status_code == 405
    spool_drain.run()
    hit = LinkHit.objects.get()
    assert hits.settle(hit.at) == 0, "not before it is known what comes with it"
    settled()
    assert world.event("message_clicked").properties | {"origin": 0} == {
        "message": "sale", "delivery": delivery.pk, "channel": "sms", "variant": "a", "origin": 0,
        "device": "phone", "link": 0, "url": delivery.links[0],
    }  # fmt: skip
    assert world.event("message_opened").occurred_at == hit.at
    client.get(where, HTTP_USER_AGENT=PHONE)
    assert client.head(where, HTTP_USER_AGENT=PHONE)["Location"] == delivery.links[0]
    settled()
    assert len(world.events("message_clicked")) == 1
    machine = world.event("message_machine_clicked").properties
    assert (machine["machine"], machine["reason"]) == (True, "asked for the head alone")


@pytest.mark.django_db
def test_an_email_counts_opens_and_never_wraps_the_way_out(client: Any) -> None:
    body = [{"kind": "button", "label": "Go", "href": "https://shop.example.com/?a=1&b=2"}]
    delivery, payload = sent("email", {"subject": "Hi", "blocks": body})
    assert delivery.links == ["https://shop.example.com/?a=1&b=2"]
    assert path_of(payload["html"]) == path_of(payload["text"]), "both parts lead there by the same link"
    leave = preference_links.of(delivery.profile_id, delivery.pk)["unsubscribe_url"]
    assert leave in payload["html"]
    assert leave in payload["text"]
    assert payload["headers"]["List-Unsubscribe"] == f"<{leave}>"
    before = list(Consent.objects.order_by("pk").values())
    assert client.get(leave[leave.index("/p/") :]).status_code == 200
    assert list(Consent.objects.order_by("pk").values()) == before

    picture = path_of(payload["html"], "o")
    assert payload["html"].index("</body") > payload["html"].index(picture)
    answer = client.get(picture, HTTP_USER_AGENT="Mozilla/5.0")
    assert answer["Content-Type"] == "image/gif"
    assert "no-store" in answer["Cache-Control"]
    settled()
    assert not world.events("message_opened"), "Apple's proxy fetches it whether or not anybody looks"
    assert world.event("message_machine_opened").properties["reason"] == "Apple's privacy proxy"
    client.get(picture, HTTP_USER_AGENT="Mozilla/5.0 (Windows NT 5.1) (via ggpht.com GoogleImageProxy)")
    settled()
    opened = world.event("message_opened").properties
    assert (opened["channel"], opened["proxy"]) == ("email", True)
    assert not world.events("message_clicked")
    assert list(LinkHit.objects.order_by("pk").values_list("verdict", flat=True)) == ["machine", "proxy"]


@pytest.mark.django_db
@pytest.mark.parametrize("message", ["off", "", "on"])
def test_counting_is_switched_by_channel_and_by_message(message: str) -> None:
    LinkSettings(untracked_channels=["sms"]).save()
    delivery, payload = sent("sms", {"text": "https://shop.example.com/"}, tracking=message)
    tracked = message == "on"
    assert bool(delivery.links) == ("/l/" in payload["text"]) == tracked


@pytest.mark.django_db
def test_nothing_leads_to_where_we_did_not_send_anybody(client: Any) -> None:
    delivery, payload = sent("sms", {"text": "https://shop.example.com/"})
    where = path_of(payload["text"])
    wrong = [where[:-1] + ("A" if where[-1] != "A" else "B"), "/l/" + "z" * 19, "/l/x"]
    wrong += [f"/l/{tokens.make(delivery.pk, 1)}", f"/l/{tokens.make(delivery.pk + 1)}"]
    for address in wrong:
        answer = client.get(address, HTTP_USER_AGENT=PHONE)
        assert (answer.status_code, "Location" in answer) == (404, False), address
        assert "This link does not work" in answer.content.decode()
    Delivery.objects.filter(pk=delivery.pk).update(links=["javascript:alert(1)"])
    targets.forget()
    assert client.get(where, HTTP_USER_AGENT=PHONE).status_code == 404
    assert client.get(f"/o/{'z' * 19}.gif")["Content-Type"] == "image/gif"


@pytest.mark.django_db
def test_whoever_clicks_in_a_test_is_not_taken_for_the_person_of_its_data(client: Any) -> None:
    LinkSettings(own_hosts=["shop.example.com"]).save()
    delivery, payload = sent("sms", {"text": "https://shop.example.com/é"})
    known = client.get(path_of(payload["text"]), HTTP_USER_AGENT=PHONE)["Location"]
    assert known.startswith("https://shop.example.com/%C3%A9?nudge_c=")
    settled()
    LinkHit.objects.all().delete()
    context = {"test": {"address": "+48600000002"}}
    Delivery.objects.filter(pk=delivery.pk).update(origin_type="test", context=context)
    targets.forget()
    answer = client.get(path_of(payload["text"]), HTTP_USER_AGENT=PHONE)
    assert answer["Location"] == "https://shop.example.com/%C3%A9"
    settled()
    assert LinkHit.objects.get().verdict == "person"
    assert len(world.events("message_clicked")) == 1, "the first one"


@pytest.mark.django_db
def test_links_count_in_a_text_with_the_length_that_they_are_sent_with() -> None:
    content = {"text": "https://shop.example.com/" + "x" * 160}
    shown = texts.sms_estimate(content)
    assert (shown.parts, shown.units, shown.text) == (1, links.current().length, content["text"])
    LinkSettings(untracked_channels=["sms"]).save()
    assert texts.sms_estimate(content).parts == 2


@pytest.mark.django_db
def test_erased_people_leave_no_links_behind(client: Any) -> None:
    from crm import signals

    delivery, payload = sent("sms", {"text": "https://shop.example.com/?name=Ann"})
    client.get(path_of(payload["text"]), HTTP_USER_AGENT=PHONE)
    settled()
    client.get(path_of(payload["text"]), HTTP_USER_AGENT=PHONE)
    signals.profiles_erased.send(sender=None, profile_ids=[delivery.profile_id])
    delivery.refresh_from_db()
    assert delivery.links == []
    settled()
    assert not LinkHit.objects.exists(), "nor does what waited to be stored"
    assert client.get(path_of(payload["text"])).status_code == 404


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_clicks(client: Any) -> None:
    account("sms")
    message = world.message("sale", "sms", {"text": "https://shop.example.com/"})
    people = [world.person(n, channels=["sms"], phone=f"+4860000000{n}") for n in range(6)]
    world.queue(message, people, "sms")
    with CaptureQueriesContext(connection) as composing:
        dispatch.run(NOW)
    assert sum("linksettings" in query["sql"] for query in composing.captured_queries) == 1
    counts = []
    for some in (Delivery.objects.all()[:1], Delivery.objects.all()[1:2], Delivery.objects.all()[2:]):
        for delivery in some:
            with CaptureQueriesContext(connection) as one:
                client.get(f"/l/{tokens.make(delivery.pk)}", HTTP_USER_AGENT=PHONE)
            assert len(one) == 1, "where it leads, and whose site that is"
        with CaptureQueriesContext(connection) as storing:
            spool_drain.run()
        with CaptureQueriesContext(connection) as settling:
            hits.settle(timezone.now() + timedelta(hours=1))
        counts.append((len(storing), len(settling)))
    assert counts[1] == counts[2], "the first one makes room in the log"
    assert LinkHit.objects.filter(verdict="person").count() == Profile.objects.count()


@pytest.mark.django_db
def test_whoever_came_to_the_page_has_clicked_though_the_click_was_not_noted(client: Any) -> None:
    delivery, _payload = sent("sms", {"text": "https://shop.example.com/"})

    def lands(token: str) -> int:
        body = msgspec.json.encode({"click": token})
        answer = client.post("/t/landed/", body, content_type="text/plain", HTTP_USER_AGENT=PHONE)
        return answer.status_code

    token = clicks.make(delivery.pk)
    assert [lands(token), lands(token), lands(token[:-1] + "!"), lands("x")] == [204, 204, 400, 400]
    settled()
    assert LinkHit.objects.get().purpose == bots.LANDED
    assert len(world.events("message_clicked")) == 1
    assert "link" not in world.event("message_clicked").properties


@pytest.mark.django_db
def test_one_link_fetched_for_ever_fills_no_disk(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hits, "KEPT", 3)
    _delivery, payload = sent("sms", {"text": "https://shop.example.com/"})
    for _time in range(5):
        assert client.get(path_of(payload["text"]), HTTP_USER_AGENT=PHONE).status_code == 302
        spool_drain.run()
    assert LinkHit.objects.count() == 3
