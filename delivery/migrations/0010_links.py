import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the outbox is large: indexes are built while it goes on being used

    dependencies = [("delivery", "0009_channels")]

    operations = [
        migrations.CreateModel(
            name="LinkHit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("link", models.PositiveSmallIntegerField(null=True, verbose_name="link")),
                ("at", models.DateTimeField(verbose_name="when")),
                (
                    "user_agent",
                    models.TextField(blank=True, db_default="", default="", verbose_name="program"),
                ),
                (
                    "purpose",
                    models.TextField(blank=True, db_default="", default="", verbose_name="announced purpose"),
                ),
                (
                    "verdict",
                    models.TextField(
                        blank=True,
                        choices=[
                            ("", "not judged yet"),
                            ("person", "a person"),
                            ("proxy", "a person, through a proxy"),
                            ("machine", "a machine"),
                        ],
                        db_default="",
                        default="",
                        verbose_name="followed by",
                    ),
                ),
                ("reason", models.TextField(blank=True, db_default="", default="", verbose_name="because")),
                (
                    "rules",
                    models.PositiveSmallIntegerField(
                        db_default=0, default=0, verbose_name="version of the rules"
                    ),
                ),
            ],
            options={
                "verbose_name": "followed link",
                "verbose_name_plural": "followed links",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="LinkSettings",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "short_domain",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Such as https://go.example.com, leading to this server. Empty: the address of this server itself.",
                        verbose_name="own short domain",
                    ),
                ),
                (
                    "untracked_channels",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        db_default=[],
                        default=list,
                        size=None,
                        verbose_name="channels without tracked links",
                    ),
                ),
                (
                    "track_opens",
                    models.BooleanField(
                        db_default=True,
                        default=True,
                        help_text="By a tiny picture at the end. What machines fetch is told apart and not counted.",
                        verbose_name="count opened emails",
                    ),
                ),
                (
                    "own_hosts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        db_default=[],
                        default=list,
                        help_text="Such as example.com, with all that ends with it. Their links carry the words below.",
                        size=None,
                        verbose_name="own sites",
                    ),
                ),
                (
                    "untouched_hosts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        db_default=[],
                        default=list,
                        help_text="Sites whose links stay as they are, since a phone opens them in an app.",
                        size=None,
                        verbose_name="links that open apps",
                    ),
                ),
                (
                    "utm_source",
                    models.TextField(blank=True, db_default="", default="", verbose_name="utm_source"),
                ),
                (
                    "utm_medium",
                    models.TextField(blank=True, db_default="", default="", verbose_name="utm_medium"),
                ),
                (
                    "utm_campaign",
                    models.TextField(blank=True, db_default="", default="", verbose_name="utm_campaign"),
                ),
                (
                    "utm_content",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="{message}, {channel} and {variant} stand for the message's short name, its channel and variant. What a link says itself stays. Empty: not added.",
                        verbose_name="utm_content",
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        auto_now=True,
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="changed",
                    ),
                ),
            ],
            options={
                "verbose_name": "links",
                "verbose_name_plural": "links",
            },
        ),
        migrations.AlterModelOptions(
            name="delivery",
            options={
                "permissions": [
                    ("export_delivery", "Can export deliveries"),
                    ("resend_delivery", "Can send failed messages again"),
                ],
                "verbose_name": "delivery",
                "verbose_name_plural": "deliveries",
            },
        ),
        migrations.AddField(
            model_name="delivery",
            name="links",
            field=models.JSONField(
                blank=True, db_default=[], default=list, verbose_name="where its links lead"
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="tracking",
            field=models.TextField(
                blank=True,
                choices=[("", "as the settings of links say"), ("on", "yes"), ("off", "no")],
                db_default="",
                default="",
                verbose_name="count clicks and opens",
            ),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="message",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="deliveries",
                to="delivery.message",
                verbose_name="message",
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(fields=["-queued_at", "-id"], name="delivery_by_time"),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(fields=["channel", "-queued_at", "-id"], name="delivery_by_channel_and_time"),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(fields=["message", "-queued_at", "-id"], name="delivery_by_message_and_time"),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state__in", ["suppressed", "failed", "expired"])),
                fields=["state", "-queued_at", "-id"],
                name="delivery_not_sent_by_time",
            ),
        ),
        migrations.AddField(
            model_name="linkhit",
            name="delivery",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="hits",
                to="delivery.delivery",
                verbose_name="delivery",
            ),
        ),
        migrations.AddConstraint(
            model_name="linksettings",
            constraint=models.CheckConstraint(condition=models.Q(("pk", 1)), name="one_row_of_link_settings"),
        ),
        migrations.AddIndex(
            model_name="linkhit",
            index=models.Index(fields=["rules", "at"], name="link_hit_to_judge"),
        ),
    ]
