"""What a website signs its people's names with."""

from django.db import migrations, models

import crm.fields


class Migration(migrations.Migration):
    dependencies = [("crm", "0019_api_conventions")]

    operations = [
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
