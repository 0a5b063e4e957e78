from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("delivery", "0012_after_review")]
    operations = [
        migrations.AddField(
            model_name="linkhit",
            name="record",
            field=models.UUIDField(
                blank=True, editable=False, null=True, verbose_name="number of the record"
            ),
        ),
        migrations.AddConstraint(
            model_name="linkhit",
            constraint=models.UniqueConstraint(
                condition=Q(("record__isnull", False)), fields=("record",), name="a_record_is_kept_once"
            ),
        ),
    ]
