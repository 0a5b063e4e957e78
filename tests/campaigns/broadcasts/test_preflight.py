"""What is said before a launch."""

from datetime import timedelta
from decimal import Decimal

import pytest

from campaigns import broadcasts
from campaigns.broadcasts import preflight, wording
from campaigns.models import Segment
from crm.models import Preference, Profile, Suppression
from delivery import dispatch
from delivery.models import Account, Delivery, MessageContent
from tests.campaigns.broadcasts.conftest import NOW, draft, people
from tests.delivery import world


def test_links_words_and_names():
    contents = [
        {"title": "ACT NOW, {{ profile.first_name }}", "url": "htp:/shop"},
        {
            "text": "http://nowhere https://shop.example/{{ x }} {{ profile.city | default: 'you' }}",
            "url": "/a b",
        },
        {
            "text": "Winners {{ profile.attributes.plan }}",
            "url": "/fine",
            "image": "https://cdn.example/x.png",
        },
    ]
    broken, elsewhere = wording.links(contents)
    assert broken == ["htp:/shop", "http://nowhere", "/a b"]
    assert elsewhere == ["https://shop.example/", "https://cdn.example/x.png"]
    assert wording.spam_words(contents) == ["act now"]
    assert wording.without_default(contents) == ["first_name", "attributes.plan"]


@pytest.mark.django_db
class TestCheck:
    def test_who_is_not_reached_and_why(self, memory):
        one, _two, three = people(3)
        world.person(4, agrees=False)
        world.person(5, email=None)
        Suppression.objects.create(channel="memory", address=one.email, reason="complaint")
        Preference.objects.create(profile=three, frequencies={"news": "important"}, changed_at=NOW)
        broadcast = draft(message=world.message("news", topic="news"), per_minute=1)
        found = preflight.check(broadcast, NOW)
        reach = found.reach
        assert (reach.size, reach.no_consent, reach.no_address, reach.suppressed) == (5, 1, 1, 1)
        assert (reach.reachable, reach.unwilling, reach.likely) == (2, 1, 1)
        assert found.duration == timedelta(minutes=1)
        broadcasts.launch(broadcast.pk, now=NOW)
        sent = sum(dispatch.run(NOW + timedelta(seconds=60 * step)).sent for step in range(6))
        assert sent == reach.likely

    def test_languages_and_names_without_text(self, memory):
        for place, language in enumerate(["pl", "pl-PL", "ar", None]):
            world.person(place, language=language, first_name="" if place else "Ann")
        message = world.message("news", content={"text": "Hi {{ profile.first_name }}"})
        broadcast = draft(message=message)
        MessageContent.objects.create(message=message, channel="memory", locale="pl", content={"text": "Hej"})
        said = " ".join(preflight.check(broadcast, NOW).warnings)
        assert "1 person gets the text for everybody" in said
        assert "3 people have no “first_name”" in said
        message.contents.filter(locale="").delete()
        assert "2 people speak a language without a text" in " ".join(
            preflight.check(broadcast, NOW).warnings
        )

    def test_two_broadcasts_to_the_same_people(self, memory):
        people(2)
        first = draft()
        broadcasts.launch(first.pk, now=NOW)
        other = draft(message=first.message)
        assert "2 people get another broadcast today." in preflight.check(other, NOW).warnings
        assert preflight.check(other, NOW + timedelta(days=2)).warnings == []
        first.refresh_from_db()
        assert "launched already" in preflight.check(first, NOW).problem

    def test_what_keeps_it_from_going_out(self, memory, settings):
        settings.NUDGE_BROADCAST_CONFIRM = 1
        people(2)
        broadcast = draft()
        assert preflight.check(broadcast, NOW).typed
        Segment.objects.update(rule={"kind": "attribute", "field": "shoe_size", "op": "eq", "value": 1})
        broadcast.segment.refresh_from_db()
        assert "mistake" in preflight.check(broadcast, NOW).problem
        broadcast.message.contents.all().delete()
        assert "no text" in preflight.check(broadcast, NOW).problem
        assert not Delivery.objects.exists()
        assert Profile.objects.count() == 2


@pytest.mark.django_db
def test_languages_are_named_and_texts_priced():
    for place, language in enumerate(["en-GB", "de-AT", "de"]):
        world.person(place, language=language, phone=f"+4860010020{place}", channels=["sms"])
    message = world.message("text", channel="sms", content={"text": "x" * 200})
    MessageContent.objects.create(message=message, channel="sms", locale="ar", content={"text": "أهلاً"})
    Account.objects.create(
        name="S", slug="s", channel="sms", provider="sandbox", cost_per_part="0.05", currency="EUR"
    )
    found = preflight.check(draft(message=message, channel="sms"), NOW)
    assert (found.parts, found.cost, found.currency) == (2, Decimal("0.30"), "EUR")
    [said] = [words for words in found.warnings if "the text for everybody" in words]
    assert said.startswith("2 people")
    assert said.endswith(": German"), "English is what everybody's text is in"
