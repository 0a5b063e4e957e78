"""Topics, legal bases, double opt-in and people's preferences."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0016_catalogue_and_places")]

    operations = []
