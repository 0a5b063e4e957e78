"""Retention, tombstones and the audit log."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0017_consent_in_full")]

    operations = []
