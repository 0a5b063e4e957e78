"""Goals and rates of exchange over REST."""

from datetime import timedelta

import pytest

from analytics.goals import own, recompute
from analytics.models import ExchangeRate, Goal
from analytics.reports import attributed
from analytics.reports.filters import Filters
from analytics.reports.periods import Period
from crm import api_keys
from tests.analytics import world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ask(client):
    keys = {scope: api_keys.create(scope, [scope])[1] for scope in ("read", "write")}

    def call(path: str, data=None, scope: str = ""):
        scope = scope or ("read" if data is None else "write")
        headers = {"HTTP_AUTHORIZATION": f"Bearer {keys[scope]}"}
        if data is None:
            return client.get(f"/api/v1/{path}", **headers)
        return client.post(f"/api/v1/{path}", data, content_type="application/json", **headers)

    return call


def test_goals_come_with_what_every_model_does(ask):
    own.goal()
    recompute.save(Goal(slug="bought", name="Bought", event="purchase", view_hours={"webpush": 6}))
    found = ask("goals/?limit=1").json()
    assert [goal["slug"] for goal in found["goals"]] == [own.SLUG]
    found = ask(f"goals/?limit=1&cursor={found['next_cursor']}").json()
    [bought] = found["goals"]
    assert found["next_cursor"] is None
    assert ask("goals/bought/").json() == bought
    assert set(bought["models"]) == set(Goal.Model.values)
    assert (bought["view_hours"], bought["credits"]["running"]) == ({"webpush": 6}, True)
    assert ask("goals/none/").status_code == 404
    assert ask("goals/", scope="write").status_code == 403


def test_good_rates_go_in_beside_bad_ones_and_convert_what_was_earned(ask):
    recompute.save(goal := Goal(slug="bought", name="Bought", event="purchase"))
    ann = world.person()
    world.engages(world.delivery(world.message(), ann), "clicked")
    world.happens(ann, "purchase", NOW, total=10, currency="USD")
    world.read()
    day = NOW.date().isoformat()
    good = {"day": day, "currency": "usd", "rate": "0.5"}
    bad = [{**good, "rate": 0}, {**good, "currency": "EUR"}, {"day": day}, {**good, "day": "monday"}, 7]
    told = ask("exchange-rates/", {"rates": [bad[0], good, *bad[1:]]})
    assert told.status_code == 200
    rejected = told.json().pop("rejected")
    assert [(row["index"], row["field"]) for row in rejected] == [
        *((0, "rate"), (2, "currency"), (3, "currency"), (4, "day"), (5, "")),
    ]
    assert (told.json()["created"], told.json()["updated"]) == (1, 0)
    recompute.run(pause=0)
    found = attributed.by("", Period(NOW.date(), NOW.date()), Filters(goal=goal.pk))
    assert found[()].now.earned == {"EUR": 5}
    assert ask("exchange-rates/", {"rates": [good]}).json()["unchanged"] == 1
    assert not recompute.progress(Goal.objects.get()).running, "nothing has changed"
    more = [{**good, "day": (NOW + timedelta(days=n)).date().isoformat(), "rate": n} for n in (1, 2)]
    assert ask("exchange-rates/", {"rates": more}).json()["created"] == 2
    found = ask(f"exchange-rates/?since={day}&currency=USD&limit=2").json()
    assert [row["rate"] for row in found["rates"]] == [0.5, 1.0]
    rest = ask(f"exchange-rates/?since={day}&currency=USD&limit=2&cursor={found['next_cursor']}").json()
    assert [row["rate"] for row in rest["rates"]] == [2.0]
    first = [{**good, "currency": "USD", "rate": 0.5}]
    assert ask(f"exchange-rates/?until={day}").json()["rates"] == first
    assert ask(f"exchange-rates/?until={day}&currency=usd").json()["rates"] == first
    assert ask("exchange-rates/?currency=gbp").json()["rates"] == []


def test_what_is_no_batch_is_refused_as_a_whole(ask):
    row = {"day": "2026-03-02", "currency": "USD", "rate": 1}
    for rows in ([], [row] * 1001):
        assert ask("exchange-rates/", {"rates": rows}).json()["error"]["code"] == "invalid_batch"
    assert ask("exchange-rates/", {"rates": [row]}, scope="read").status_code == 403
    assert ask("exchange-rates/?since=yesterday").json()["error"]["field"] == "since"
    assert not ExchangeRate.objects.exists()
