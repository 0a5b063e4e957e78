"""Holdouts, what the clock is to start, and who is let in because they qualified before."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0007_memberships_by_person"),
        ("crm", "0024_attribute_changes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="FlowSchedule",
            fields=[
                (
                    "flow",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="schedule",
                        serialize=False,
                        to="campaigns.flow",
                    ),
                ),
                ("since", models.DateTimeField()),
                ("reached", models.DateTimeField()),
                ("after", models.BigIntegerField(null=True)),
                ("changes_seen", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="enrollment",
            name="holdout",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Got nothing, for comparison.",
                verbose_name="held out",
            ),
        ),
        migrations.CreateModel(
            name="CatchUp",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("days", models.PositiveIntegerField(verbose_name="days looked back")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("looking", "looking for people"),
                            ("starting", "letting people in"),
                            ("done", "done"),
                            ("ended", "ended with the flow"),
                            ("failed", "failed"),
                        ],
                        default="looking",
                        verbose_name="state",
                    ),
                ),
                ("found", models.PositiveIntegerField(default=0, verbose_name="found")),
                ("handled", models.PositiveIntegerField(default=0, verbose_name="handled")),
                ("entered", models.PositiveIntegerField(default=0, verbose_name="entered")),
                ("refused", models.JSONField(default=dict, verbose_name="not let in, by reason")),
                ("error", models.TextField(blank=True, default="", verbose_name="error")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="started"
                    ),
                ),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "flow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="catch_ups",
                        to="campaigns.flow",
                    ),
                ),
            ],
            options={
                "verbose_name": "catch-up",
                "verbose_name_plural": "catch-ups",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="CatchUpPerson",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("event_id", models.UUIDField(null=True)),
                ("context", models.JSONField(null=True)),
                ("mark", models.TextField(db_default="", default="")),
                (
                    "catch_up",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="people",
                        to="campaigns.catchup",
                    ),
                ),
                (
                    "profile",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="crm.profile"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["catch_up", "id"], name="catch_up_in_order")],
            },
        ),
        migrations.CreateModel(
            name="FlowMoment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                (
                    "flow",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="campaigns.flow",
                    ),
                ),
                (
                    "profile",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="crm.profile"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["flow", "at"], name="coming_moments")],
                "constraints": [
                    models.UniqueConstraint(fields=("flow", "profile"), name="one_coming_moment_per_person")
                ],
            },
        ),
    ]
