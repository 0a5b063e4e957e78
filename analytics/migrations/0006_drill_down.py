from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("analytics", "0005_goals_in_full")]

    operations = [
        migrations.AddField("rollupstate", "cohorts_counted_at", models.DateTimeField(null=True)),
    ]
