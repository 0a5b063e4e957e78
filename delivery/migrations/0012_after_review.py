from typing import Any

import django.db.models.deletion
from django.db import migrations, models


def build_indexes(apps: Any, schema_editor: Any) -> None:
    """Build the indexes of attempts while the table goes on being used.

    A database that ran an earlier 0006_providers has them already. What a build that was cut off has left is made anew.
    """
    of_account = schema_editor._create_index_name("delivery_attempt", ["account_id"])
    wanted = {
        of_account: "(account_id)",
        "attempt_by_provider_id": "(account_id, provider_id) WHERE NOT (provider_id = '')",
    }
    with schema_editor.connection.cursor() as cursor:
        for name, what in wanted.items():
            cursor.execute(
                "SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid", [name]
            )
            if cursor.fetchone() is not None:
                cursor.execute(f"DROP INDEX CONCURRENTLY {name}")
            cursor.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON delivery_attempt {what}")


class Migration(migrations.Migration):
    atomic = False  # attempts are many: indexes are built while they go on being written

    dependencies = [("delivery", "0011_sending")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(build_indexes, migrations.RunPython.noop)],
            state_operations=[
                migrations.AlterField(
                    model_name="attempt",
                    name="account",
                    field=models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="delivery.account",
                        verbose_name="account",
                    ),
                ),
                migrations.AddIndex(
                    model_name="attempt",
                    index=models.Index(
                        condition=models.Q(("provider_id", ""), _negated=True),
                        fields=["account", "provider_id"],
                        name="attempt_by_provider_id",
                    ),
                ),
            ],
        ),
    ]
