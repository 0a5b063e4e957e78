import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

STATES = [
    ("draft", "draft"),
    ("live", "live"),
    ("paused", "paused"),
    ("finishing", "finishing"),
    ("stopped", "stopped"),
]
PERMISSIONS = [
    ("publish_flow", "Can publish, pause and stop flows"),
    ("enroll_flow", "Can enrol people into flows and end their runs"),
]


def user(**options):
    return models.ForeignKey(
        null=True,
        on_delete=django.db.models.deletion.SET_NULL,
        related_name="+",
        to=settings.AUTH_USER_MODEL,
        **options,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0008_triggers"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField("flowrevision", "undone", models.BooleanField(db_default=False, default=False)),
        migrations.AlterField(
            "flow", "state", models.TextField(choices=STATES, default="draft", verbose_name="state")
        ),
        migrations.AlterModelOptions(
            "flow",
            options={
                "ordering": ["name"],
                "permissions": PERMISSIONS,
                "verbose_name": "flow",
                "verbose_name_plural": "flows",
            },
        ),
        migrations.CreateModel(
            name="FlowSettings",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "approval_required",
                    models.BooleanField(
                        default=False,
                        help_text="A flow goes live only after somebody else who may publish has approved"
                        " this very draft.",
                        verbose_name="a second person approves",
                    ),
                ),
            ],
            options={
                "verbose_name": "settings of flows",
                "verbose_name_plural": "settings of flows",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("pk", 1)), name="one_row_of_flow_settings")
                ],
            },
        ),
        migrations.CreateModel(
            name="FlowApproval",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("revision", models.PositiveIntegerField(verbose_name="revision")),
                ("definition", models.JSONField(verbose_name="draft")),
                ("note", models.TextField(blank=True, default="", verbose_name="note")),
                ("asked_at", models.DateTimeField(verbose_name="asked")),
                (
                    "answer",
                    models.TextField(
                        blank=True,
                        choices=[
                            ("", "waiting"),
                            ("approved", "approved"),
                            ("declined", "declined"),
                            ("void", "void, as the draft was changed"),
                        ],
                        default="",
                        verbose_name="answer",
                    ),
                ),
                ("answer_note", models.TextField(blank=True, default="", verbose_name="note of the answer")),
                ("decided_at", models.DateTimeField(null=True, verbose_name="answered")),
                ("asked_by", user()),
                ("decided_by", user()),
                (
                    "flow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="approvals",
                        to="campaigns.flow",
                    ),
                ),
            ],
            options={
                "verbose_name": "approval of a flow",
                "verbose_name_plural": "approvals of flows",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("answer", "")),
                        fields=("flow",),
                        name="one_waiting_approval_per_flow",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("answer", ""), ("decided_at__isnull", False), _connector="OR"),
                        name="an_answer_has_a_time",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="FlowJob",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("move", "moving people to a new version"),
                            ("end", "ending runs"),
                            ("enroll", "enrolling people"),
                        ],
                        verbose_name="kind",
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("running", "running"),
                            ("done", "done"),
                            ("cancelled", "cancelled"),
                            ("failed", "failed"),
                        ],
                        default="running",
                        verbose_name="state",
                    ),
                ),
                (
                    "details",
                    models.JSONField(default=dict, help_text="What is to be done, as its kind asks for it."),
                ),
                ("after", models.BigIntegerField(default=0, help_text="The last number that was looked at.")),
                ("total", models.PositiveIntegerField(default=0, verbose_name="of")),
                ("done", models.PositiveIntegerField(default=0, verbose_name="done")),
                ("outcome", models.JSONField(default=dict, help_text="How many of each outcome.")),
                ("problem", models.TextField(blank=True, default="", verbose_name="problem")),
                (
                    "started_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="started"
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
                ("started_by", user()),
                (
                    "flow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="jobs",
                        to="campaigns.flow",
                    ),
                ),
            ],
            options={
                "verbose_name": "change of runs",
                "verbose_name_plural": "changes of runs",
                "indexes": [
                    models.Index(fields=["flow", "-id"], name="flow_jobs"),
                    models.Index(
                        condition=models.Q(("state", "running")), fields=["id"], name="flow_jobs_running"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state", "running"), ("ended_at__isnull", False), _connector="OR"
                        ),
                        name="a_flow_job_that_ended_has_a_time",
                    )
                ],
            },
        ),
    ]
