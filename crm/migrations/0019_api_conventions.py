"""Idempotency keys, and files of events."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0018_privacy")]

    operations = []
