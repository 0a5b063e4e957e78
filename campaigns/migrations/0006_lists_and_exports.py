import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0005_segment_pages"),
        ("crm", "0008_uploads"),
    ]

    operations = [
        migrations.CreateModel(
            name="ListJob",
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
                            ("file", "file"),
                            ("people", "chosen people"),
                            ("segment", "segment"),
                            ("rule", "rule"),
                        ],
                        verbose_name="from",
                    ),
                ),
                (
                    "mode",
                    models.TextField(
                        choices=[
                            ("add", "add to the list"),
                            ("remove", "remove from the list"),
                            ("replace", "replace the list"),
                        ],
                        default="add",
                        verbose_name="what to do",
                    ),
                ),
                ("name", models.TextField(blank=True, default="", verbose_name="file or segment")),
                ("rule", models.JSONField(blank=True, null=True, verbose_name="rule")),
                ("encoding", models.TextField(default="utf-8", verbose_name="encoding")),
                ("columns", models.JSONField(blank=True, default=list, verbose_name="columns")),
                (
                    "create_unknown",
                    models.BooleanField(default=False, verbose_name="make profiles of people nobody knows"),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("draft", "not started"),
                            ("running", "in work"),
                            ("done", "done"),
                            ("cancelled", "cancelled"),
                            ("failed", "failed"),
                        ],
                        default="draft",
                        verbose_name="state",
                    ),
                ),
                (
                    "position",
                    models.BigIntegerField(default=0, verbose_name="rows settled, unreadable ones included"),
                ),
                ("settled_bytes", models.BigIntegerField(default=0, verbose_name="bytes settled, about")),
                ("rows", models.BigIntegerField(default=0, verbose_name="rows")),
                ("added", models.BigIntegerField(default=0, verbose_name="added")),
                ("removed", models.BigIntegerField(default=0, verbose_name="removed")),
                ("known", models.BigIntegerField(default=0, verbose_name="no change")),
                ("created", models.BigIntegerField(default=0, verbose_name="new profiles")),
                ("rejected", models.BigIntegerField(default=0, verbose_name="rejected")),
                ("seconds", models.FloatField(default=0, verbose_name="seconds of work")),
                ("problem", models.TextField(blank=True, default="", verbose_name="problem")),
                ("started_by", models.TextField(blank=True, default="", verbose_name="by")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="asked for"
                    ),
                ),
                ("worked_at", models.DateTimeField(null=True, verbose_name="last worked on")),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
                (
                    "found",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="crm.upload",
                    ),
                ),
                (
                    "list",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="list_jobs",
                        to="campaigns.segment",
                    ),
                ),
                (
                    "upload",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="crm.upload",
                    ),
                ),
            ],
            options={
                "verbose_name": "filling of a list",
                "verbose_name_plural": "fillings of lists",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="ListJobReject",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("row", models.BigIntegerField(verbose_name="row")),
                ("code", models.TextField(verbose_name="code")),
                ("field", models.TextField(blank=True, default="", verbose_name="column")),
                ("detail", models.TextField(verbose_name="reason")),
                ("values", models.JSONField(default=dict, verbose_name="row's content")),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rejects",
                        to="campaigns.listjob",
                    ),
                ),
            ],
            options={
                "verbose_name": "rejected row of a list",
                "verbose_name_plural": "rejected rows of lists",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="MemberExport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("columns", models.JSONField(default=list, verbose_name="columns")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("running", "being written"),
                            ("done", "ready"),
                            ("cancelled", "cancelled"),
                            ("failed", "failed"),
                            ("expired", "expired"),
                        ],
                        default="running",
                        verbose_name="state",
                    ),
                ),
                ("position", models.BigIntegerField(default=0)),
                ("rows", models.BigIntegerField(default=0, verbose_name="rows")),
                ("total", models.BigIntegerField(default=0, verbose_name="members when it began")),
                ("size", models.BigIntegerField(default=0, verbose_name="bytes")),
                ("seconds", models.FloatField(default=0, verbose_name="seconds of work")),
                ("problem", models.TextField(blank=True, default="", verbose_name="problem")),
                ("started_by", models.TextField(blank=True, default="", verbose_name="by")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="asked for"
                    ),
                ),
                ("worked_at", models.DateTimeField(null=True, verbose_name="last worked on")),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
                ("expires_at", models.DateTimeField(null=True, verbose_name="kept until")),
                (
                    "segment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="exports",
                        to="campaigns.segment",
                    ),
                ),
            ],
            options={
                "verbose_name": "export of members",
                "verbose_name_plural": "exports of members",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="ExportPart",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("content", models.BinaryField(null=True)),
                (
                    "export",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="campaigns.memberexport",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="listjob",
            index=models.Index(
                condition=models.Q(("state", "running")), fields=["worked_at"], name="list_jobs_in_work"
            ),
        ),
        migrations.AddConstraint(
            model_name="listjobreject",
            constraint=models.UniqueConstraint(fields=("job", "row"), name="a_list_row_is_rejected_once"),
        ),
        migrations.AddIndex(
            model_name="memberexport",
            index=models.Index(
                condition=models.Q(("state", "running")), fields=["worked_at"], name="exports_in_work"
            ),
        ),
        migrations.AddConstraint(
            model_name="exportpart",
            constraint=models.UniqueConstraint(
                fields=("export", "number"), name="one_export_part_per_number"
            ),
        ),
    ]
