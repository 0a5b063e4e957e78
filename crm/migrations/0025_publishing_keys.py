"""API keys may be allowed to publish."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0024_attribute_changes")]

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
                        ("browser", "public key of a website: events and subscriptions only"),
                    ]
                ),
                size=None,
                verbose_name="may",
            ),
        ),
    ]
