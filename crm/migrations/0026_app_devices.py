import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0025_publishing_keys")]

    operations = [
        migrations.AlterField(
            model_name="apikey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(
                    choices=[
                        ("read", "read profiles and reports"),
                        ("read_masked", "read profiles and events without contact data"),
                        ("write", "write profiles, events and subscriptions"),
                        ("publish", "publish, pause and stop flows"),
                        ("send", "send messages to people"),
                        ("browser", "public key of a website: events and subscriptions only"),
                    ]
                ),
                size=None,
                verbose_name="may",
            ),
        ),
        # Who wrote to us is looked up by number.
        migrations.AddIndex(
            model_name="profile",
            index=models.Index(
                fields=["phone"], condition=models.Q(phone__isnull=False), name="profile_by_phone"
            ),
        ),
        *(
            migrations.AddField(
                model_name="device",
                name=name,
                field=models.TextField(blank=True, db_default="", default="", verbose_name=name),
            )
            for name in ("app", "platform")
        ),
        *(
            migrations.AlterField(
                model_name="device",
                name=name,
                field=models.TextField(blank=True, default="", verbose_name=label),
            )
            for name, label in (("p256dh", "public key"), ("auth", "shared secret"))
        ),
    ]
