from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("analytics", "0004_saved_reports")]

    operations = []
