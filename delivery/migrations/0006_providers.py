import crm.fields
import delivery.models.providers
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crm", "0025_publishing_keys"),
        ("delivery", "0005_coupons"),
    ]

    operations = [
        migrations.CreateModel(
            name="ProviderReport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.TextField()),
                ("provider_id", models.TextField(verbose_name="number at the provider")),
                ("kind", models.TextField(verbose_name="what happened")),
                ("detail", models.TextField(blank=True, db_default="", default="", verbose_name="detail")),
                ("at", models.DateTimeField(verbose_name="when")),
                (
                    "received_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="received"
                    ),
                ),
            ],
            options={
                "verbose_name": "provider's report",
                "verbose_name_plural": "providers' reports",
            },
        ),
        migrations.CreateModel(
            name="SandboxItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("provider_id", models.TextField(unique=True)),
                ("address", models.TextField(verbose_name="to")),
                ("payload", models.JSONField(verbose_name="as given to the provider")),
                (
                    "received_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="received"
                    ),
                ),
            ],
            options={
                "verbose_name": "sandbox message",
                "verbose_name_plural": "sandbox messages",
            },
        ),
        migrations.AddField(
            model_name="attempt",
            name="address",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="address"),
        ),
        migrations.AddField(
            model_name="attempt",
            name="cost",
            field=models.DecimalField(decimal_places=6, max_digits=12, null=True, verbose_name="cost"),
        ),
        migrations.AddField(
            model_name="attempt",
            name="provider_id",
            field=models.TextField(
                blank=True, db_default="", default="", verbose_name="number at the provider"
            ),
        ),
        migrations.CreateModel(
            name="Account",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.TextField(unique=True, verbose_name="name")),
                ("slug", models.SlugField(unique=True, verbose_name="short name")),
                ("channel", models.TextField(verbose_name="channel")),
                ("provider", models.TextField(verbose_name="provider")),
                ("config", models.JSONField(blank=True, default=dict, verbose_name="settings")),
                (
                    "credentials",
                    crm.fields.EncryptedJSONField(blank=True, default=dict, verbose_name="credentials"),
                ),
                (
                    "purpose",
                    models.TextField(
                        choices=[
                            ("any", "everything"),
                            ("marketing", "marketing only"),
                            ("transactional", "transactional messages only"),
                        ],
                        default="any",
                        verbose_name="used for",
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[("active", "active"), ("paused", "paused")],
                        default="active",
                        verbose_name="state",
                    ),
                ),
                ("usual", models.BooleanField(default=True, verbose_name="used by default")),
                (
                    "per_second",
                    models.FloatField(
                        blank=True,
                        help_text="What the provider allows; empty for as fast as it goes.",
                        null=True,
                        verbose_name="messages a second",
                    ),
                ),
                (
                    "cost_per_part",
                    models.DecimalField(
                        blank=True,
                        decimal_places=6,
                        max_digits=12,
                        null=True,
                        verbose_name="cost of one part",
                    ),
                ),
                ("currency", models.CharField(blank=True, default="", max_length=3, verbose_name="currency")),
                (
                    "callback_key",
                    models.TextField(
                        default=delivery.models.providers.callback_key, editable=False, unique=True
                    ),
                ),
                ("failures", models.PositiveIntegerField(db_default=0, default=0, editable=False)),
                ("held_until", models.DateTimeField(editable=False, null=True, verbose_name="held until")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created",
                    ),
                ),
            ],
            options={
                "verbose_name": "sending account",
                "verbose_name_plural": "sending accounts",
                "ordering": ["channel", "name"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "active"), ("usual", True)),
                        fields=("channel", "purpose"),
                        name="one_usual_account_per_channel_and_purpose",
                        violation_error_message="Another account of this channel is used by default already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("per_second__isnull", True), ("per_second__gt", 0), _connector="OR"
                        ),
                        name="account_rate_is_positive",
                    ),
                ],
            },
        ),
        migrations.AddField(
            model_name="attempt",
            name="account",
            field=models.ForeignKey(
                db_index=False,  # built by 0012, while attempts go on being written
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="delivery.account",
                verbose_name="account",
            ),
        ),
        migrations.AddField(
            model_name="providerreport",
            name="account",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="reports", to="delivery.account"
            ),
        ),
        migrations.AddField(
            model_name="providerreport",
            name="delivery",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="reports",
                to="delivery.delivery",
            ),
        ),
        migrations.AddField(
            model_name="sandboxitem",
            name="account",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="items", to="delivery.account"
            ),
        ),
        migrations.AddField(
            model_name="sandboxitem",
            name="delivery",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="sandboxed",
                to="delivery.delivery",
                verbose_name="delivery",
            ),
        ),
        migrations.AddIndex(
            model_name="providerreport",
            index=models.Index(
                condition=models.Q(("delivery", None)),
                fields=["account", "provider_id"],
                name="provider_report_unmatched",
            ),
        ),
        migrations.AddConstraint(
            model_name="providerreport",
            constraint=models.UniqueConstraint(fields=("account", "key"), name="provider_reports_once"),
        ),
        migrations.AddIndex(
            model_name="sandboxitem",
            index=models.Index(fields=["-received_at"], name="sandbox_by_time"),
        ),
    ]
