import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0009_lifecycle")]

    operations = [
        migrations.CreateModel(
            name="Backtest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("definition", models.JSONField(verbose_name="definition")),
                ("days", models.PositiveSmallIntegerField(verbose_name="days")),
                ("until", models.DateTimeField(verbose_name="until")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("running", "in work"),
                            ("done", "done"),
                            ("cancelled", "cancelled"),
                            ("failed", "failed"),
                        ],
                        default="running",
                        verbose_name="state",
                    ),
                ),
                ("progress", models.FloatField(db_default=0, default=0, verbose_name="progress")),
                ("tries", models.PositiveSmallIntegerField(db_default=0, default=0, verbose_name="tries")),
                ("result", models.JSONField(null=True, verbose_name="result")),
                ("seconds", models.FloatField(db_default=0, default=0, verbose_name="seconds of work")),
                ("problem", models.TextField(blank=True, db_default="", default="", verbose_name="problem")),
                ("started_by", models.TextField(blank=True, db_default="", default="", verbose_name="by")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="asked for"
                    ),
                ),
                ("worked_at", models.DateTimeField(null=True, verbose_name="last worked on")),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
                (
                    "flow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="backtests",
                        to="campaigns.flow",
                        verbose_name="flow",
                    ),
                ),
            ],
            options={
                "verbose_name": "dry run of a flow",
                "verbose_name_plural": "dry runs of flows",
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "running")),
                        fields=["worked_at"],
                        name="backtests_in_work",
                    ),
                    models.Index(fields=["flow", "-created_at"], name="backtests_of_a_flow"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("days__gte", 1), ("days__lte", 90)),
                        name="a_backtest_has_1_to_90_days",
                    )
                ],
            },
        ),
    ]
