"""Attributes that are computed from events."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0014_ingestion")]

    operations = []
