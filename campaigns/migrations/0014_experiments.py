from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0013_after_trials")]
    operations = []
