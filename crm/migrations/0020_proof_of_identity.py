"""What a website signs its people's names with."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0019_api_conventions")]

    operations = []
