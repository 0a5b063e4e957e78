"""Who waits for which product, and where the stores are."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0015_computed_attributes")]

    operations = []
