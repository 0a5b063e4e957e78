from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("delivery", "0012_after_review")]
    operations = []
