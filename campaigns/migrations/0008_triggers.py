from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0007_memberships_by_person")]

    operations = []
