"""What people write back: words to leave and to come back, in many languages and ways of writing them."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from crm import consent, suppressions
from crm.models import Consent, Identifier
from delivery import inbound
from delivery import inbound_words as words
from delivery.models import Account, InboundMessage, Keywords
from delivery.providers.base import Inbound
from tests.delivery import world
from tests.delivery.world import NOW

NUMBER = "+48600000001"


@pytest.fixture
def used(db: Any) -> Account:
    """An account that pretends."""
    return Account.objects.create(name="s", slug="s", channel="sms", provider="sandbox")


def hear(
    used: Account, *texts: str, key: str = "k", address: str = NUMBER, now: Any = NOW, **more: Any
) -> int:
    """These texts arrive, a second apart."""
    told = [
        Inbound(f"{key}{n}", address, text, now - timedelta(seconds=len(texts) - n), **more)
        for n, text in enumerate(texts)
    ]
    return inbound.apply(used.pk, used.channel, told, now)


def state(profile: Any, channel: str = "sms") -> str | None:
    return Consent.objects.filter(profile=profile, key=channel).values_list("state", flat=True).first()


def replies() -> list[str]:
    return list(
        InboundMessage.objects.exclude(reply_text="").order_by("pk").values_list("reply_text", flat=True)
    )


class TestWords:
    @pytest.mark.parametrize(
        "text",
        [
            *(
                "STOP",
                "stop",
                " Stop. ",
                "“STOP!”",
                "STOP 🛑",
                "\u200fSTOP\u200f",
                "ＳＴＯＰ",
                "stop all",
                "Opt out",
            ),
            *(
                "إيقاف",
                "الغاء",
                "إلـغـاء",
                "إلغاء الاشتراك.",
                "Rezygnuję",
                "REZYGNUJE",
                "Abmelden",
                "arrêt",
                "ARRET",
            ),
            *("baja", "sair", "disiscrivi", "İPTAL", "iptal", "ÇIK", "çık", "СТОП", "Відписатися", "退订"),
            "unsubscribe\n",
        ],
    )
    def test_ways_to_leave(self, text: str) -> None:
        assert words.understand(text).meaning == "stop"

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "stop by our shop",
                "don't stop",
                "I'd like to end it",
                "fine",
                "red",
                "yes",
                "stopp it",
                "",
                "!!!",
            ),
            *("please stop", "startup", "x" * 500, "non-stop"),
        ],
    )
    def test_only_the_word_itself_counts(self, text: str) -> None:
        assert words.understand(text).meaning == ""

    def test_coming_back_and_help(self) -> None:
        assert [
            words.understand(text).meaning for text in ("START", "unstop", "Zapisz", "ابدأ", "HELP", "pomoc?")
        ] == [
            *["start"] * 4,
            *["help"] * 2,
        ]
        assert words.understand("pomoc").language == "pl"
        assert words.understand("stop").language == ""  # everybody says it

    def test_words_of_ones_own_come_first(self) -> None:
        extra = {"stop": ["Kawa Nie"], "start": ["stop"]}
        assert words.understand("KAWA NIE!", extra).meaning == "stop"
        assert words.understand("stop", extra).meaning == "start"

    @trials(deadline=None, max_examples=100)
    @given(st.text(max_size=60), st.sampled_from(sorted(words._known())))
    def test_any_text_is_read_and_marks_around_a_word_do_not_matter(self, noise: str, word: str) -> None:
        assert words.plain(words.plain(noise)) == words.plain(noise)
        assert words.understand(f" «{word.upper() if word.isascii() else word}».") == words._known()[word]


@pytest.mark.django_db
class TestLeaving:
    def test_everybody_with_the_number_leaves_and_hears_of_it_once(self, used: Account) -> None:
        first = world.person(1, channels=["sms", "email"], phone=NUMBER, language="pl")
        second = world.person(2, channels=["sms"], phone=NUMBER)
        other = world.person(3, channels=["sms"], phone="+48600000009")
        known_by = world.person(4, channels=["sms"])
        Identifier.objects.create(kind=Identifier.PHONE, value=NUMBER, profile=known_by)
        assert hear(used, "Hello", "STOP") == 2
        assert {state(p) for p in (first, second, known_by)} == {"unsubscribed"}
        assert (state(other), state(first, "email")) == ("subscribed", "subscribed")
        left = Consent.objects.get(profile=first, key="sms")
        assert (left.source, left.wording) == ("person", "STOP")
        assert len(replies()) == 1
        assert hear(used, "Hello", "STOP") == 0  # the provider repeats itself
        assert hear(used, "stop", key="again") == 1
        assert len(replies()) == 1
        logged = [event for event in world.events("message_received") if event.profile_id == first.pk]
        assert sorted(event.properties["text"] for event in logged) == ["Hello", "STOP", "stop"]

    def test_nobody_known(self, used: Account) -> None:
        hear(used, "Stop", address="0048 600 000 001")
        row = InboundMessage.objects.get()
        assert (row.address, row.profile, row.meaning) == (NUMBER, None, "stop")
        assert suppressions.listed(["sms"], [NUMBER]) == {("sms", NUMBER)}
        hear(used, "Start", key="b")
        assert not suppressions.listed(["sms"], [NUMBER])

    def test_a_listing_of_another_cause_stays(self, used: Account) -> None:
        suppressions.add([suppressions.Entry("sms", NUMBER, "court order")], "admin")
        hear(used, "Start")
        assert suppressions.listed(["sms"], [NUMBER])

    def test_coming_back_is_for_those_who_were_there(self, used: Account) -> None:
        once = world.person(1, channels=["sms"], phone=NUMBER)
        never = world.person(2, agrees=False, phone=NUMBER)
        hear(used, "STOP", "START")
        assert (state(once), state(never)) == ("subscribed", "unsubscribed")

    def test_the_last_word_counts_in_whatever_order_they_come(self, used: Account) -> None:
        person = world.person(1, channels=["sms"], phone=NUMBER)
        start, stop = (
            Inbound("b", NUMBER, "START", NOW),
            Inbound("a", NUMBER, "STOP", NOW - timedelta(minutes=1)),
        )
        inbound.apply(used.pk, "sms", [start], NOW)
        inbound.apply(used.pk, "sms", [stop], NOW)
        assert state(person) == "subscribed"
        inbound.apply(used.pk, "sms", [Inbound("c", NUMBER, "STOP", NOW + timedelta(days=9))], NOW)
        assert state(person) == "unsubscribed"  # a clock that is wrong does not make it later than now
        assert Consent.objects.get(profile=person).changed_at <= NOW

    def test_a_provider_that_answered_itself_is_believed(self, used: Account) -> None:
        person = world.person(1, channels=["sms"], phone=NUMBER)
        hear(used, "whatever", understood="stop")
        assert state(person) == "unsubscribed"
        assert not replies()

    def test_own_words_and_answers(self, used: Account) -> None:
        Keywords.objects.create(
            channel="sms", stop="Kawa nie", texts={"pl": {"stop": "Szkoda!"}, "": {"stop": "Pity."}}
        )
        world.person(1, channels=["sms"], phone=NUMBER, language="pl-PL")
        world.person(2, channels=["sms"], phone="+48600000002", language="ar")
        hear(used, "kawa nie")
        hear(used, "kawa nie", key="b", address="+48600000002")
        assert replies() == ["Szkoda!", "Pity."]
        Keywords.objects.update(answers=False)
        hear(used, "START", key="c")
        assert len(replies()) == 2

    def test_help_is_told_once_an_hour(self, used: Account) -> None:
        world.person(1, channels=["sms"], phone=NUMBER)
        hear(used, "HELP", "help")
        hear(used, "help", key="b", now=NOW + timedelta(minutes=50))
        assert len(replies()) == 1
        hear(used, "help", key="c", now=NOW + timedelta(minutes=70))
        assert len(replies()) == 2

    def test_nonsense_is_kept(self, used: Account) -> None:
        hear(used, "a\0b", "x" * 9_000, address="AMAZON\0")
        assert InboundMessage.objects.filter(address="AMAZON").count() == 2

    def test_the_number_of_queries_is_the_same_for_many(self, used: Account) -> None:
        counts = []
        for size in (1, 30):
            people = [world.person(n, channels=["sms"], phone=f"+4860{size:03d}{n:04d}") for n in range(size)]
            told = [Inbound(f"{size}-{p.pk}", p.phone, "STOP", NOW) for p in people]
            with CaptureQueriesContext(connection) as queries:
                inbound.apply(used.pk, "sms", told, NOW)
            counts.append(len(queries))
        assert counts[0] == counts[1]


@pytest.mark.django_db
def test_consent_in_another_channel_is_another(used: Account) -> None:
    """STOP by SMS says nothing of WhatsApp."""
    person = world.person(1, channels=["sms", "whatsapp"], phone=NUMBER)
    hear(used, "STOP")
    assert consent.subscribed([person.pk], "whatsapp")
    assert not consent.subscribed([person.pk], "sms")
