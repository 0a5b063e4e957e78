"""Changes of watched fields as events of the log; see crm/attribute_changes.py."""

import django.contrib.postgres.fields
from django.db import migrations, models

COLUMNS = [
    *("external_id", "email", "phone", "first_name", "last_name", "language", "timezone", "country", "city"),
    *("latitude", "longitude", "birthday", "lifecycle_stage"),
]


def value(row: str) -> str:
    """A watched field of a profile's row as JSON; NULL when it is missing."""
    columns = " ".join(f"WHEN '{name}' THEN to_jsonb({row}.{name})" for name in COLUMNS)
    return f"""CASE WHEN w.path IS NULL THEN CASE w.field {columns} END
                    ELSE nullif({row}.attributes #> w.path, 'null') END"""


# A month without a table must not keep anybody from writing: months are made far ahead, and what comes of one that was
# closed would be refused in any case.
STORE = """
        INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source)
        SELECT gen_random_uuid(), profile_id, 'attribute_changed', statement_timestamp(),
            jsonb_build_object('field', field, 'from', crm_change_value(was, outlined),
                'to', crm_change_value(now, outlined)), 'nudge'
        FROM (CHANGES) AS changed WHERE now IS DISTINCT FROM was;
    EXCEPTION WHEN check_violation THEN
        RAISE WARNING 'No table of the log takes changes of this month';
    END;
    RETURN NULL;
END $$;
"""
QUIET = """
    IF NOT EXISTS (SELECT FROM crm_attributewatch WHERE {whom}) OR
            current_setting('nudge.changes_unrecorded', true) = 'on' THEN
        RETURN NULL;
    END IF;
    BEGIN"""
VALUE = """
CREATE FUNCTION crm_change_value(value jsonb, outlined boolean) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN value IS NULL THEN 'null'::jsonb WHEN outlined THEN '"•••"'::jsonb
        WHEN length(value::text) > 2000 THEN '"…"'::jsonb ELSE value END
$$;
"""
OF_PROFILES = f"""
CREATE FUNCTION crm_attribute_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN{QUIET.format(whom="attribute_id IS NULL")}{
    STORE.replace(
        "CHANGES",
        f'''SELECT n.id AS profile_id, w.field, w.outlined, {value("o")} AS was,
                {value("n")} AS now
            FROM now_rows n JOIN was_rows o USING (id) CROSS JOIN crm_attributewatch w
            WHERE w.attribute_id IS NULL''',
    )
}
CREATE TRIGGER attribute_changed AFTER UPDATE ON crm_profile REFERENCING OLD TABLE AS was_rows NEW TABLE AS now_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm_attribute_changed();
"""
# Values that are only just being computed for everybody change by a definition, and nobody did anything.
COMPUTED = "coalesce(to_jsonb({row}.number), to_jsonb({row}.text), to_jsonb({row}.at))"
SERVED = """JOIN crm_attributewatch w ON w.attribute_id = {row}.attribute_id
            JOIN crm_computedattribute a ON a.id = {row}.attribute_id AND a.served AND a.state = 'live'"""
NOW, WAS = (f"coalesce({COMPUTED.format(row=row)}, nullif(w.fallback, 'null'))" for row in ("n", "o"))
CHANGES = {
    "INSERT": f"""SELECT n.profile_id, w.field, w.outlined, nullif(w.fallback, 'null') AS was, {NOW} AS now
            FROM now_rows n {SERVED.format(row="n")}""",
    "UPDATE": f"""SELECT n.profile_id, w.field, w.outlined, {WAS} AS was, {NOW} AS now
            FROM now_rows n JOIN was_rows o USING (profile_id, attribute_id) {SERVED.format(row="n")}""",
    "DELETE": f"""SELECT o.profile_id, w.field, w.outlined, {WAS} AS was, nullif(w.fallback, 'null') AS now
            FROM was_rows o {SERVED.format(row="o")} JOIN crm_profile p ON p.id = o.profile_id""",
}
ROWS = {
    "INSERT": "NEW TABLE AS now_rows",
    "UPDATE": "OLD TABLE AS was_rows NEW TABLE AS now_rows",
    "DELETE": "OLD TABLE AS was_rows",
}
OF_COMPUTED = "".join(
    f"""
CREATE FUNCTION crm_computed_changed_by_{operation.lower()}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN{QUIET.format(whom="attribute_id IS NOT NULL")}{STORE.replace("CHANGES", changes)}
CREATE TRIGGER attribute_changed_by_{operation.lower()} AFTER {operation} ON crm_computedvalue
    REFERENCING {ROWS[operation]} FOR EACH STATEMENT EXECUTE FUNCTION crm_computed_changed_by_{operation.lower()}();
"""
    for operation, changes in CHANGES.items()
)
DROP = (
    "DROP TRIGGER attribute_changed ON crm_profile; DROP FUNCTION crm_attribute_changed();"
    + "".join(
        f"DROP TRIGGER attribute_changed_by_{name} ON crm_computedvalue; DROP FUNCTION crm_computed_changed_by_{name}();"
        for name in map(str.lower, CHANGES)
    )
    + "DROP FUNCTION crm_change_value(jsonb, boolean);"
)


class Migration(migrations.Migration):
    dependencies = [("crm", "0023_indexed_attributes")]

    operations = [
        migrations.CreateModel(
            name="AttributeWatch",
            fields=[
                ("field", models.TextField(primary_key=True, serialize=False)),
                (
                    "path",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), null=True, size=None
                    ),
                ),
                ("attribute_id", models.BigIntegerField(null=True)),
                ("fallback", models.JSONField(null=True)),
                ("outlined", models.BooleanField(default=False)),
            ],
            options={"default_permissions": ()},
        ),
        migrations.RunSQL(VALUE + OF_PROFILES + OF_COMPUTED, DROP),
    ]
