"""Who comes back, the audience, and who says yes and no: against what is on record, followed one by one."""

import random
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from analytics.models import AudienceDay
from analytics.reports import audience, cohorts
from analytics.reports.audience import OptIns
from analytics.reports.periods import Period
from analytics.rollups import cohorts as counting
from crm import consent
from crm.models import ConsentChange, Device, Profile, Topic
from tests.analytics import sheets, world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
ZONE = ZoneInfo("Europe/Warsaw")
SPRING = datetime(2026, 3, 27, 12, tzinfo=UTC)  # two days before the clock changes
PERIOD = Period(date(2026, 3, 27), date(2026, 3, 31))
ASKED = {"from": "2026-03-27", "to": "2026-03-31"}


@pytest.fixture(autouse=True)
def _zone(settings):
    settings.TIME_ZONE = ZONE.key


class TestOptIns:
    @given(seed=st.integers(0, 2**32))
    @examples(deadline=None, max_examples=3)
    def test_they_are_what_the_ledger_says(self, seed):
        with sheets.rolled_back():
            chance = random.Random(seed)
            people = [world.person() for _ in range(3)]
            for _ in range(15):
                kind, key = chance.choice((("channel", "email"), ("channel", "sms"), ("topic", "news")))
                consent.record(
                    [
                        consent.Change(
                            chance.choice(people).pk,
                            kind,
                            key,
                            chance.choice(("subscribed", "unsubscribed", "pending")),
                            chance.choice(("sdk", "person", "crm")),
                            SPRING + timedelta(minutes=chance.randrange(-3 * 1440, 5 * 1440)),
                        )
                    ]
                )
            world.audience.keep(SPRING + 5 * DAY)
            for about, kind in (("", "channel"), ("topic_", "topic")):
                by_day, told = self.followed(kind)
                found = audience.changes(PERIOD, about)
                assert {
                    (key, day): (one.joined, one.left)
                    for key, days in found.days.items()
                    for day, one in days.items()
                } == {where: tuple(counts) for where, counts in by_day.items()}
                assert {
                    (*key, place): (one.joined, one.left)
                    for key, both in found.told.items()
                    for place, one in enumerate(both)
                    if one != OptIns()
                } == {where: tuple(counts) for where, counts in told.items()}
            self.adds_up()

    @staticmethod
    def followed(kind):
        """[joined, left] by (key, day), and by (key, source, 0 for the period or 1 for the one before)."""
        span = Period(PERIOD.before.first - DAY, PERIOD.last)
        by_day, told = defaultdict(lambda: [0, 0]), defaultdict(lambda: [0, 0])
        before: dict[tuple[int, str], str] = {}
        answers = ConsentChange.objects.filter(kind=kind).exclude(state="pending")
        for one in answers.order_by("changed_at", "pk"):
            last = before.get((one.profile_id, one.key), "subscribed" if kind == "topic" else "unsubscribed")
            asked = (one.profile_id, one.key) in before
            before[one.profile_id, one.key] = one.state
            joins = one.state == "subscribed" and not (asked and last == "subscribed")
            leaves = one.state == "unsubscribed" and last == "subscribed"
            day = one.changed_at.astimezone(ZONE).date()
            if not (joins or leaves) or not span.first <= day <= span.last:
                continue
            by_day[one.key, day][leaves] += 1
            for place, each in enumerate((PERIOD, PERIOD.before)):
                if each.first <= day <= each.last:
                    told[one.key, one.source, place][leaves] += 1
        return by_day, told

    @staticmethod
    def adds_up():
        sheet = sheets.build("optins", **ASKED)
        for column in ("joined", "left", "net"):
            for slug in ("channels", "sources"):
                assert sum(sheets.rows(sheet, slug, column).values()) == sheet.figures.values[column]
        narrowed = sheets.build("optins", channel="email", **ASKED)
        assert set(sheets.rows(narrowed, "channels", "net")) <= {"email"}

    def test_topics_have_names_and_messages_are_named_by_which_people_left(self):
        Topic.objects.create(slug="news", name="The news")
        ann = world.person()
        consent.record([consent.Change(ann.pk, "topic", "news", "unsubscribed", "person", SPRING)])
        made = world.delivery(world.message(), ann, at=SPRING)
        world.happens(
            ann, "consent_changed", SPRING, delivery=made.pk, kind="topic", key="news", state="unsubscribed"
        )
        world.count()
        topics = sheets.build("optins", about="topics", **ASKED)
        [row] = sheets.table(topics, "topics").rows
        assert (row.label, row.values["left"]) == ("The news", 1), "nobody asked for it, and somebody left"
        [row] = sheets.table(sheets.build("optins", **ASKED), "messages").rows
        assert (row.label, row.values["unsubscribes"]) == ("Welcome", 1)
        assert row.leads == ("message", {"message": str(made.message_id)})

    def test_the_number_of_queries_is_fixed(self):
        counts = []
        for _ in range(2):
            ann = world.person()
            for channel in ("email", "sms"):
                consent.record([consent.Change(ann.pk, "channel", channel, "subscribed", "sdk", SPRING)])
            made = world.delivery(world.message(f"m{ann.pk}"), ann, at=SPRING)
            world.happens(ann, "consent_changed", SPRING, delivery=made.pk, state="unsubscribed")
            world.count()
            counts.append((sheets.queries("optins", **ASKED), sheets.queries("audience", **ASKED)))
        assert counts == [(5, 2)] * 2


class TestAudience:
    @given(seed=st.integers(0, 2**32))
    @examples(deadline=None, max_examples=3)
    def test_new_people_are_those_that_were_made_by_who_told_of_them_first(self, seed):
        with sheets.rolled_back():
            chance = random.Random(seed)
            for _ in range(8):
                told = {
                    name: [chance.choice(("sdk", "api", "shop:leads")), f"2026-03-0{number}T00:00:00+00:00"]
                    for number, name in enumerate(chance.sample(("email", "phone", "country"), 2), start=1)
                }
                made = world.person(sources=chance.choice((told, {})))
                at = SPRING + timedelta(minutes=chance.randrange(-5 * 1440, 5 * 1440))
                Profile.objects.filter(pk=made.pk).update(created_at=at)
            world.audience.keep(SPRING + 4 * DAY)
            expected: Counter[str] = Counter()
            for made in Profile.objects.all():
                if PERIOD.first <= made.created_at.astimezone(ZONE).date() <= PERIOD.last:
                    first = min(made.sources.values(), key=lambda told: told[1], default=[""])
                    expected[first[0].partition(":")[0]] += 1
            sheet = sheets.build("audience", **ASKED)
            assert sheets.rows(sheet, "sources", "new") == {
                **dict.fromkeys(sheets.rows(sheet, "sources", "new"), 0),
                **expected,
            }
            assert sheet.figures.values["new"] == expected.total()
            shares = [value for value in sheets.rows(sheet, "sources", "share").values() if value]
            assert not shares or sum(shares) == pytest.approx(1)

    def test_who_brought_somebody_stays_so_after_a_month(self):
        ann, ben = world.person(sources={"email": ["api", "2026-01-01"]}), world.person()
        Profile.objects.filter(pk=ann.pk).update(created_at=SPRING - 60 * DAY)
        Profile.objects.filter(pk=ben.pk).update(created_at=SPRING)
        world.audience.keep(SPRING)
        Profile.objects.update(sources={"email": ["crm", "2026-01-01"]})
        world.audience.keep(SPRING)
        kept = AudienceDay.objects.filter(measure="came").values_list("channel", "people")
        assert set(kept) == {("api", 1), ("crm", 1)}

    def test_who_went_and_who_can_be_reached(self):
        ann, ben = world.person(email="ann@example.com"), world.person()
        for who in (ann, ben):
            consent.record([consent.Change(who.pk, "channel", "email", "subscribed", "sdk", SPRING)])
        consent.record([consent.Change(ben.pk, "channel", "webpush", "subscribed", "sdk", SPRING)])
        Device.objects.create(profile=ben, endpoint="https://fcm.googleapis.com/x")
        world.person().delete()
        carl = world.person()
        Profile.objects.update(created_at=SPRING - 9 * DAY)
        world.audience.keep(SPRING - DAY)
        carl.delete()
        Profile.objects.filter(pk=world.person().pk).update(created_at=SPRING)
        world.audience.keep(SPRING)
        Device.objects.update(state="gone")
        world.audience.keep(SPRING + DAY)
        sheet = sheets.build("audience", **ASKED)
        assert sheet.figures.values == {"profiles": 3, "new": 1, "gone": 1}
        assert sheet.figures.before == {"profiles": 3, "new": 0, "gone": None}, "not counted before"
        channels = sheets.rows(sheet, "channels", "agreed", "reachable", "reach")
        assert channels == {"email": (2, 1, 1 / 3), "webpush": (1, 0, 0)}
        before = {row.key: row.before["reachable"] for row in sheets.table(sheet, "channels").rows}
        assert before == {"email": 1, "webpush": 1}


class TestRetention:
    @given(seed=st.integers(0, 2**32))
    @examples(deadline=None, max_examples=3)
    def test_they_are_who_came_back(self, seed):
        with sheets.rolled_back():
            chance = random.Random(seed)
            bought: dict[int, set[tuple[int, int]]] = defaultdict(set)
            seen: dict[int, set[date]] = defaultdict(set)
            sent: dict[int, set[date]] = defaultdict(set)
            letter = world.message()
            for _ in range(5):
                who = world.person()
                for _ in range(chance.randrange(4)):
                    at = NOW - chance.randrange(120) * DAY
                    here = at.astimezone(ZONE)
                    world.happens(who, "purchase", at)
                    bought[who.pk].add((here.year, here.month))
                    seen[who.pk].add(self.week(at))
                for _ in range(chance.randrange(3)):
                    at = NOW - chance.randrange(60) * DAY
                    world.delivery(letter, who, at=at)
                    sent[who.pk].add(self.week(at))
            world.count()
            counting.keep(NOW)
            months = {one.start: (one.size, one.returned[1:]) for one in cohorts.by_first_purchase(now=NOW)}
            assert months == self.months(bought)
            weeks = {one.start: (one.size, one.returned) for one in cohorts.after_message(NOW)}
            assert weeks == self.weeks(sent, seen)
            for kind in ("message", "purchase"):
                self.averages(sheets.build("retention", cohort=kind), kind)

    @staticmethod
    def week(at: datetime) -> date:
        day = at.astimezone(ZONE).date()
        return day - day.weekday() * DAY

    @staticmethod
    def months(bought):
        found: dict[date, tuple[int, list[int]]] = {}
        for start in {min(months) for months in bought.values()}:
            cohort = [months for months in bought.values() if min(months) == start]
            ahead = 12 * (2026 - start[0]) + 3 - start[1]
            later = [divmod(12 * start[0] + start[1] - 1 + number, 12) for number in range(1, ahead + 1)]
            returned = [sum((year, month + 1) in months for months in cohort) for year, month in later]
            found[date(*start, 1)] = len(cohort), returned
        return found

    def weeks(self, sent, seen):
        found: dict[date, tuple[int, list[int]]] = {}
        for start in {week for weeks in sent.values() for week in weeks}:
            cohort = [who for who, weeks in sent.items() if start in weeks]
            ahead = (self.week(NOW) - start).days // 7
            found[start] = (
                len(cohort),
                [sum(start + 7 * n * DAY in seen[who] for who in cohort) for n in range(ahead + 1)],
            )
        return found

    @staticmethod
    def averages(sheet, kind):
        table = sheets.table(sheet, "cohorts")
        if table.total is None:
            assert not table.rows
            return
        for column in table.columns[1:]:
            known = [row for row in table.rows if row.values[column.key] is not None]
            share = table.total.values[column.key]
            if share is not None:
                assert min(row.values[column.key] for row in known) - 1e-9 <= share
                assert share <= max(row.values[column.key] for row in known) + 1e-9

    def test_large_cohorts_count_for_more_and_what_still_runs_for_nothing(self):
        found = [
            cohorts.Cohort(date(2026, 3, 2), 10, [1], 0),
            cohorts.Cohort(date(2026, 2, 23), 10, [5, 9], 1),
            cohorts.Cohort(date(2026, 2, 16), 90, [9, 9, 90], 2),
        ]
        assert cohorts.average(found) == [14 / 100, 9 / 90]
        assert cohorts.average([]) == []

    def test_it_tells_when_it_was_counted(self):
        assert "Nothing was counted" in sheets.table(sheets.build("retention"), "cohorts").empty
        counting.keep(NOW)
        sheet = sheets.build("retention")
        assert any("Counted last" in note for note in sheet.notes)
        assert sheets.queries("retention") == 3
