"""What arrives while values are computed counts once, whatever is killed, and however many write at once."""

import random
import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from crm import computed, log
from crm.computed import backfill, compute, definitions, keeping, work
from crm.models import Alert, ComputedAttribute, ComputedValue, LogCursor, Profile
from tests.crm.concurrently import run, until_readable

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = {"kind": "count", "event": "order"}


def people(number: int) -> list[int]:
    return [person.pk for person in Profile.objects.bulk_create(Profile() for _ in range(number))]


def order(*profile_ids: int, **properties) -> None:
    now = timezone.now()
    log.append([log.NewEvent(uuid.uuid4(), pk, "order", now, properties, "test") for pk in profile_ids])


def fill() -> None:
    until_readable()
    while backfill.run(60):
        pass


def keep() -> None:
    until_readable()
    work.keep()


def orders(slug="orders") -> dict[int, int]:
    return {
        pk: values[slug]
        for pk, values in computed.values(Profile.objects.values_list("pk", flat=True)).items()
    }


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(backfill, "FIRST_CHUNK", 1)
    monkeypatch.setattr(backfill, "LEAST_CHUNK", 1)
    monkeypatch.setattr(backfill, "TARGET_SECONDS", 0)


def test_what_arrives_between_two_chunks_counts_once(small_chunks, monkeypatch):
    first, second, third = people(3)
    definitions.create("Other", "other", COUNT)
    fill()
    order(first, second, second)
    keep()
    definitions.create("Orders", "orders", COUNT)
    real, arrivals = backfill._chunk, []

    def chunk(*args):
        real(*args)
        if not arrivals:
            arrivals.append(people(1)[0])
            order(first, second, third, arrivals[0])
            keep()  # the reader passes these for the other attribute, which is live

    monkeypatch.setattr(backfill, "_chunk", chunk)
    fill()
    assert orders() == {first: 2, second: 3, third: 1, arrivals[0]: 1}
    order(third)
    keep()
    assert orders() == orders("other") == {first: 2, second: 3, third: 2, arrivals[0]: 1}


def test_a_kill_in_the_middle_of_a_chunk_loses_that_chunk_only(small_chunks, monkeypatch):
    ids = people(3)
    order(*ids)
    attribute = definitions.create("Orders", "orders", COUNT)
    real, calls = compute.store, []

    def store(*args):
        real(*args)
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(backfill, "store", store)
    with pytest.raises(KeyboardInterrupt):
        backfill.run(60)
    attribute.refresh_from_db()
    assert (attribute.reached, ComputedValue.objects.count()) == (ids[0], 1)
    assert 0 < attribute.progress < 1
    assert computed.values(ids) == {pk: {} for pk in ids}
    fill()
    assert orders() == dict.fromkeys(ids, 1)


def test_another_definition_meanwhile_wins(monkeypatch):
    [person] = people(1)
    order(person)
    attribute = definitions.create("Orders", "orders", COUNT)
    real = compute.store

    def store(*args):
        real(*args)
        monkeypatch.setattr(backfill, "store", real)
        run(lambda: definitions.change(attribute, config={"kind": "last", "event": "order", "property": "x"}))

    monkeypatch.setattr(backfill, "store", store)
    fill()
    assert orders() == {person: None}


def test_what_a_slow_transaction_commits_late_is_found():
    ids = people(4)
    definitions.create("Orders", "orders", COUNT)
    fill()
    stop = threading.Event()

    def write(seed: int) -> int:
        chance, written = random.Random(seed), 0
        for _ in range(12):
            with transaction.atomic():
                order(*ids)
                stop.wait(chance.random() / 100)
            written += 1
        return written

    def follow() -> None:
        while not stop.is_set():
            keeping.read(limit=7)

    def write_all() -> int:
        done = sum(run(*(lambda seed=seed: write(seed) for seed in range(3))))
        stop.set()
        return done

    written, _nothing = run(write_all, follow)
    keep()
    assert orders() == dict.fromkeys(ids, written)


def test_the_cursor_moves_only_with_the_values(monkeypatch):
    [person] = people(1)
    definitions.create("Orders", "orders", COUNT)
    fill()
    order(person)
    until_readable()

    def broken(*args):
        raise RuntimeError

    real = keeping.store
    monkeypatch.setattr(keeping, "store", broken)
    with pytest.raises(RuntimeError):
        keeping.read()
    monkeypatch.setattr(keeping, "store", real)
    keep()
    assert orders() == {person: 1}


def test_costs_do_not_grow_with_people_and_events(django_assert_num_queries):
    ids = people(40)
    definitions.create("Orders", "orders", COUNT)
    fill()
    keeping.read()  # the first time makes the cursor
    for some in (ids[:2], ids):
        order(*some, *some)
        until_readable()
        with django_assert_num_queries(14):
            keeping.read()
    with django_assert_num_queries(1):
        computed.values(ids)


def test_a_definition_that_can_no_longer_be_read_is_taken_out_of_use(django_capture_on_commit_callbacks):
    [person] = people(1)
    attribute = definitions.create("Orders", "orders", COUNT)
    fill()
    ComputedAttribute.objects.update(config={"kind": "gone"})
    order(person)
    keep()
    attribute.refresh_from_db()
    assert (attribute.state, attribute.served) == ("failed", False)
    assert Alert.objects.filter(resolved_at=None).count() == 1
    definitions.change(attribute, config=COUNT)
    fill()
    assert orders() == {person: 1}
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_values_of_a_deleted_attribute_are_swept_up_in_portions():
    ids = people(5)
    order(*ids)
    definitions.create("Kept", "kept", COUNT)
    attribute = definitions.create("Orders", "orders", COUNT)
    fill()
    definitions.delete(attribute)
    assert [keeping.sweep_up(3), keeping.sweep_up(3), keeping.sweep_up(3)] == [3, 2, 0]
    assert orders("kept") == dict.fromkeys(ids, 1)


def test_days_since_are_never_stale():
    [person] = people(1)
    definitions.create("Quiet", "quiet", {"kind": "days_since", "event": "order"})
    order(person)
    fill()
    now = timezone.now()
    days = [
        computed.values([person], now=now + timedelta(days=n, hours=1))[person]["quiet"] for n in (0, 1, 30)
    ]
    assert days == [0, 1, 30]
    [line] = computed.shown(person, now)
    assert (line.label, line.text) == ("Quiet", "0")
    assert line.fresh_at <= now


def test_a_statement_that_takes_too_long_is_tried_with_fewer_people(monkeypatch):
    ids = people(8)
    order(*ids)
    definitions.create("Orders", "orders", COUNT)
    monkeypatch.setattr(backfill, "FIRST_CHUNK", 8)
    monkeypatch.setattr(backfill, "LEAST_CHUNK", 1)
    real, sizes = compute.store, []

    def store(attribute_id, kind, scope, now):
        found = Profile.objects.filter(pk__gt=scope.after, pk__lte=scope.upto or 0).count()
        sizes.append(found)
        if found > 2:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 1")
                cursor.execute("SELECT pg_sleep(1)")
        real(attribute_id, kind, scope, now)

    monkeypatch.setattr(backfill, "store", store)
    fill()
    assert sizes[:2] == [8, 2]
    assert orders() == dict.fromkeys(ids, 1)


@pytest.mark.parametrize(
    ("statement", "lives"),
    [("SELECT pg_sleep(1)", [True, True]), ("SELECT 1 / 0", [True, False])],
)
def test_an_attribute_that_fails_keeps_no_other_from_being_kept(monkeypatch, statement, lives):
    ids = people(8)
    for slug in ("good", "bad"):
        definitions.create(slug, slug, COUNT)
    fill()
    bad = ComputedAttribute.objects.get(slug="bad").pk
    real = keeping.store

    def store(attribute_id, kind, scope, now):
        if attribute_id == bad and len(scope.ids) > 2:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 1")
                cursor.execute(statement)
        real(attribute_id, kind, scope, now)

    monkeypatch.setattr(keeping, "store", store)
    monkeypatch.setattr(keeping, "BATCH", 20)
    monkeypatch.setattr(keeping, "LEAST_BATCH", 2)
    order(*ids)
    keep()
    assert orders("good") == dict.fromkeys(ids, 1)
    assert list(ComputedAttribute.objects.order_by("-slug").values_list("served", flat=True)) == lives
    assert Alert.objects.filter(resolved_at=None).count() == lives.count(False)


def test_without_attributes_the_log_is_not_read():
    order(*people(1))
    keep()
    assert not LogCursor.objects.filter(name=keeping.CURSOR).exists()
