from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0023_indexed_attributes")]

    operations = []
