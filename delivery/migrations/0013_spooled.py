from typing import Any

from django.db import migrations, models
from django.db.models import Q

NAME = "a_record_is_kept_once"


def build_index(apps: Any, schema_editor: Any) -> None:
    """Build the index while links go on being followed; what a build that was cut off has left is made anew."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid", [NAME])
        if cursor.fetchone() is not None:
            cursor.execute(f"DROP INDEX CONCURRENTLY {NAME}")
        cursor.execute(
            f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {NAME} ON delivery_linkhit (record)"
            " WHERE record IS NOT NULL"
        )


def drop_index(apps: Any, schema_editor: Any) -> None:
    """Undo it."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")


class Migration(migrations.Migration):
    atomic = False  # what was followed is much: its index is built while it goes on being written

    dependencies = [("delivery", "0012_after_review")]

    operations = [
        migrations.AddField(
            model_name="linkhit",
            name="record",
            field=models.UUIDField(
                blank=True, editable=False, null=True, verbose_name="number of the record"
            ),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(build_index, drop_index)],
            state_operations=[
                migrations.AddConstraint(
                    model_name="linkhit",
                    constraint=models.UniqueConstraint(
                        condition=Q(("record__isnull", False)), fields=("record",), name=NAME
                    ),
                ),
            ],
        ),
    ]
