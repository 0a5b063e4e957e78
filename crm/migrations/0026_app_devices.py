from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0025_publishing_keys")]

    operations = [
        # Who wrote to us is looked up by number.
        migrations.AddIndex(
            model_name="profile",
            index=models.Index(
                fields=["phone"], condition=models.Q(phone__isnull=False), name="profile_by_phone"
            ),
        ),
    ]
