"""Merges that can be undone, names that were proven, and conflicts for a person to decide."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0012_queued_runs")]

    operations = []
