"""Who follows links and fetches pictures: people, or programs."""

import re
from datetime import timedelta
from typing import Any

import pytest

from analytics import projection
from analytics.models import Engagement
from delivery.links import bots
from delivery.links.bots import Hit
from delivery.models import LinkHit
from tests import reading
from tests.delivery import world
from tests.delivery.links.test_links import MINUTE, PHONE, path_of, sent, settled
from tests.delivery.world import NOW

pytestmark = pytest.mark.usefixtures("spooled")


def judged(hit: Hit, *others: Hit, count: int = 1) -> str:
    return bots.judge(hit, [hit, *others], count, NOW)[0].value


@pytest.mark.parametrize(
    "agent",
    [
        "",
        "Googlebot/2.1",
        "Mozilla/5.0 (compatible; bingbot/2.0)",
        "WhatsApp/2.23.20",
        "curl/8.5",
        "Barracuda Sentinel",
    ],
)
def test_known_programs_are_no_people(agent: str) -> None:
    assert judged(Hit(0, MINUTE, agent)) == "machine"


def test_people_are() -> None:
    assert judged(Hit(0, MINUTE, PHONE)) == "person"
    assert (
        judged(Hit(0, MINUTE, "Mozilla/5.0 (Linux; Android 10; CUBOT NOTE 20) AppleWebKit/537.36"))
        == "person"
    )
    assert judged(Hit(0, NOW - timedelta(seconds=30), PHONE)) == "person", (
        "before a slow sender had recorded it"
    )
    second = Hit(1, MINUTE + timedelta(seconds=1), PHONE)
    assert judged(Hit(0, MINUTE, PHONE), second, count=3) == "person"


def test_those_who_fetch_ahead_at_once_or_everything_are_not() -> None:
    assert judged(Hit(0, MINUTE, PHONE, "prefetch;prerender")) == "machine"
    assert judged(Hit(0, NOW + timedelta(seconds=1), PHONE)) == "machine"
    walk = [Hit(number, MINUTE + timedelta(seconds=number / 2), PHONE) for number in range(3)]
    assert [judged(hit, *walk, count=9) for hit in walk] == ["machine"] * 3
    assert judged(walk[0], walk[1], count=2) == "machine"


@pytest.mark.django_db(transaction=True)
def test_new_rules_judge_what_is_there_anew_and_the_log_says_so(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery, payload = sent("sms", {"text": "https://shop.example.com/"})

    def clicked() -> Any:
        reading.drain(projection.CURSOR, projection.read)
        return Engagement.objects.get(delivery_id=delivery.pk).clicked_at

    client.get(path_of(payload["text"]), HTTP_USER_AGENT="Sneaky/1.0")
    settled()
    at = world.event("message_clicked").occurred_at
    assert clicked() == at
    monkeypatch.setattr(bots, "VERSION", bots.VERSION + 1)
    with monkeypatch.context() as sterner:
        sterner.setattr(bots, "_MACHINES", re.compile("sneaky", re.IGNORECASE))
        settled()
        assert LinkHit.objects.values_list("verdict", "rules").get() == ("machine", bots.VERSION)
        withdrawn = world.event("message_withdrawn").properties
        assert withdrawn["names"] == ["message_clicked", "message_opened"]
        assert clicked() is None
    monkeypatch.setattr(bots, "VERSION", bots.VERSION + 1)
    settled()
    assert LinkHit.objects.get().verdict == "person"
    assert clicked() == at
    assert len(world.events("message_clicked")) == 2, "the log forgets nothing"


@pytest.mark.django_db
def test_a_person_counts_though_rules_took_back_what_came_before(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _delivery, payload = sent("sms", {"text": "https://shop.example.com/"})
    client.get(path_of(payload["text"]), HTTP_USER_AGENT="Sneaky/1.0")
    settled()
    monkeypatch.setattr(bots, "VERSION", bots.VERSION + 1)
    monkeypatch.setattr(bots, "_MACHINES", re.compile("sneaky", re.IGNORECASE))
    settled()
    client.get(path_of(payload["text"]), HTTP_USER_AGENT=PHONE)
    settled()
    assert len(world.events("message_clicked")) == 2
    assert len(world.events("message_withdrawn")) == 1


def test_who_came_to_the_page_is_who_clicked() -> None:
    landed = Hit(None, MINUTE + timedelta(seconds=3), PHONE, bots.LANDED)
    walk = [Hit(number, MINUTE, PHONE) for number in range(3)]
    assert judged(landed) == "person"
    assert judged(landed, Hit(0, MINUTE, PHONE)) == "person"
    assert judged(landed, *walk, count=3) == "machine", "scanners run scripts, too"
    assert judged(Hit(None, MINUTE, "HeadlessChrome", bots.LANDED)) == "machine"
