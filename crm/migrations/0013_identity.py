"""Merges that can be undone, names that were proven, and conflicts for a person to decide."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
from django.db import migrations, models
from django.db.models import F, Q

import crm.models.identity

MATCHES = [
    ("any", "whoever names it"),
    ("proven", "only where it is proven"),
    ("alone", "only where no other name is given"),
    ("never", "never"),
]
# What a CRM knows a person by was told by the CRM or agrees with it.
PROVE = """
    UPDATE crm_identifier i SET verified = true
    WHERE i.kind <> 'anonymous_id'
      AND EXISTS (SELECT FROM crm_identifier c WHERE c.profile_id = i.profile_id AND position(':' in c.kind) > 0)
"""


class Migration(migrations.Migration):
    dependencies = [("crm", "0012_queued_runs")]

    operations = [
        migrations.CreateModel(
            name="IdentityRules",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "order",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        default=crm.models.identity.default_order,
                        size=None,
                        verbose_name="order",
                    ),
                ),
                (
                    "external_id",
                    models.TextField(
                        choices=MATCHES,
                        db_default="any",
                        default="any",
                        verbose_name="A customer number finds a person",
                    ),
                ),
                (
                    "email",
                    models.TextField(
                        choices=MATCHES,
                        db_default="any",
                        default="any",
                        verbose_name="An email finds a person",
                    ),
                ),
                (
                    "phone",
                    models.TextField(
                        choices=MATCHES,
                        db_default="alone",
                        default="alone",
                        verbose_name="A phone finds a person",
                    ),
                ),
                (
                    "visitors",
                    models.TextField(
                        choices=[
                            ("claim", "as soon as the visitor names that person"),
                            ("proof", "only with a proof"),
                        ],
                        db_default="claim",
                        default="claim",
                        verbose_name="An anonymous visitor becomes part of a known person",
                    ),
                ),
                ("version", models.PositiveIntegerField(db_default=1, default=1, editable=False)),
                ("only", models.BooleanField(default=True, editable=False, unique=True)),
            ],
            options={"verbose_name": "identity rules", "verbose_name_plural": "identity rules"},
        ),
        migrations.CreateModel(
            name="IdentityConflict",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_id", models.BigIntegerField(verbose_name="profile")),
                ("second_id", models.BigIntegerField(db_index=True, verbose_name="other profile")),
                ("names", models.JSONField(db_default=[], default=list, verbose_name="names")),
                ("source", models.TextField(blank=True, db_default="", default="", verbose_name="source")),
                (
                    "proven",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="No: only a browser claimed it.",
                        verbose_name="proven",
                    ),
                ),
                (
                    "seen",
                    models.PositiveIntegerField(db_default=1, default=1, verbose_name="times seen"),
                ),
                (
                    "first_seen",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="first seen"
                    ),
                ),
                (
                    "last_seen",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="last seen"
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[("open", "open"), ("joined", "joined"), ("apart", "kept apart")],
                        db_default="open",
                        default="open",
                        verbose_name="state",
                    ),
                ),
                (
                    "decided_by",
                    models.TextField(blank=True, db_default="", default="", verbose_name="decided by"),
                ),
                ("decided_at", models.DateTimeField(blank=True, null=True, verbose_name="decided")),
            ],
            options={
                "verbose_name": "possible duplicate",
                "verbose_name_plural": "possible duplicates",
                "indexes": [
                    models.Index(condition=Q(state="open"), fields=["-last_seen"], name="conflict_open")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["first_id", "second_id"], name="two_people_are_one_conflict"
                    ),
                    models.CheckConstraint(
                        condition=Q(first_id__lt=F("second_id")),
                        name="the_older_profile_of_a_conflict_is_first",
                    ),
                ],
            },
        ),
        migrations.AddField(
            model_name="identifier",
            name="verified",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="A server, a CRM or a proof told it, and not only a browser.",
                verbose_name="proven",
            ),
        ),
        migrations.AddField(
            model_name="profile",
            name="sources",
            field=models.JSONField(
                blank=True, db_default={}, default=dict, editable=False, verbose_name="sources"
            ),
        ),
        migrations.AddField(
            model_name="profilemerge",
            name="moved",
            field=models.JSONField(editable=False, null=True, verbose_name="what moved"),
        ),
        migrations.AlterModelOptions(
            name="profilemerge",
            options={
                "permissions": [("merge_profile", "Can join profiles and part them again")],
                "verbose_name": "merge",
                "verbose_name_plural": "merges",
            },
        ),
        migrations.RunSQL(PROVE, migrations.RunSQL.noop),
    ]
