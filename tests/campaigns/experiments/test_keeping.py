"""Who was in what stays while it runs and for a time after its end; an alert that is over goes."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.as_code import stored
from campaigns.experiments import keeping
from campaigns.models import Broadcast, Experiment, Segment
from crm import alerts, audit
from crm.models import Alert, AuditEntry
from delivery import exposures, versions
from delivery.models import Exposure, Message, SendingRules

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def experiment(state: str, ended: int | None = None) -> str:
    made = Experiment.objects.create(
        name="x",
        slug=f"x{Experiment.objects.count()}",
        state=state,
        started_at=NOW - 300 * DAY,
        stopped_at=None if ended is None else NOW - ended * DAY,
    )
    return made.key


def test_what_runs_and_what_ended_lately_stays(monkeypatch) -> None:
    monkeypatch.setattr(keeping, "BATCH", 3)
    SendingRules.objects.filter(pk=SendingRules.of_account().pk).update(global_holdout_percent=5)
    held = Message.objects.create(slug="held", name="Held", holdout_percent=5)
    free = Message.objects.create(slug="free", name="Free")
    segment = Segment.objects.create(slug="all", name="All", rule={"all": []})
    over = Broadcast.objects.create(
        name="Over", message=held, segment=segment, holdout_percent=5, state="cancelled"
    )
    stays = {
        experiment("running"),
        experiment("stopped", 20),
        "holdout:global",
        f"holdout:message:{held.pk}",
    }
    goes = {
        experiment("stopped", 40),
        "experiment:999999",
        f"holdout:message:{free.pk}",
        f"holdout:broadcast:{over.pk}",
        "holdout:flow:999999",
    }
    counts = []
    for people in (range(1, 3), range(3, 9)):
        for name in stays | goes:
            Exposure.objects.bulk_create(
                Exposure(experiment=name, profile_id=pk, arm="a", at=NOW - 200 * DAY) for pk in people
            )
        assert keeping.forget(NOW, days=0) == 0
        with CaptureQueriesContext(connection) as seen:
            assert keeping.forget(NOW, days=30) == len(goes) * len(people)
        counts.append(sum("RECURSIVE" in each["sql"] for each in seen))
        assert set(Exposure.objects.values_list("experiment", flat=True)) == stays
    assert counts == [1, 1]
    Exposure.objects.create(experiment=f"holdout:message:{free.pk}", profile_id=1, arm="a", at=NOW - DAY)
    assert keeping.forget(NOW, days=30) == 0


def test_an_alert_that_is_over_goes_and_one_that_comes_again_stays() -> None:
    alerts.raise_alert(exposures.BROKEN, "Missed", "")
    at = Alert.objects.get(key=exposures.BROKEN).last_at
    keeping.settle_alert(at + timedelta(minutes=50))
    assert Alert.objects.get(key=exposures.BROKEN).resolved_at is None
    keeping.settle_alert(at + timedelta(minutes=70))
    assert Alert.objects.get(key=exposures.BROKEN).resolved_at is not None


def test_a_message_as_code_and_its_versions_tell_how_many_are_held_out() -> None:
    made = Message.objects.create(slug="offer", name="Offer", holdout_percent=7)
    first = versions.keep(made)
    assert first.state["fields"]["holdout_percent"] == 7
    assert stored._message(made).holdout_percent == 7
    Message.objects.filter(pk=made.pk).update(holdout_percent=9)
    made.refresh_from_db()
    second = versions.keep(made)
    assert [(each.before, each.after) for each in versions.changes(first.state, second.state)] == [("7", "9")]
    versions.restore(made.pk, first.number)
    made.refresh_from_db()
    assert made.holdout_percent == 7


def test_the_audit_log_names_experiments_whoever_wrote_it(admin_user) -> None:
    made = Experiment.objects.create(name="Short or long", slug="short")
    audit.record(admin_user, "experiment.start", made)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_admin_log (action_time, user_id, content_type_id, object_id, object_repr,"
            " action_flag, change_message) VALUES (now(), %s, %s, %s, %s, 2, '')",
            [admin_user.pk, ContentType.objects.get_for_model(Experiment).pk, made.pk, str(made)],
        )
    entries = AuditEntry.objects.filter(object_type="campaigns.experiment")
    assert set(entries.values_list("action", "object_repr")) == {
        ("experiment.start", "Short or long"),
        ("admin.changed", "Short or long"),
    }
