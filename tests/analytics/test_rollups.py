"""The figures by day against a recomputation from the log; however it is read, and whatever is done meanwhile."""

import random
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from analytics import projection, tasks
from analytics.models import AudienceDay, CohortCell, DayFigures, Engagement, RollupState
from analytics.rollups import audience, cohorts, keeping, rebuild, seen
from crm import log, merging, privacy
from crm.models import Event, LogCursor
from delivery.models import Delivery
from tests.analytics import reference, world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
SPRING = datetime(2026, 3, 28, 20, tzinfo=UTC)  # the clocks of Warsaw go forward the night after
ACCOUNT_ZONES = ("UTC", "Europe/Warsaw", "Pacific/Auckland")
ZONES = ("", "America/New_York", "Asia/Kolkata", "Europe/Warsaw", "Mars/Olympus")
NAMES = ("delivered", "opened", "clicked", "dismissed", "read", "bounced", "complained")
MACHINES = ("machine_opened", "machine_clicked")


class History:
    """Random sends, and what is told of them in no particular order."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.people = [world.person() for _ in range(3)]
        self.messages = [world.message("a"), world.message("b")]
        self.deliveries = [self._delivery() for _ in range(chance.randrange(2, 9))]
        self.events = [event for one in self.deliveries for event in self._events(one)]
        chance.shuffle(self.events)

    def at(self) -> datetime:
        return SPRING + timedelta(minutes=self.chance.randrange(60 * 60))

    def _delivery(self) -> Delivery:
        chance = self.chance
        state = chance.choice(("sent", "sent", "sent", "sending", "suppressed"))
        return world.delivery(
            chance.choice(self.messages),
            chance.choice(self.people),
            state,
            SPRING,
            logged=False,
            channel=chance.choice(("webpush", "email")),
            variant=chance.choice("ab"),
            origin_type=chance.choice(("flow", "flow", "broadcast", "api", "test")),
            origin_id=chance.choice((None, 7, 8)),
            origin_step=chance.choice(("", "s1")),
        )

    def _events(self, one: Delivery) -> list[log.NewEvent]:
        chance = self.chance
        found = []
        if one.state == "sent":
            traits = {
                "locale": chance.choice(("pl", "ar", "")),
                "country": chance.choice(("PL", "IN", "")),
                "zone": chance.choice(ZONES),
                "provider": chance.choice(("google", "mozilla")),
                "device": chance.choice(("", "phone")),
            }
            found.append(self._event(one, "message_sent", **traits))
            if chance.random() < 0.2:
                found.append(self._event(one, "message_failed", state="failed", reason="failed: lost"))
        elif one.state == "suppressed":
            name = chance.choice(("message_suppressed", "message_failed"))
            state = {} if name == "message_suppressed" else {"state": chance.choice(("failed", "expired"))}
            found.append(self._event(one, name, reason="no " + "x" * chance.randrange(200), **state))
            return found
        for name in (*NAMES, *MACHINES):
            for _ in range(chance.choice((0, 0, 1, 2))):
                device = chance.choice(({}, {"device": "phone"}, {"device": "desktop"}))
                found.append(self._event(one, f"message_{name}", **device))
        if chance.random() < 0.3:
            names = chance.sample([f"message_{name}" for name in ("opened", "clicked", *MACHINES)], 2)
            found.append(self._event(one, "message_withdrawn", names=names))
        if chance.random() < 0.3:
            state = chance.choice(("unsubscribed", "subscribed"))
            found.append(self._event(one, "consent_changed", kind="channel", key="email", state=state))
        return found

    def _event(self, one: Delivery, name: str, **properties: object) -> log.NewEvent:
        told = {"delivery": one.pk, **properties}
        return log.NewEvent(uuid.uuid4(), one.profile_id, name, self.at(), told, "test")

    def merge(self) -> None:
        """Two of the people turn out to be one."""
        if len(self.people) > 1:
            loser, winner = self.people.pop(), self.people[0]
            merging.merge([(loser.pk, winner.pk)], "test", NOW)


def crash_sometimes(chance: random.Random, limit: int) -> None:
    """Read a batch whose end may be a crash: then all of it comes again."""
    if chance.random() < 0.3:
        with pytest.raises(ZeroDivisionError):
            _crash(limit)
    projection.read(limit)


def _crash(limit: int) -> None:
    with log.read(projection.CURSOR, limit) as batch:
        keeping.state()
        keeping.store(seen.collect(batch.events, keeping.known_zone))
        raise ZeroDivisionError


@pytest.mark.slow
@examples(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(seed=st.integers(0, 2**32))
def test_however_it_is_read_it_is_what_the_log_says(settings, monkeypatch, seed):
    reference.empty()
    chance = random.Random(seed)
    settings.TIME_ZONE = chance.choice(ACCOUNT_ZONES)
    monkeypatch.setattr(rebuild, "CHUNK", chance.choice((1, 3)))
    monkeypatch.setattr(rebuild, "EVENTS", chance.choice((2, 7)))
    history = History(chance)
    while history.events:
        part = [history.events.pop() for _ in range(min(len(history.events), chance.randrange(1, 12)))]
        log.append(part)
        what = chance.random()
        if what < 0.5:
            crash_sometimes(chance, chance.choice((1, 3, 50)))
        elif what < 0.6:
            history.merge()
        elif what < 0.7 and RollupState.objects.exists():
            settings.TIME_ZONE = chance.choice(ACCOUNT_ZONES)
            rebuild.start(from_log=chance.random() < 0.5)
        else:
            rebuild.step()
    world.read(chance.choice((1, 4, 5000)))
    rebuild.run(pause=0)
    rebuild.check()
    rebuild.run(pause=0)
    zone = RollupState.objects.get().zone
    assert zone == settings.TIME_ZONE
    expected = reference.figures(zone)
    assert reference.stored() == expected
    rebuild.start()
    rebuild.run(pause=0)
    assert reference.stored() == expected
    facts = list(Engagement.objects.order_by("pk").values())
    for anew in (False, True):
        if anew:
            Engagement.objects.all().delete()
            monkeypatch.setattr(rebuild, "EVENTS", 1000)
        rebuild.start(from_log=True)
        rebuild.run(pause=0)
        assert reference.stored() == expected
        assert list(Engagement.objects.order_by("pk").values()) == facts
    assert DayFigures.objects.values("generation").distinct().count() <= 1, "tidied"


class TestReading:
    def test_the_number_of_queries_does_not_depend_on_how_much_is_read(self):
        welcome = world.message()
        world.read()

        def queries(count: int) -> int:
            for _ in range(count):
                sent = world.delivery(welcome, world.person(), "sent")
                world.engages(sent, "opened")
            with CaptureQueriesContext(
                connection,
            ) as captured:
                projection.read()
            return len(captured)

        queries(1)
        assert queries(2) == queries(20)

    def test_nobody_waits_while_people_are_counted(self):
        ann = world.person()
        world.happens(ann, "purchase")
        world.engages(world.delivery(world.message(), ann), "opened")
        world.read()
        writing = []

        def look(execute, sql, params, many, context):
            result = execute(sql, params, many, context)
            if "crm_profile" in sql or "crm_event" in sql:
                with connection.connection.cursor() as cursor:
                    cursor.execute("SELECT pg_current_xact_id_if_assigned()::text")
                    writing.append(cursor.fetchone()[0])
            return result

        with connection.execute_wrapper(look):
            audience.keep()
            cohorts.keep()
        assert writing == [None, None, None], "the log's readers wait for whoever has a number"
        assert AudienceDay.objects.get(measure="new").people == 1
        assert CohortCell.objects.get(kind="purchase", later=cohorts.SIZE).people == 1

    def test_a_test_is_a_fact_that_does_not_count(self):
        sent = world.delivery(world.message(), world.person(), origin_type="test")
        world.engages(sent, "opened")
        world.read()
        assert Engagement.objects.get().opened_at == NOW
        assert not DayFigures.objects.exists()

    def test_what_was_counted_stays_when_the_person_is_deleted(self):
        ann = world.person()
        world.engages(world.delivery(world.message(), ann), "opened")
        world.read()
        before = reference.stored()
        ann.delete()
        rebuild.start()
        rebuild.run(pause=0)
        assert before == reference.stored() != {}

    def test_facts_tell_nothing_about_somebody_who_is_erased(self):
        ann, ben = world.person(), world.person()
        about = {
            "locale": "pl",
            "country": "PL",
            "zone": "Europe/Warsaw",
            "provider": "google",
            "device": "phone",
        }
        for who in (ann, ben):
            sent = world.delivery(world.message(f"m{who.pk}"), who, logged=False)
            for name, told in (
                ("message_sent", about),
                ("message_clicked", {"device": "phone"}),
                ("message_withdrawn", {"names": ["message_clicked"]}),
                ("message_failed", {"state": "failed", "reason": "550 ann@x.y is unknown"}),
            ):
                told = {"delivery": sent.pk, **told}
                log.append([log.NewEvent(uuid.uuid4(), who.pk, name, NOW, told, "nudge")])
        world.read()
        privacy.erase([ann.pk], "request", NOW)
        world.read()
        columns = ("reason", *seen.TRAITS, "device", "device_at", "clicked_at")
        facts = dict(Engagement.objects.values_list("delivery__profile_id", "pk"))
        [left] = Engagement.objects.filter(pk=facts[ann.pk]).values_list(*columns)
        assert left == ("", "", "", "", "", "", None, None)
        assert Engagement.objects.get(pk=facts[ben.pk]).country == "PL"
        counted = reference.stored()
        assert counted == reference.figures("UTC")
        for from_log in (False, True):
            rebuild.start(from_log=from_log)
            rebuild.run(pause=0)
            assert reference.stored() == counted

    def test_what_no_delivery_has_as_its_number_is_skipped(self):
        ann = world.person()
        for number in (2**63, 2**70, -1, "7", True, None, 1.5):
            world.happens(ann, "message_opened", delivery=number)
        world.read()
        rebuild.start(from_log=True)
        rebuild.run(pause=0)
        assert not Engagement.objects.exists()


class TestRebuilding:
    def test_who_had_a_log_before_there_were_figures_gets_them_from_it(self):
        sent = world.delivery(world.message(), world.person())
        world.engages(sent, "clicked")
        world.read()
        expected = reference.stored()
        for model in (DayFigures, RollupState, Engagement):
            model.objects.all().delete()
        projection.read()
        assert rebuild.status().running
        assert rebuild.status().done == 0
        tasks.rebuild()
        assert reference.stored() == expected != {}
        assert not rebuild.status().running

    def test_another_time_zone_moves_the_days(self, settings):
        world.delivery(world.message(), world.person(), at=NOW.replace(hour=23))
        world.read()
        settings.TIME_ZONE = "Europe/Warsaw"
        tasks.rebuild()
        assert {row.day.day for row in DayFigures.objects.all()} == {NOW.day + 1}
        assert rebuild.status().zone == "Europe/Warsaw"
        assert not rebuild.check()

    def test_reports_read_the_old_figures_until_the_new_ones_are_all_there(self, monkeypatch):
        monkeypatch.setattr(rebuild, "CHUNK", 1)
        welcome = world.message()
        made = [world.delivery(welcome, world.person()) for _ in range(3)]
        world.read()
        before = reference.stored()
        rebuild.start()
        shares = []
        while rebuild.step():
            assert reference.stored() == before
            shares.append(rebuild.status().done)
        assert shares == sorted(shares)
        assert 0 < shares[0] < 1 == shares[-1]
        assert len(made) == 3

    def test_the_command_says_what_it_did(self, capsys):
        world.delivery(world.message(), world.person())
        world.read()
        call_command("nudge_rebuild_reports", "--from-log")
        assert "1 " in capsys.readouterr().out
        assert reference.stored() == reference.figures("UTC")


def test_the_reader_is_the_only_one_with_this_cursor():
    world.happens(world.person(), "page_viewed")
    world.read()
    assert LogCursor.objects.filter(name=projection.CURSOR).exists()
    assert not Event.objects.filter(name__startswith="message_").exists()
