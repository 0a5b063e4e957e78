"""The pages behind the links in messages, as a mail program, a scanner and a person use them."""

import re
from datetime import UTC, datetime, time, timedelta

import pytest
from django.conf import settings as configured
from django.test import Client
from django.urls import reverse
from django.utils import translation
from hypothesis import given, settings
from hypothesis import strategies as st

from crm import consent, identity, opt_in, preferences, privacy
from crm.models import ChannelTerms, Consent, ConsentChange, Event, Profile, Topic
from crm.preferences import Wishes
from delivery.models import PreferencePage
from delivery.preferences import colours, links, tokens
from tests.delivery import world

pytestmark = pytest.mark.django_db
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def client():
    """Somebody without a session, whose requests would be refused if they needed a form token."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def ann():
    [number] = identity.resolve([identity.Reference(email="ann@example.com")], proven=())
    ann = Profile.objects.get(pk=number)
    world.answer(ann, "subscribed", ["email", "webpush"])
    Topic.objects.create(
        slug="news",
        name="News",
        description="Once a month",
        translations={"ar": {"name": "الأخبار", "description": "مرة في الشهر"}, "pl": {"name": "Nowości"}},
    )
    Topic.objects.create(slug="deals", name="Deals", needs_yes=True, position=1)
    Topic.objects.create(slug="secret", name="Secret", shown=False)
    return ann


def url(profile, place="", delivery=None):
    return f"/p/{tokens.make(profile.pk, delivery)}/{place}"


def states(profile):
    rows = Consent.objects.filter(profile=profile).values_list("kind", "key", "state")
    return {f"{kind}:{key}": state for kind, key, state in rows}


def filled(client, address, **changes):
    """The form of a page as a browser would send it, with what the person changes."""
    html = client.get(address).content.decode()
    data = {
        "was": re.findall(r'name="was" value="([^"]+)"', html),
        "on": re.findall(r'name="on" value="([^"]+)" checked', html),
        "quiet_from": "",
        "quiet_to": "",
        "language": "en",
    }
    return data | changes


class TestLooking:
    @pytest.mark.parametrize("place", ["", "unsubscribe/", "confirm/"])
    @pytest.mark.parametrize("method", ["get", "head", "options"])
    def test_changes_nothing(self, client, ann, place, method):
        before = states(ann), ConsentChange.objects.count(), Event.objects.count()
        address = url(ann, place)
        for more in ("", "?saved", "?List-Unsubscribe=One-Click", "?on=channel:email"):
            answer = getattr(client, method)(address + more, HTTP_SEC_PURPOSE="prefetch")
            assert answer.status_code == (405 if method == "options" else 200)
        assert (states(ann), ConsentChange.objects.count(), Event.objects.count()) == before

    def test_stays_out_of_caches_frames_logs_and_searches(self, client, ann):
        answer = client.get(url(ann))
        policy = dict(part.strip().split(" ", 1) for part in answer["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "script-src" not in policy
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert (answer["Cache-Control"], answer["Referrer-Policy"]) == ("no-store", "no-referrer")
        assert answer["X-Robots-Tag"] == "noindex, nofollow"
        assert not answer.cookies
        html = answer.content.decode()
        assert "<script" not in html
        assert "ann@example.com" not in html
        assert "a•••@e•••.com" in html
        assert "Secret" not in html

    def test_a_link_that_is_none_says_so(self, client, ann):
        good = tokens.make(ann.pk)
        for token in ("x", good[:-1] + ("A" if good[-1] != "A" else "B"), good.replace(".", ".."), "a.b.c"):
            answer = client.get(f"/p/{token}/")
            assert (answer.status_code, answer["Cache-Control"]) == (404, "no-store")
            assert client.post(f"/p/{token}/unsubscribe/", ONE_CLICK).status_code == 404

    def test_the_language_is_the_persons_then_the_browsers_then_ours(self, client, ann):
        def language(**headers):
            html = client.get(url(ann), **headers).content.decode()
            return re.search(r'<html lang="(\w+)" dir="(\w+)"', html).groups()

        assert language() == ("en", "ltr")
        assert language(HTTP_ACCEPT_LANGUAGE="fr;q=0.9, pl-PL;q=0.8") == ("pl", "ltr")
        Profile.objects.filter(pk=ann.pk).update(language="ar-SA")
        assert language(HTTP_ACCEPT_LANGUAGE="pl") == ("ar", "rtl")
        html = client.get(url(ann)).content.decode()
        assert "مرة في الشهر" in html
        assert "حفظ تفضيلاتي" in html


class TestChoosing:
    def test_what_was_changed_is_recorded_with_the_words_shown(self, client, ann):
        message = world.message(topic="news")
        [delivery] = world.queue(message, [ann], channel="email")
        address = url(ann, delivery=delivery.pk)
        data = filled(client, address)
        assert set(data["on"]) == {"channel:email", "channel:webpush", "topic:news"}
        data |= {"on": ["channel:email", "topic:deals"], "frequency:deals": "weekly", "channel": "email"}
        data |= {"quiet_from": "22:00", "quiet_to": "07:30", "language": "pl"}
        answer = client.post(address, data)
        assert (answer.status_code, answer["Location"]) == (303, f"{address}?saved")
        assert states(ann) == {
            "channel:email": "subscribed",
            "channel:webpush": "unsubscribed",
            "topic:news": "unsubscribed",
            "topic:deals": "subscribed",
        }
        entry = ConsentChange.objects.get(key="news")
        assert (entry.source, entry.wording) == ("person", "News: Once a month")
        assert entry.proof == {"page": "preferences", "language": "en"}
        assert (
            Event.objects.get(name="consent_changed", properties__key="news").properties["delivery"]
            == delivery.pk
        )
        assert preferences.of([ann.pk])[ann.pk] == Wishes({"deals": "weekly"}, time(22), time(7, 30), "email")
        ann.refresh_from_db()
        assert ann.language == "pl"
        assert "Twoje preferencje zostały zapisane" in client.get(f"{address}?saved").content.decode()

    def test_an_old_tab_takes_nothing_back(self, client, ann):
        old = filled(client, url(ann))
        client.post(url(ann, "unsubscribe/"), ONE_CLICK)
        client.post(url(ann), old)
        assert set(states(ann).values()) == {"unsubscribed"}

    def test_nothing_that_is_not_offered_can_be_answered(self, client, ann):
        data = filled(client, url(ann))
        data["was"] += ["0:topic:secret", "0:channel:pigeon", "1", ""]
        data["on"] += ["topic:secret", "channel:pigeon"]
        data |= {
            "channel": "pigeon",
            "frequency:secret": "weekly",
            "frequency:news": "hourly",
            "language": "xx",
        }
        assert client.post(url(ann), data).status_code == 303
        assert not Consent.objects.filter(key__in=["secret", "pigeon"]).exists()
        assert preferences.of([ann.pk]) == {}

    @pytest.mark.parametrize(
        "hours", [("22:00", ""), ("22:00", "22:00"), ("late", "07:00"), ("٢٢", "1:2:3:4")]
    )
    def test_hours_that_are_none_come_back_with_what_was_entered(self, client, ann, hours):
        data = filled(client, url(ann), quiet_from=hours[0], quiet_to=hours[1])
        data["on"] = ["topic:news"]
        answer = client.post(url(ann), data)
        html = answer.content.decode()
        assert (answer.status_code, 'role="alert"' in html) == (422, True)
        assert re.findall(r'name="on" value="([^"]+)" checked', html) == ["topic:news"]
        assert states(ann)["channel:email"] == "subscribed"

    def test_another_address_is_confirmed_first(self, client, ann):
        ChannelTerms.objects.create(channel="email", double_opt_in=True)
        world.answer(ann, "unsubscribed", ["email"], at=datetime.now(UTC) - timedelta(minutes=1))
        message = world.message()
        [pushed] = world.queue(message, [ann], channel="webpush")
        address = url(ann, delivery=pushed.pk)
        data = filled(client, address)
        client.post(address, data | {"on": [*data["on"], "channel:email"]})
        assert states(ann)["channel:email"] == "pending"
        [mailed] = world.queue(world.message("mail"), [ann], channel="email")
        address = url(ann, delivery=mailed.pk)
        data = filled(client, address)
        client.post(address, data | {"on": [*data["on"], "channel:email"]})
        assert states(ann)["channel:email"] == "subscribed"

    def test_what_staff_changes_is_recorded_as_theirs(self, client, ann):
        address = links.for_staff(ann.pk).removeprefix(configured.NUDGE_PUBLIC_URL)
        data = filled(client, address)
        client.post(address, data | {"on": []})
        assert set(ConsentChange.objects.filter(state="unsubscribed").values_list("source", flat=True)) == {
            "admin"
        }
        assert client.get(f"{address}confirm/").status_code == 404


class TestLeaving:
    def test_one_post_is_enough_and_says_so(self, client, ann):
        message = world.message(topic="news")
        [delivery] = world.queue(message, [ann], channel="email")
        answer = client.post(
            url(ann, "unsubscribe/", delivery.pk),
            "List-Unsubscribe=One-Click",
            content_type="application/x-www-form-urlencoded",
            HTTP_ORIGIN="https://mail.example.net",
        )
        assert answer.status_code == 200
        assert consent.subscribed([ann.pk], "email") == consent.subscribed([ann.pk], "webpush") == set()
        changes = Event.objects.filter(name="consent_changed", properties__state="unsubscribed")
        assert {event.properties["delivery"] for event in changes} == {delivery.pk}
        again = client.post(url(ann, "unsubscribe/"), ONE_CLICK)
        assert again.status_code == 200
        assert (
            ConsentChange.objects.get(key="email", state="unsubscribed").wording
            == "Unsubscribe from everything"
        )

    def test_a_multipart_form_works_too(self, client, ann):
        assert client.post(url(ann, "unsubscribe/"), ONE_CLICK).status_code == 200
        assert set(states(ann).values()) == {"unsubscribed"}

    def test_after_a_merge_the_link_leads_to_who_is_left(self, client, ann):
        [bob] = identity.resolve([identity.Reference(email="bob@example.com")])
        identity.merge([(ann.pk, bob)], "test")
        client.post(url(ann, "unsubscribe/"), ONE_CLICK)
        assert states(Profile(pk=bob))["channel:email"] == "unsubscribed"

    def test_after_an_erasure_it_leads_nowhere(self, client, ann):
        privacy.erase([ann.pk], "request")
        assert client.get(url(ann)).status_code == 404
        assert client.post(url(ann), {"was": "0:topic:news", "on": "topic:news"}).status_code == 200
        assert client.post(url(ann, "unsubscribe/"), ONE_CLICK).status_code == 200
        assert states(ann) == {}


class TestConfirming:
    def test_only_what_the_message_asked_about(self, client, ann):
        ChannelTerms.objects.create(channel="sms", double_opt_in=True)
        Topic.objects.filter(slug="deals").update(double_opt_in=True)
        now = datetime.now(UTC)
        for kind, key in (("topic", "deals"), ("channel", "sms")):
            opt_in.answer([consent.Change(ann.pk, kind, key, "subscribed", "sdk", now)])
        event = Event.objects.get(name="consent_requested", properties__key="deals")
        context = {"event": {"name": event.name, "properties": event.properties}}
        [delivery] = world.queue(world.message(confirms=True), [ann], channel="email", context=context)
        address = url(ann, "confirm/", delivery.pk)
        shown = client.get(address).content.decode()
        assert "Deals" in shown
        assert "Text messages" not in shown
        assert client.post(address).status_code == 200
        assert (states(ann)["topic:deals"], states(ann)["channel:sms"]) == ("subscribed", "pending")
        assert "nothing to confirm" in client.get(address).content.decode()

    def test_an_address_only_by_a_message_to_it(self, client, ann):
        for channel in ("sms", "inapp"):
            consent.record([consent.Change(ann.pk, "channel", channel, "pending", "sdk", datetime.now(UTC))])
        assert client.post(url(ann, "confirm/")).status_code == 200
        for channel, sms in (("webpush", "pending"), ("email", "pending"), ("whatsapp", "subscribed")):
            [delivery] = world.queue(world.message(channel), [ann], channel=channel)
            client.post(url(ann, "confirm/", delivery.pk))
            assert (states(ann)["channel:sms"], states(ann)["channel:inapp"]) == (sms, "subscribed")


class TestTokens:
    def test_a_token_survives_a_new_secret_key(self, ann, settings):
        token = tokens.make(ann.pk, 7)
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another" * 9
        assert tokens.read(token) == tokens.Link(ann.pk, 7)
        settings.SECRET_KEY_FALLBACKS = []
        with pytest.raises(tokens.BadToken):
            tokens.read(token)

    def test_a_link_for_staff_ends(self, ann, monkeypatch):
        token = tokens.make_for_staff(ann.pk)
        assert tokens.read(token).staff
        monkeypatch.setattr(tokens, "STAFF_AGE", timedelta(seconds=-1))
        with pytest.raises(tokens.BadToken):
            tokens.read(token)


class TestLooks:
    def test_the_brand_is_shown(self, client, ann):
        PreferencePage.objects.create(
            name="Kahwa",
            logo=b"\x89PNG\r\n",
            logo_type="image/png",
            accent="#0b6e4f",
            website="https://kahwa.example",
            texts={"en": {"title": "Hello <b>", "footer": "Kahwa Ltd\nLondon"}},
        )
        answer = client.get(url(ann))
        html = answer.content.decode()
        for part in ("Hello &lt;b&gt;", "Kahwa Ltd<br>London", "--accent: #0b6e4f", "https://kahwa.example"):
            assert part in html
        source = re.search(r'<img class="logo" src="([^"]+)"', html).group(1)
        logo = client.get(source)
        assert (logo["Content-Type"], logo.content) == ("image/png", b"\x89PNG\r\n")

    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 2**24 - 1))
    def test_colours_can_be_read(self, number):
        colour = f"#{number:06x}"
        assert colours.contrast(colour, colours.ink(colour)) >= 4.5
        assert colours.contrast(colours.on_dark(colour), colours.DARK) >= 4.5

    def test_the_reference_values_of_the_guideline(self):
        assert round(colours.contrast("#ffffff", "#000000"), 6) == 21
        assert round(colours.contrast("#777777", "#ffffff"), 2) == 4.48


def test_every_word_of_the_pages_is_translated():
    """Also a guard for those who add one: the pages must not be half English."""
    folder = configured.BASE_DIR / "templates" / "preferences"
    words = set()
    for file in folder.glob("*.html"):
        text = file.read_text()
        words |= set(re.findall(r'{% translate "([^"]+)"', text)) | set(re.findall(r'_\("([^"]+)"\)', text))
    source = configured.BASE_DIR / "delivery" / "preferences"
    for name in ("choices.py", "views.py"):
        words |= set(re.findall(r'(?:\b_|gettext_lazy)\(\s*"([^"]+)"', (source / name).read_text()))
    assert len(words) > 40
    for language in ("ar", "pl"):
        with translation.override(language):
            same = {word for word in words if translation.gettext(word) == word}
        assert same <= {"WhatsApp"}, language


def test_the_routes_are_where_messages_say():
    found = links.of(7, 9)
    path = found["preferences_url"].removeprefix(configured.NUDGE_PUBLIC_URL)
    token = path.split("/")[2]
    assert path == reverse("preferences:page", args=[token])
    assert found["unsubscribe_url"].endswith(reverse("preferences:unsubscribe", args=[token]))
    assert found["confirm_url"].endswith(reverse("preferences:confirm", args=[token]))
    assert "@" not in path


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["", "unsubscribe/", "confirm/"])
def test_who_tries_a_link_of_a_test_is_told_what_it_would_do(client, way) -> None:
    for answer in (client.get(f"/p/example/{way}"), client.post(f"/p/example/{way}")):
        assert answer.status_code == 200
        assert "This message is a test" in answer.text
    assert not Consent.objects.exists()
