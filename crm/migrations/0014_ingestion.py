"""What taking events in remembers."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0013_identity")]

    operations = []
