from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0025_publishing_keys")]

    operations = []
