import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """One index finds a person's runs and keeps them apart, where there were two."""

    dependencies = [("campaigns", "0012_steps")]

    operations = [
        migrations.AddConstraint(
            model_name="enrollment",
            constraint=models.UniqueConstraint(fields=("profile", "flow", "run_key"), name="one_run_per_key"),
        ),
        migrations.RemoveConstraint(model_name="enrollment", name="one_enrollment_per_run"),
        migrations.AlterField(
            model_name="enrollment",
            name="profile",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="enrollments",
                to="crm.profile",
                verbose_name="profile",
            ),
        ),
    ]
