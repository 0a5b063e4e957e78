import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0026_app_devices"), ("delivery", "0008_policies")]

    operations = [
        migrations.CreateModel(
            name="Keywords",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("channel", models.TextField(unique=True, verbose_name="channel")),
                (
                    "stop",
                    models.TextField(
                        blank=True, default="", help_text="One a line.", verbose_name="words to leave"
                    ),
                ),
                (
                    "start",
                    models.TextField(
                        blank=True, default="", help_text="One a line.", verbose_name="words to come back"
                    ),
                ),
                (
                    "help",
                    models.TextField(
                        blank=True,
                        default="",
                        help_text="One a line.",
                        verbose_name="words that ask for help",
                    ),
                ),
                (
                    "answers",
                    models.BooleanField(
                        db_default=True,
                        default=True,
                        help_text="Confirm once that somebody left or came back, and answer who asks for help.",
                        verbose_name="answer",
                    ),
                ),
                ("texts", models.JSONField(blank=True, default=dict, verbose_name="answers by language")),
            ],
            options={
                "verbose_name": "keywords",
                "verbose_name_plural": "keywords",
                "ordering": ["channel"],
            },
        ),
        migrations.CreateModel(
            name="InboundMessage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.TextField(editable=False)),
                ("channel", models.TextField(verbose_name="channel")),
                ("address", models.TextField(verbose_name="from")),
                ("text", models.TextField(blank=True, default="", verbose_name="text")),
                (
                    "meaning",
                    models.TextField(
                        blank=True,
                        choices=[
                            ("", "something else"),
                            ("stop", "leave"),
                            ("start", "come back"),
                            ("help", "help"),
                        ],
                        default="",
                        verbose_name="understood as",
                    ),
                ),
                ("language", models.TextField(blank=True, default="", verbose_name="language of the word")),
                (
                    "reply",
                    models.TextField(
                        choices=[
                            ("none", "none"),
                            ("waiting", "waiting"),
                            ("sending", "begun"),
                            ("sent", "sent"),
                            ("failed", "failed"),
                        ],
                        default="none",
                        verbose_name="reply",
                    ),
                ),
                (
                    "reply_text",
                    models.TextField(blank=True, default="", verbose_name="words of the reply"),
                ),
                ("at", models.DateTimeField(verbose_name="when")),
                (
                    "received_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="received"
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="inbound",
                        to="delivery.account",
                        verbose_name="account",
                    ),
                ),
                (
                    "profile",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="inbound",
                        to="crm.profile",
                        verbose_name="profile",
                    ),
                ),
            ],
            options={
                "verbose_name": "message from a person",
                "verbose_name_plural": "messages from people",
                "indexes": [
                    models.Index(
                        models.F("channel"),
                        models.F("address"),
                        models.OrderBy(models.F("at"), descending=True),
                        name="inbound_by_address",
                    ),
                    models.Index(models.OrderBy(models.F("at"), descending=True), name="inbound_by_time"),
                    models.Index(
                        condition=models.Q(("reply", "waiting")), fields=["id"], name="inbound_reply_waiting"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("account", "key"), name="inbound_messages_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="WhatsAppTemplate",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("external_id", models.TextField(verbose_name="number at the provider")),
                ("name", models.TextField(verbose_name="name")),
                ("language", models.TextField(verbose_name="language")),
                ("category", models.TextField(blank=True, default="", verbose_name="category")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("approved", "approved"),
                            ("pending", "being looked at"),
                            ("paused", "paused"),
                            ("rejected", "rejected"),
                            ("other", "not usable"),
                            ("gone", "deleted at the provider"),
                        ],
                        verbose_name="state",
                    ),
                ),
                ("reason", models.TextField(blank=True, default="", verbose_name="reason")),
                ("components", models.JSONField(default=list, verbose_name="parts")),
                ("synced_at", models.DateTimeField(verbose_name="read")),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="templates",
                        to="delivery.account",
                        verbose_name="account",
                    ),
                ),
            ],
            options={
                "verbose_name": "WhatsApp template",
                "verbose_name_plural": "WhatsApp templates",
                "ordering": ["name", "language"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("account", "name", "language"), name="one_template_per_name_and_language"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="EmailImage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("file", models.FileField(upload_to="email/", verbose_name="file")),
                ("name", models.TextField(verbose_name="name")),
                (
                    "alt",
                    models.TextField(
                        help_text="For those who do not see the picture.", verbose_name="description"
                    ),
                ),
                ("content_type", models.TextField(editable=False)),
                ("width", models.PositiveIntegerField(editable=False, verbose_name="width")),
                ("height", models.PositiveIntegerField(editable=False, verbose_name="height")),
                ("size", models.PositiveIntegerField(editable=False, verbose_name="bytes")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="uploaded",
                    ),
                ),
            ],
            options={
                "verbose_name": "picture",
                "verbose_name_plural": "pictures",
                "ordering": ["-pk"],
            },
        ),
        migrations.CreateModel(
            name="EmailLayout",
            fields=[
                ("digest", models.TextField(primary_key=True, serialize=False)),
                ("parts", models.JSONField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name": "email layout",
                "verbose_name_plural": "email layouts",
            },
        ),
    ]
