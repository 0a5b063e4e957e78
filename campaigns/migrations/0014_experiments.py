import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0013_after_trials"),
        ("delivery", "0015_holdouts"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="broadcast",
            name="holdout_percent",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="Percent of people who do not get it, always the same ones, to show what it brings.",
                validators=[django.core.validators.MaxValueValidator(90)],
                verbose_name="held out",
            ),
        ),
        migrations.CreateModel(
            name="Experiment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.TextField(verbose_name="name")),
                ("slug", models.SlugField(unique=True, verbose_name="short name")),
                (
                    "subject",
                    models.TextField(
                        choices=[
                            ("message", "variants of a message"),
                            ("step", "branches of a random split"),
                            ("broadcast", "a broadcast"),
                            ("holdout", "a holdout"),
                        ],
                        default="message",
                        verbose_name="what is tried out",
                    ),
                ),
                (
                    "step",
                    models.TextField(blank=True, db_default="", default="", verbose_name="random split"),
                ),
                ("arms", models.JSONField(blank=True, db_default=[], default=list, verbose_name="arms")),
                (
                    "mode",
                    models.TextField(
                        choices=[
                            ("measure", "only measure"),
                            ("winner", "go on with the winner"),
                            ("bandit", "give better arms more people while it runs"),
                        ],
                        default="measure",
                        verbose_name="what happens",
                    ),
                ),
                (
                    "metric",
                    models.TextField(
                        choices=[
                            ("conversion", "people who reach the goal"),
                            ("value", "what they are worth"),
                        ],
                        default="conversion",
                        verbose_name="compared by",
                    ),
                ),
                ("goal_event", models.TextField(default="purchase", verbose_name="goal")),
                (
                    "window_hours",
                    models.PositiveIntegerField(
                        default=72,
                        help_text="From when somebody comes into it.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(2160),
                        ],
                        verbose_name="hours that count",
                    ),
                ),
                (
                    "value_property",
                    models.TextField(
                        blank=True,
                        db_default="total",
                        default="total",
                        verbose_name="event property with the amount",
                    ),
                ),
                (
                    "guard_rails",
                    models.BooleanField(
                        default=True,
                        help_text="An arm that makes certainly more people leave is not made the winner.",
                        verbose_name="watch unsubscribes and complaints",
                    ),
                ),
                (
                    "smallest",
                    models.FloatField(
                        blank=True,
                        help_text="In points of percent of the people; in money per person where values are compared.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0.0)],
                        verbose_name="smallest difference worth knowing",
                    ),
                ),
                ("fewest_people", models.PositiveIntegerField(db_default=100, default=100, editable=False)),
                ("tuned_for", models.PositiveIntegerField(db_default=10000, default=10000, editable=False)),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("draft", "draft"),
                            ("running", "running"),
                            ("decided", "decided"),
                            ("stopped", "stopped"),
                        ],
                        default="draft",
                        editable=False,
                        verbose_name="state",
                    ),
                ),
                ("periods", models.JSONField(db_default=[], default=list, editable=False)),
                (
                    "alarmed_at",
                    models.DateTimeField(
                        editable=False, null=True, verbose_name="sizes of the arms wrong since"
                    ),
                ),
                ("decision", models.JSONField(editable=False, null=True, verbose_name="decision")),
                ("started_at", models.DateTimeField(editable=False, null=True, verbose_name="started")),
                ("decided_at", models.DateTimeField(editable=False, null=True, verbose_name="decided at")),
                ("stopped_at", models.DateTimeField(editable=False, null=True, verbose_name="stopped at")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created",
                    ),
                ),
                (
                    "broadcast",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="experiments",
                        to="campaigns.broadcast",
                        verbose_name="broadcast",
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "flow",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="experiments",
                        to="campaigns.flow",
                        verbose_name="flow",
                    ),
                ),
                (
                    "message",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="experiments",
                        to="delivery.message",
                        verbose_name="message",
                    ),
                ),
            ],
            options={
                "verbose_name": "experiment",
                "verbose_name_plural": "experiments",
                "ordering": ["-created_at", "-pk"],
                "permissions": [("run_experiment", "Can start, stop and decide experiments")],
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "running")),
                        fields=["subject"],
                        name="experiment_running",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state", "draft"), ("started_at__isnull", False), _connector="OR"
                        ),
                        name="what_runs_was_started",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "running"), ("subject", "message")),
                        fields=("message",),
                        name="one_experiment_at_a_time_per_message",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "running"), ("subject", "step")),
                        fields=("flow", "step"),
                        name="one_experiment_at_a_time_per_step",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "running"), ("subject", "broadcast")),
                        fields=("broadcast",),
                        name="one_experiment_at_a_time_per_broadcast",
                    ),
                ],
            },
        ),
    ]
