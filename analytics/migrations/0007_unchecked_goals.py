import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("analytics", "0006_drill_down")]

    operations = [
        migrations.AlterField(
            "credit",
            "goal",
            models.ForeignKey(
                "analytics.goal",
                django.db.models.deletion.CASCADE,
                db_constraint=False,
                db_index=False,
                related_name="credits",
            ),
        ),
        migrations.AlterField(
            "earnedday",
            "goal",
            models.ForeignKey(
                "analytics.goal",
                django.db.models.deletion.CASCADE,
                db_constraint=False,
                db_index=False,
                related_name="+",
            ),
        ),
    ]
