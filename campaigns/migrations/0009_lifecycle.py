from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0008_triggers")]

    operations = [
        migrations.AddField("flowrevision", "undone", models.BooleanField(db_default=False, default=False)),
    ]
