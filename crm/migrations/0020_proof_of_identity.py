"""What a website signs its people's names with, and keys that read without contact data."""

import django.contrib.postgres.fields
from django.db import migrations, models

import crm.fields


class Migration(migrations.Migration):
    dependencies = [("crm", "0019_api_conventions")]

    operations = [
        migrations.AlterField(
            "apikey",
            "scopes",
            django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(
                    choices=[
                        ("read", "read profiles and reports"),
                        ("read_masked", "read profiles and events without contact data"),
                        ("write", "write profiles, events and subscriptions"),
                        ("browser", "public key of a website: events and subscriptions only"),
                    ]
                ),
                size=None,
                verbose_name="may",
            ),
        ),
        migrations.AddField(
            "apikey", "identity_secret", crm.fields.EncryptedJSONField(default=dict, editable=False)
        ),
        migrations.AddField(
            "apikey",
            "requires_proof",
            models.BooleanField(
                db_default=False,
                default=False,
                help_text="Pages may say who their visitor is only with a proof that your server has made. Without "
                "this, what a page says is kept, but never answered with anything about the person.",
                verbose_name="names need a proof",
            ),
        ),
    ]
