import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import crm.fields


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0011_broadcasts_in_full")]

    operations = [
        migrations.AddField(
            "enrollment",
            "converted_at",
            models.DateTimeField(blank=True, null=True, verbose_name="reached the goal"),
        ),
        migrations.AddField(
            "enrollment",
            "goal_value",
            models.DecimalField(
                blank=True, decimal_places=4, max_digits=18, null=True, verbose_name="value of the goal"
            ),
        ),
        migrations.RemoveIndex("enrollment", "enrollment_active"),
        migrations.AlterField(
            "enrollment",
            "flow",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="enrollments",
                to="campaigns.flow",
                verbose_name="flow",
            ),
        ),
        migrations.AlterField(
            "enrollment",
            "version",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="enrollments",
                to="campaigns.flowversion",
            ),
        ),
        migrations.AlterField(
            "decision",
            "enrollment",
            models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="decisions",
                to="campaigns.enrollment",
            ),
        ),
        migrations.AlterField(
            "decision",
            "flow",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="campaigns.flow",
            ),
        ),
        migrations.AlterField(
            "decision",
            "profile",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="decisions",
                to="crm.profile",
            ),
        ),
        migrations.CreateModel(
            name="WebhookHost",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("origin", models.TextField(unique=True, verbose_name="host")),
                ("failures", models.PositiveIntegerField(default=0, verbose_name="failures in a row")),
                ("open_until", models.DateTimeField(blank=True, null=True, verbose_name="left alone until")),
                ("error", models.TextField(blank=True, default="", verbose_name="error")),
            ],
            options={
                "verbose_name": "called host",
                "verbose_name_plural": "called hosts",
                "ordering": ["origin"],
            },
        ),
        migrations.CreateModel(
            name="WebhookKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("secret", crm.fields.EncryptedJSONField(help_text="base64 of 32 bytes")),
                (
                    "made_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="made",
                    ),
                ),
                (
                    "signs_until",
                    models.DateTimeField(blank=True, editable=False, null=True, verbose_name="signs until"),
                ),
            ],
            options={
                "verbose_name": "webhook key",
                "verbose_name_plural": "webhook keys",
                "ordering": ["-pk"],
            },
        ),
        migrations.CreateModel(
            name="CrmWrite",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("step", models.TextField(verbose_name="step")),
                ("wanted", models.JSONField(default=dict, verbose_name="values")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "waiting"),
                            ("written", "written"),
                            ("refused", "refused"),
                            ("nobody", "the CRM does not know the person"),
                        ],
                        default="waiting",
                        verbose_name="state",
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, verbose_name="tries")),
                ("error", models.TextField(blank=True, default="", verbose_name="why it was refused")),
                ("asked_at", models.DateTimeField(verbose_name="asked")),
                ("due_at", models.DateTimeField(blank=True, null=True, verbose_name="due")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                (
                    "connection",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="crm.connection",
                        verbose_name="CRM connection",
                    ),
                ),
                (
                    "enrollment",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="campaigns.enrollment",
                        verbose_name="run",
                    ),
                ),
                (
                    "flow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="campaigns.flow",
                        verbose_name="flow",
                    ),
                ),
                (
                    "profile",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="crm.profile",
                        verbose_name="profile",
                    ),
                ),
            ],
            options={
                "verbose_name": "write into a CRM",
                "verbose_name_plural": "writes into CRMs",
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)),
                        fields=["connection", "due_at"],
                        name="crm_write_due",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("enrollment", "step", "connection"), name="one_crm_write_per_run_and_step"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="WebhookCall",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("step", models.TextField(verbose_name="step")),
                ("url", models.TextField(verbose_name="address")),
                ("method", models.TextField(verbose_name="method")),
                ("headers", models.JSONField(blank=True, default=dict, verbose_name="headers")),
                ("body", models.TextField(blank=True, default="", verbose_name="body")),
                ("awaited", models.BooleanField(default=False, verbose_name="the run waits for it")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "waiting"),
                            ("answered", "answered"),
                            ("failed", "failed"),
                            ("expired", "no answer in time"),
                        ],
                        default="waiting",
                        verbose_name="state",
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, verbose_name="tries")),
                ("due_at", models.DateTimeField(blank=True, null=True, verbose_name="due")),
                ("expires_at", models.DateTimeField(verbose_name="given up at")),
                (
                    "status_code",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="HTTP status"),
                ),
                ("reply", models.JSONField(blank=True, null=True, verbose_name="reply")),
                ("error", models.TextField(blank=True, default="", verbose_name="error")),
                ("asked_at", models.DateTimeField(verbose_name="asked")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                (
                    "enrollment",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="campaigns.enrollment",
                        verbose_name="run",
                    ),
                ),
                (
                    "flow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="campaigns.flow",
                        verbose_name="flow",
                    ),
                ),
                (
                    "profile",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="crm.profile",
                        verbose_name="profile",
                    ),
                ),
                (
                    "host",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="campaigns.webhookhost",
                        verbose_name="host",
                    ),
                ),
            ],
            options={
                "verbose_name": "webhook call",
                "verbose_name_plural": "webhook calls",
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)),
                        fields=["host", "due_at"],
                        name="webhook_call_due",
                    ),
                    models.Index(
                        condition=models.Q(("finished_at__isnull", False)),
                        fields=["finished_at"],
                        name="webhook_call_finished",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("enrollment", "step"), name="one_webhook_call_per_run_and_step"
                    )
                ],
            },
        ),
    ]
