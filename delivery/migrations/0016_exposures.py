from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("delivery", "0015_holdouts")]

    operations = []
