import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0010_backtests"), ("delivery", "0004_flow_policies")]

    operations = [
        migrations.CreateModel(
            name="BroadcastPiece",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first", models.PositiveIntegerField()),
                ("size", models.PositiveIntegerField()),
                (
                    "profile_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[("waiting", "Waiting"), ("queued", "Queued"), ("cancelled", "Cancelled")],
                        default="waiting",
                    ),
                ),
                ("queued", models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="broadcast",
            name="a_launched_broadcast_has_an_audience",
        ),
        migrations.RunSQL(
            "UPDATE campaigns_broadcast SET state = 'sending' WHERE state = 'launched'",
            "UPDATE campaigns_broadcast SET state = 'launched' WHERE audience IS NOT NULL",
        ),
        migrations.AddField(
            model_name="broadcast",
            name="day",
            field=models.DateField(blank=True, null=True, verbose_name="day"),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="exclusions",
            field=models.ManyToManyField(
                blank=True,
                db_table="campaigns_broadcast_exclusion",
                related_name="+",
                to="campaigns.segment",
                verbose_name="but nobody in",
            ),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="finished_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="finished at"),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="last_day",
            field=models.DateField(blank=True, null=True, verbose_name="last day"),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="next_slot",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="occurrence",
            field=models.DateTimeField(editable=False, null=True, verbose_name="occurrence"),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="origin",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="occurrences",
                to="campaigns.broadcast",
                verbose_name="repeats",
            ),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="paused_from",
            field=models.TextField(db_default="", default="", editable=False),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="per_minute",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="At most so many; empty for as fast as possible.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="messages per minute",
            ),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="priority",
            field=models.SmallIntegerField(
                db_default=3,
                default=3,
                help_text="1 goes first, 5 last.",
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(5),
                ],
                verbose_name="priority",
            ),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="problem",
            field=models.TextField(db_default="", default="", editable=False, verbose_name="problem"),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="releasing",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="repeat",
            field=models.TextField(
                blank=True,
                choices=[
                    ("", "never"),
                    ("daily", "every day"),
                    ("weekly", "on days of the week"),
                    ("monthly", "on a day of the month"),
                ],
                db_default="",
                default="",
                verbose_name="repeat",
            ),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="started_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="started"),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="starts_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="starts"),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="time",
            field=models.TimeField(blank=True, null=True, verbose_name="time"),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="weekdays",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.SmallIntegerField(),
                blank=True,
                db_default=[],
                default=list,
                size=None,
                verbose_name="weekdays",
            ),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="when",
            field=models.TextField(
                choices=[
                    ("now", "at once"),
                    ("at", "at a time"),
                    ("local", "at a time in each person's own zone"),
                    ("best", "at each person's best hour"),
                ],
                db_default="now",
                default="now",
                verbose_name="when",
            ),
        ),
        migrations.AddField(
            model_name="broadcast",
            name="when_limited",
            field=models.TextField(
                choices=[("defer", "put off until it fits"), ("skip", "not sent")],
                db_default="defer",
                default="defer",
                verbose_name="in quiet hours or at a limit",
            ),
        ),
        migrations.AlterField(
            model_name="broadcast",
            name="state",
            field=models.TextField(
                choices=[
                    ("draft", "draft"),
                    ("scheduled", "scheduled"),
                    ("repeating", "repeating"),
                    ("expanding", "queueing"),
                    ("sending", "sending"),
                    ("paused", "paused"),
                    ("cancelled", "cancelled"),
                    ("finished", "finished"),
                ],
                default="draft",
                editable=False,
                verbose_name="state",
            ),
        ),
        migrations.AddIndex(
            model_name="broadcast",
            index=models.Index(
                condition=models.Q(
                    ("state__in", ["scheduled", "repeating", "expanding", "sending", "paused"]),
                    models.Q(("finished_at", None), ("state", "cancelled")),
                    _connector="OR",
                ),
                fields=["state"],
                name="broadcast_unfinished",
            ),
        ),
        migrations.AddConstraint(
            model_name="broadcast",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["expanding", "sending", "finished"]), _negated=True),
                    models.Q(("audience__isnull", False), ("launched_at__isnull", False)),
                    models.Q(("repeat", ""), _negated=True),
                    _connector="OR",
                ),
                name="a_started_broadcast_has_an_audience",
            ),
        ),
        migrations.AddConstraint(
            model_name="broadcast",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["scheduled", "repeating"]), _negated=True),
                    ("starts_at__isnull", False),
                    _connector="OR",
                ),
                name="what_waits_for_its_time_has_one",
            ),
        ),
        migrations.AddConstraint(
            model_name="broadcast",
            constraint=models.UniqueConstraint(
                fields=("origin", "occurrence"), name="one_broadcast_per_occurrence"
            ),
        ),
        migrations.AddField(
            model_name="broadcastpiece",
            name="broadcast",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="pieces", to="campaigns.broadcast"
            ),
        ),
        migrations.AddIndex(
            model_name="broadcastpiece",
            index=models.Index(
                condition=models.Q(("state", "waiting")),
                fields=["broadcast", "first"],
                name="broadcast_pieces_left",
            ),
        ),
        migrations.AddConstraint(
            model_name="broadcastpiece",
            constraint=models.UniqueConstraint(fields=("broadcast", "first"), name="pieces_do_not_overlap"),
        ),
    ]
