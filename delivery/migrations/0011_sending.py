import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

import crm.fields


class Migration(migrations.Migration):
    atomic = False  # the outbox is large: indexes are built while it goes on being used

    dependencies = [("delivery", "0010_links")]

    operations = [
        migrations.AddField(
            model_name="account",
            name="next_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="account",
            name="trips",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="delivery",
            name="transactional",
            field=models.BooleanField(db_default=False, default=False, verbose_name="transactional"),
        ),
        migrations.AlterField(
            model_name="sandboxitem",
            name="delivery",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="sandboxed",
                to="delivery.delivery",
                verbose_name="delivery",
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state__in", ["queued", "deferred"])),
                fields=["channel", "transactional", "due_at"],
                name="delivery_lane",
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state__in", ["queued", "deferred"])),
                fields=["channel", "transactional", "priority", "due_at"],
                name="delivery_lane_by_priority",
            ),
        ),
        # The indexes by profile and time, and by message and state, begin with these columns.
        migrations.AlterField(
            model_name="delivery",
            name="profile",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="crm.profile",
                verbose_name="profile",
            ),
        ),
        RemoveIndexConcurrently(model_name="delivery", name="delivery_waiting"),
        RemoveIndexConcurrently(model_name="delivery", name="delivery_waiting_by_priority"),
        migrations.CreateModel(
            name="EventStream",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True, verbose_name="name")),
                ("url", models.TextField(verbose_name="address")),
                (
                    "names",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), size=None, verbose_name="events"
                    ),
                ),
                (
                    "api_only",
                    models.BooleanField(default=False, verbose_name="only messages that the API asked for"),
                ),
                (
                    "message_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(),
                        blank=True,
                        default=list,
                        size=None,
                        verbose_name="messages",
                    ),
                ),
                ("tells_numbers", models.BooleanField(default=False, verbose_name="tell customer numbers")),
                (
                    "secret",
                    crm.fields.EncryptedJSONField(default=dict, editable=False, verbose_name="secret"),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("active", "active"),
                            ("failing", "failing, tried again"),
                            ("paused", "paused"),
                        ],
                        default="active",
                        editable=False,
                        verbose_name="state",
                    ),
                ),
                ("why", models.TextField(blank=True, default="", editable=False)),
                (
                    "last_status",
                    models.PositiveIntegerField(editable=False, null=True, verbose_name="last answer"),
                ),
                ("last_error", models.TextField(blank=True, default="", editable=False)),
                ("last_at", models.DateTimeField(editable=False, null=True, verbose_name="last call")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created",
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="changed",
                    ),
                ),
            ],
            options={
                "verbose_name": "event stream",
                "verbose_name_plural": "event streams",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="StreamCall",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("events", models.JSONField(default=list, verbose_name="events")),
                ("count", models.PositiveIntegerField(verbose_name="events")),
                ("trial", models.BooleanField(default=False, verbose_name="test")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "waiting"),
                            ("taken", "taken"),
                            ("failed", "not taken"),
                            ("left_out", "left out"),
                        ],
                        default="waiting",
                        verbose_name="state",
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, verbose_name="tries")),
                ("began_at", models.DateTimeField(null=True, verbose_name="first tried")),
                ("next_at", models.DateTimeField(null=True, verbose_name="next try")),
                ("status_code", models.PositiveIntegerField(null=True, verbose_name="HTTP status")),
                ("error", models.TextField(blank=True, default="", verbose_name="error")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="made",
                    ),
                ),
                ("finished_at", models.DateTimeField(null=True, verbose_name="finished")),
                (
                    "stream",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="calls",
                        to="delivery.eventstream",
                        verbose_name="event stream",
                    ),
                ),
            ],
            options={
                "verbose_name": "call of an event stream",
                "verbose_name_plural": "calls of event streams",
                "indexes": [
                    models.Index(fields=["stream", "id"], name="stream_call_by_stream"),
                    models.Index(
                        condition=models.Q(("state", "waiting")),
                        fields=["stream", "id"],
                        name="stream_call_waiting",
                    ),
                    models.Index(
                        condition=models.Q(("finished_at__isnull", False)),
                        fields=["finished_at"],
                        name="stream_call_finished",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state", "waiting"),
                            models.Q(("finished_at__isnull", False), ("next_at", None)),
                            _connector="OR",
                        ),
                        name="a_stream_call_waits_or_has_ended",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "waiting"), _negated=True),
                            ("next_at__isnull", False),
                            _connector="OR",
                        ),
                        name="a_waiting_stream_call_is_due",
                    ),
                ],
            },
        ),
    ]
