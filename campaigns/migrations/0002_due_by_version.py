from django.db import migrations, models
from django.db.models import F, Q


def listen_since_published(apps, schema_editor):
    apps.get_model("campaigns", "Flow").objects.update(listening_since=F("published_at"))


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0001_initial")]

    operations = [
        migrations.AddField(
            "flow",
            "listening_since",
            models.DateTimeField(editable=False, help_text="What happened before starts nobody.", null=True),
        ),
        migrations.RunPython(listen_since_published, migrations.RunPython.noop),
        migrations.RemoveIndex("enrollment", "enrollment_due"),
        migrations.AddIndex(
            "enrollment",
            models.Index(
                fields=["version", "due_at"], condition=Q(state="active"), name="enrollment_due_by_version"
            ),
        ),
    ]
