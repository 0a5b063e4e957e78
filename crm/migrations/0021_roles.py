"""The four roles."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("crm", "0020_proof_of_identity")]

    operations = []
