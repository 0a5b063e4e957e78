"""What taking events in remembers: clocks that were wrong, and months that are no longer kept."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0013_identity")]

    operations = [
        # A constant default is kept in the catalogue: no row is rewritten, however many there are.
        migrations.RunSQL(
            "ALTER TABLE crm_event ADD COLUMN clock text NOT NULL DEFAULT ''",
            "ALTER TABLE crm_event DROP COLUMN clock",
        ),
        migrations.CreateModel(
            name="ClosedMonth",
            fields=[
                (
                    "month",
                    models.DateField(help_text="Its first day.", primary_key=True, serialize=False),
                ),
                ("closed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "archive",
                    models.TextField(blank=True, help_text="The table that keeps its events, if one does."),
                ),
            ],
        ),
    ]
