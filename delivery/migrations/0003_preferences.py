"""The preference page's looks, messages that matter or ask for a confirmation, and limits that were used up."""

from django.db import migrations, models


def name_topics(apps, schema_editor):
    """Make a topic of each that a message is about."""
    topic = apps.get_model("crm", "Topic")
    slugs = set(apps.get_model("delivery", "Message").objects.exclude(topic="").values_list("topic", flat=True))
    slugs -= set(topic.objects.values_list("slug", flat=True))
    first = topic.objects.count()
    topic.objects.bulk_create(
        topic(slug=slug, name=slug.replace("_", " ").replace("-", " ").capitalize(), position=first + place)
        for place, slug in enumerate(sorted(slugs))
    )


class Migration(migrations.Migration):
    dependencies = [("delivery", "0002_in_app"), ("crm", "0017_consent_in_full")]

    operations = [
        migrations.AddField(
            "message", "important",
            models.BooleanField(
                "important", default=False, db_default=False,
                help_text="Also for those who want only what is important about the topic.",
            ),
        ),
        migrations.AddField(
            "message", "confirms",
            models.BooleanField(
                "asks for confirmation", default=False, db_default=False,
                help_text="Carries the link of a double opt-in: only those get it whose yes waits to be confirmed.",
            ),
        ),
        migrations.CreateModel(
            name="Slot",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("profile_id", models.BigIntegerField(verbose_name="profile")),
                ("key", models.TextField(verbose_name="limit")),
                ("taken_at", models.DateTimeField(verbose_name="taken")),
                ("delivery_id", models.BigIntegerField(verbose_name="delivery")),
            ],
            options={
                "verbose_name": "place under a limit",
                "verbose_name_plural": "places under limits",
                "constraints": [models.UniqueConstraint(fields=("profile_id", "key"), name="one_slot_per_limit")],
            },
        ),
        migrations.CreateModel(
            name="PreferencePage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField(blank=True, default="", help_text="Your brand, as people know it.", verbose_name="name")),
                ("website", models.URLField(blank=True, default="", max_length=500, verbose_name="website")),
                ("logo", models.BinaryField(editable=True, null=True, verbose_name="logo")),
                ("logo_type", models.TextField(blank=True, default="", editable=False)),
                ("logo_url", models.URLField(blank=True, default="", help_text="Instead of a file.", max_length=500, verbose_name="address of the logo")),
                ("accent", models.CharField(default="#4338ca", help_text="Of buttons and links, such as #4338ca.", max_length=7, verbose_name="colour")),
                ("texts", models.JSONField(blank=True, default=dict, verbose_name="texts")),
                ("only", models.BooleanField(default=True, editable=False, unique=True)),
                ("changed_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
            ],
            options={"verbose_name": "preference page", "verbose_name_plural": "preference page"},
        ),
        migrations.RunPython(name_topics, migrations.RunPython.noop),
    ]
