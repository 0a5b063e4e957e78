from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("delivery", "0013_spooled")]

    operations = [migrations.RenameField("emaillayout", "created_at", "used_at")]
