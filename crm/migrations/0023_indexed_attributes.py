"""Attributes with columns of their own; see crm/indexed_attributes.py."""

import django.db.models.functions.datetime
from django.db import migrations, models

# The values that an index can hold: JSON's texts, numbers, true and false, and nothing for whatever else. Rules compare
# with numbers between -1.8e308 and 1.8e308 of at most 341 decimals, so it changes no answer that what lies beyond is
# brought near: above 1e309 to that, and the decimals after the 400th to one more.
FUNCTION = """
CREATE FUNCTION crm_index_value(value jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value)
        WHEN 'string' THEN CASE WHEN octet_length(value #>> '{}') <= 600 THEN value END
        WHEN 'boolean' THEN value
        WHEN 'number' THEN CASE
            WHEN abs(value::numeric) >= 1e309 THEN to_jsonb(sign(value::numeric) * 1e309)
            WHEN scale(value::numeric) > 400 AND trunc(value::numeric, 400) <> value::numeric
                THEN to_jsonb(trunc(value::numeric, 400) + sign(value::numeric) * 1e-401)
            ELSE value END
    END
$$
"""


class Migration(migrations.Migration):
    dependencies = [("crm", "0022_changes")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION crm_index_value(jsonb)"),
        migrations.CreateModel(
            name="IndexedAttribute",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("path", models.TextField(unique=True, verbose_name="attribute")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("adding", "waiting for its column"),
                            ("filling", "being filled"),
                            ("indexing", "being indexed"),
                            ("ready", "in use"),
                            ("failed", "failed"),
                            ("removing", "being removed"),
                        ],
                        default="adding",
                        editable=False,
                        verbose_name="state",
                    ),
                ),
                ("reached", models.BigIntegerField(default=0, editable=False)),
                ("goal", models.BigIntegerField(default=0, editable=False)),
                ("error", models.TextField(blank=True, default="", editable=False, verbose_name="error")),
                ("ready_at", models.DateTimeField(editable=False, null=True, verbose_name="in use since")),
                ("removed_at", models.DateTimeField(editable=False, null=True)),
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
                "verbose_name": "indexed attribute",
                "verbose_name_plural": "indexed attributes",
                "ordering": ["path"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("path", ""), _negated=True),
                        name="an_indexed_attribute_names_something",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="profile",
            index=models.Index(
                condition=models.Q(("latitude__isnull", False)),
                fields=["latitude", "longitude"],
                include=("id",),
                name="profile_by_place",
            ),
        ),
    ]
