import django.contrib.postgres.fields
from django.db import migrations, models

# Statement-level, so that a thousand rows cost one call. Each begins with what is watched: where nobody cares for a
# change, nothing is compared or written.
COLUMNS = [
    "external_id",
    "email",
    "phone",
    "first_name",
    "last_name",
    "language",
    "timezone",
    "country",
    "city",
    "latitude",
    "longitude",
    "birthday",
    "lifecycle_stage",
    "attributes",
    "first_seen",
    "last_seen",
    "created_at",
    "updated_at",
]
DIFFERENT = ",\n                ".join(
    f"CASE WHEN n.{name} IS DISTINCT FROM o.{name} THEN '{name}' END" for name in COLUMNS
)
OF_PROFILES = f"""
CREATE FUNCTION crm_change_of_profiles() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    watched text[] := ARRAY(SELECT field FROM crm_watch);
BEGIN
    IF watched = '{{}}' THEN
        RETURN NULL;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO crm_change (profile_id, fields) SELECT id, '{{created}}' FROM now_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO crm_change (profile_id, fields) SELECT id, '{{deleted}}' FROM was_rows;
    ELSE
        INSERT INTO crm_change (profile_id, fields) SELECT id, fields FROM (
            SELECT n.id, array_remove(ARRAY[
                {DIFFERENT}
            ], NULL) AS fields
            FROM now_rows n JOIN was_rows o USING (id)
        ) AS changed
        WHERE fields && watched;
    END IF;
    RETURN NULL;
END $$;
"""


def of_rows(table: str, field: str, columns: str, where: str = "true") -> str:
    """What notes a change of rows that have a profile_id, and of which these columns matter."""
    now, was = (
        f"SELECT profile_id, {columns} FROM {rows} AS r WHERE {where}" for rows in ("now_rows", "was_rows")
    )
    changed = {
        "INSERT": now,
        "DELETE": was,
        "UPDATE": f"({now} EXCEPT {was}) UNION ALL ({was} EXCEPT {now})",
    }
    branches = "\n    ELSIF".join(
        f""" TG_OP = '{operation}' THEN
        INSERT INTO crm_change (profile_id, fields)
        SELECT DISTINCT profile_id, '{{{field}}}'::text[] FROM ({rows}) AS changed;"""
        for operation, rows in changed.items()
    )
    return f"""
CREATE FUNCTION {table}_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM crm_watch WHERE field = '{field}') THEN
        RETURN NULL;
    ELSIF{branches}
    END IF;
    RETURN NULL;
END $$;
"""


# A suppressed address is somebody's by their email, another name of theirs, a device, or their number (in-app).
OF_SUPPRESSIONS = """
CREATE FUNCTION crm_suppression_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM crm_watch WHERE field = 'suppressed') THEN
        RETURN NULL;
    END IF;
    CREATE_ROWS
    RETURN NULL;
END $$;
"""
WHOSE = """
        INSERT INTO crm_change (profile_id, fields)
        SELECT profile_id, '{{suppressed}}'::text[] FROM (
            SELECT p.id AS profile_id FROM {rows} s JOIN crm_profile p ON p.email = s.address
            UNION SELECT i.profile_id FROM {rows} s JOIN crm_identifier i ON i.value = s.address
                AND i.kind IN ('email', 'phone')
            UNION SELECT d.profile_id FROM {rows} s JOIN crm_device d ON d.endpoint = s.address
            UNION SELECT p.id FROM {rows} s JOIN crm_profile p ON p.id =
                CASE WHEN s.address ~ '^[0-9]{{1,18}}$' THEN s.address::bigint END
        ) AS found;"""
OF_SUPPRESSIONS = OF_SUPPRESSIONS.replace(
    "CREATE_ROWS",
    f"""IF TG_OP <> 'DELETE' THEN{WHOSE.format(rows="now_rows")}
    END IF;
    IF TG_OP <> 'INSERT' THEN{WHOSE.format(rows="was_rows")}
    END IF;""",
)
SERVED = "EXISTS (SELECT FROM crm_computedattribute a WHERE a.id = r.attribute_id AND a.served)"
FUNCTIONS = {
    "crm_profile": ("crm_change_of_profiles", OF_PROFILES),
    "crm_consent": ("crm_consent_changed", of_rows("crm_consent", "consents", "kind, key, state")),
    "crm_device": ("crm_device_changed", of_rows("crm_device", "devices", "kind, endpoint, application_key, state")),
    "crm_computedvalue": (
        "crm_computedvalue_changed",
        # Nobody can ask for an attribute that is not complete.
        of_rows("crm_computedvalue", "computed", "attribute_id, number, text, at", SERVED),
    ),
    "crm_identifier": (
        "crm_identifier_changed",
        of_rows("crm_identifier", "identifiers", "kind, value", "r.kind = 'anonymous_id'"),
    ),
    "crm_suppression": ("crm_suppression_changed", OF_SUPPRESSIONS),
}
ROWS = {
    "INSERT": "NEW TABLE AS now_rows",
    "UPDATE": "OLD TABLE AS was_rows NEW TABLE AS now_rows",
    "DELETE": "OLD TABLE AS was_rows",
}
CREATE = "".join(
    code
    + "".join(
        f"CREATE TRIGGER changed_by_{operation.lower()} AFTER {operation} ON {table} REFERENCING {rows}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {function}();\n"
        for operation, rows in ROWS.items()
    )
    for table, (function, code) in FUNCTIONS.items()
)
DROP = "".join(
    "".join(f"DROP TRIGGER changed_by_{operation.lower()} ON {table};" for operation in ROWS)
    + f"DROP FUNCTION {function}();"
    for table, (function, _code) in FUNCTIONS.items()
)
# A queue: what is taken leaves dead rows in front of what is to be read.
SETTINGS = """
    ALTER TABLE crm_change SET (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_insert_threshold = -1)
"""


class Migration(migrations.Migration):
    dependencies = [("crm", "0021_roles")]

    operations = [
        migrations.CreateModel(
            name="Change",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("profile_id", models.BigIntegerField(null=True)),
                (
                    "fields",
                    django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None),
                ),
            ],
            options={"default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Watch",
            fields=[
                ("field", models.TextField(primary_key=True, serialize=False)),
                ("txid", models.BigIntegerField()),
            ],
            options={"default_permissions": ()},
        ),
        migrations.RunSQL(SETTINGS, migrations.RunSQL.noop),
        migrations.RunSQL(CREATE, DROP),
    ]
