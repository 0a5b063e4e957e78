import datetime

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("analytics", "0003_goals"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="SavedReport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("report", models.SlugField(verbose_name="report")),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("params", models.JSONField(blank=True, default=dict, verbose_name="parameters")),
                (
                    "shared",
                    models.TextField(
                        choices=[("private", "only me"), ("everyone", "everybody who may see this report")],
                        default="private",
                        verbose_name="who sees it",
                    ),
                ),
                (
                    "every",
                    models.TextField(
                        blank=True,
                        choices=[
                            ("", "not by email"),
                            ("day", "every day"),
                            ("week", "every week"),
                            ("month", "every month"),
                        ],
                        default="",
                        verbose_name="send",
                    ),
                ),
                (
                    "weekday",
                    models.SmallIntegerField(
                        choices=[
                            (0, "Monday"),
                            (1, "Tuesday"),
                            (2, "Wednesday"),
                            (3, "Thursday"),
                            (4, "Friday"),
                            (5, "Saturday"),
                            (6, "Sunday"),
                        ],
                        default=0,
                        verbose_name="weekday",
                    ),
                ),
                (
                    "day",
                    models.SmallIntegerField(
                        default=1,
                        help_text="In shorter months it is the last day.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(31),
                        ],
                        verbose_name="day of the month",
                    ),
                ),
                (
                    "at",
                    models.TimeField(
                        default=datetime.time(8, 0),
                        help_text="By the clock of the account's time zone.",
                        verbose_name="at",
                    ),
                ),
                (
                    "attach",
                    models.TextField(
                        blank=True,
                        choices=[
                            ("xlsx", "an Excel workbook"),
                            ("csv", "a CSV file of each table"),
                            ("", "nothing"),
                        ],
                        default="xlsx",
                        verbose_name="attached",
                    ),
                ),
                (
                    "only",
                    models.TextField(
                        blank=True,
                        choices=[
                            ("", "always"),
                            ("filled", "if there is anything in it"),
                            ("changed", "if it is another than the last time"),
                        ],
                        default="",
                        verbose_name="when",
                    ),
                ),
                ("paused", models.BooleanField(default=False, verbose_name="paused")),
                ("next_at", models.DateTimeField(editable=False, null=True, verbose_name="next")),
                ("last_due", models.DateTimeField(editable=False, null=True)),
                ("last_digest", models.TextField(blank=True, default="", editable=False)),
                ("last_sent_at", models.DateTimeField(editable=False, null=True, verbose_name="sent last")),
                (
                    "last_error",
                    models.TextField(blank=True, default="", editable=False, verbose_name="problem"),
                ),
                ("told_broken", models.BooleanField(default=False, editable=False)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="of",
                    ),
                ),
            ],
            options={
                "verbose_name": "saved report",
                "verbose_name_plural": "saved reports",
                "ordering": ["name", "pk"],
                "permissions": [
                    ("export_report", "Can export reports"),
                    ("mail_report", "Can have reports mailed to other users"),
                    ("mail_report_outside", "Can have reports mailed to any address"),
                    ("manage_savedreports", "Can change everybody's saved reports"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReportRecipient",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "address",
                    models.EmailField(
                        blank=True, default="", max_length=254, verbose_name="or an email address"
                    ),
                ),
                (
                    "language",
                    models.TextField(
                        choices=[("en", "English"), ("ar", "Arabic"), ("pl", "Polish")],
                        default="en",
                        verbose_name="language",
                    ),
                ),
                ("left_at", models.DateTimeField(editable=False, null=True, verbose_name="wanted no more")),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
                (
                    "saved",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="recipients",
                        to="analytics.savedreport",
                    ),
                ),
            ],
            options={
                "verbose_name": "recipient",
                "verbose_name_plural": "recipients",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="ReportMail",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("due_at", models.DateTimeField(verbose_name="due")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "waiting"),
                            ("sending", "being sent"),
                            ("sent", "sent"),
                            ("skipped", "not sent"),
                            ("failed", "failed"),
                        ],
                        default="waiting",
                        verbose_name="state",
                    ),
                ),
                ("tries", models.SmallIntegerField(default=0)),
                ("try_at", models.DateTimeField()),
                ("detail", models.TextField(blank=True, default="", verbose_name="detail")),
                ("settled_at", models.DateTimeField(null=True, verbose_name="settled")),
                (
                    "recipient",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="mails",
                        to="analytics.reportrecipient",
                    ),
                ),
                (
                    "saved",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="mails",
                        to="analytics.savedreport",
                    ),
                ),
            ],
            options={
                "verbose_name": "mailed report",
                "verbose_name_plural": "mailed reports",
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="savedreport",
            index=models.Index(
                condition=models.Q(("next_at__isnull", False)), fields=["next_at"], name="saved_report_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="savedreport",
            constraint=models.UniqueConstraint(
                fields=("owner", "report", "name"), name="saved_report_has_a_name"
            ),
        ),
        migrations.AddConstraint(
            model_name="reportrecipient",
            constraint=models.UniqueConstraint(
                condition=models.Q(("user__isnull", False)),
                fields=("saved", "user"),
                name="user_gets_report_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="reportrecipient",
            constraint=models.UniqueConstraint(
                condition=models.Q(("address", ""), _negated=True),
                fields=("saved", "address"),
                name="address_gets_report_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="reportrecipient",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("address", ""), ("user__isnull", False)),
                    models.Q(("user__isnull", True), models.Q(("address", ""), _negated=True)),
                    _connector="OR",
                ),
                name="recipient_is_user_or_address",
            ),
        ),
        migrations.AddIndex(
            model_name="reportmail",
            index=models.Index(
                condition=models.Q(("state__in", ["waiting", "sending"])),
                fields=["try_at"],
                name="report_mail_waiting",
            ),
        ),
        migrations.AddConstraint(
            model_name="reportmail",
            constraint=models.UniqueConstraint(fields=("recipient", "due_at"), name="one_mail_per_due_time"),
        ),
    ]
