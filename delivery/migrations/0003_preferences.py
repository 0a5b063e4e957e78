"""The preference centre's looks."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("delivery", "0002_in_app")]

    operations = []
