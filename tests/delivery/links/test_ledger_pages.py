"""Leafing through the ledger: every delivery once, as quick at its far end as at its newest."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm.models import Profile
from delivery import ledger
from delivery.admin import keyset
from delivery.models import Delivery, Message
from tests.delivery import world
from tests.delivery.links.test_ledger import LIST, fill
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(client: Any, settings: Any) -> Any:
    settings.UNFOLD = {**settings.UNFOLD, "SIDEBAR": {"navigation": []}}
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    return client


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5))
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_row_is_on_one_page_there_and_back(minutes: list[int], size: int) -> None:
    Delivery.objects.all().delete()
    message = Message.objects.filter(slug="m").first() or world.message("m")
    person = Profile.objects.first() or world.person(1)
    for number, minute in enumerate(minutes):  # many at the same instant, as broadcasts queue them
        Delivery.objects.create(
            cause=f"c{number}", message=message, profile=person, channel="memory", origin_type="api",
            queued_at=NOW + timedelta(minutes=minute), due_at=NOW, expires_at=NOW,
        )  # fmt: skip
    rows = Delivery.objects.all()
    pages = [keyset.page(rows, size)]
    while pages[-1].older:
        pages.append(keyset.page(rows, size, older=keyset.read(pages[-1].older)))
    wanted = list(rows.order_by("-queued_at", "-pk"))
    assert [row for page in pages for row in page.rows] == wanted
    for before, page in zip(pages, pages[1:], strict=False):
        assert keyset.page(rows, size, newer=keyset.read(page.newer)).rows == before.rows
    assert not pages[0].newer


def test_a_page_far_behind_costs_what_the_first_one_does(boss: Any) -> None:
    fill(world.message("sale"), 5_000)
    far = Delivery.objects.order_by("queued_at")[100]
    for query in ("?", "?channel=sms&", "?state__exact=failed&"):
        with CaptureQueriesContext(connection) as captured:
            page = boss.get(f"{LIST}{query}older={keyset.written(far)}")
        assert page.status_code == 200
        told = [each["sql"] for each in captured if 'FROM "delivery_delivery"' in each["sql"]]
        [read] = [sql for sql in told if "LIMIT" in sql]
        assert not re.search(r"COUNT\(|OFFSET", " ".join(told))
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + read)
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert re.search(r"Index Cond: .*ROW\(queued_at, id\) < ROW", plan), plan
        assert "Sort" not in plan
        assert "Seq Scan on delivery_delivery" not in plan
    text = boss.get(LIST).content.decode()
    [older] = re.findall(r'href="(\?older=[0-9-]+)"', text)
    second = boss.get(LIST + older).content.decode()
    assert "newer=" in second
    assert f"/delivery/delivery/{Delivery.objects.order_by('-queued_at')[25].pk}/change" in second


@pytest.mark.parametrize("place", ["x", "1", "1-", "-1", "1-2-3", "9" * 30 + "-1", "٣-1", "1-\x00"])
def test_an_odd_place_leads_back_to_the_list(boss: Any, place: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        keyset.read(place)
    assert boss.get(LIST, {"older": place}).status_code == 302


def test_files_and_totals_are_of_the_whole_list_whatever_page_is_shown(boss: Any) -> None:
    fill(world.message("sale"), 70)
    place = keyset.written(Delivery.objects.order_by("queued_at")[5])
    wanted = f"?state__exact=failed&older={place}"
    assert "<b>10</b>" in boss.get(f"{LIST}totals/{wanted}").content.decode()
    assert "<b>10</b>" in boss.get(f"{LIST}resend/{wanted}").content.decode()
    lines = b"".join(boss.post(f"{LIST}export/{wanted}", {"form": "csv"}).streaming_content).splitlines()
    assert len(lines) == 11
    assert boss.get(f"{LIST}export/?older={place}").status_code == 302, "a page is no filter"


def test_what_can_not_be_counted_in_time_is_not_tried(monkeypatch: Any) -> None:
    fill(world.message("sale"), 700)
    monkeypatch.setattr(ledger, "COUNTABLE", 600)
    with CaptureQueriesContext(connection) as captured:
        found = ledger.totals(Delivery.objects.all())
    assert not found.exact
    assert all(each["sql"].startswith("EXPLAIN") for each in captured)
    assert 600 < found.total < 800
