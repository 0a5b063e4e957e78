from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0011_broadcasts_in_full")]

    operations = []
