import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0006_lists_and_exports")]

    operations = [
        migrations.AddIndex(
            model_name="segmentmembership",
            index=models.Index(fields=["profile", "segment"], name="membership_by_person"),
        ),
        migrations.AlterField(
            model_name="segmentmembership",
            name="profile",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="segment_memberships",
                to="crm.profile",
            ),
        ),
    ]
