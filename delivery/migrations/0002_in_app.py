"""Messages that wait inside a site or app."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="InAppMessage",
            fields=[
                (
                    "delivery",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="in_app",
                        serialize=False,
                        to="delivery.delivery",
                        verbose_name="delivery",
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "waiting"),
                            ("shown", "shown"),
                            ("clicked", "clicked"),
                            ("dismissed", "dismissed"),
                        ],
                        db_default="waiting",
                        default="waiting",
                        verbose_name="state",
                    ),
                ),
                ("expires_at", models.DateTimeField(verbose_name="expires")),
                ("answered_at", models.DateTimeField(blank=True, null=True, verbose_name="answered")),
            ],
            options={"verbose_name": "in-app message", "verbose_name_plural": "in-app messages"},
        ),
    ]
