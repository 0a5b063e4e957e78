import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0011_broadcasts_in_full")]

    operations = [
        migrations.AddField(
            "enrollment",
            "converted_at",
            models.DateTimeField(blank=True, null=True, verbose_name="reached the goal"),
        ),
        migrations.AddField(
            "enrollment",
            "goal_value",
            models.DecimalField(
                blank=True, decimal_places=4, max_digits=18, null=True, verbose_name="value of the goal"
            ),
        ),
        migrations.RemoveIndex("enrollment", "enrollment_active"),
        migrations.AlterField(
            "enrollment",
            "flow",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="enrollments",
                to="campaigns.flow",
                verbose_name="flow",
            ),
        ),
        migrations.AlterField(
            "enrollment",
            "version",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="enrollments",
                to="campaigns.flowversion",
            ),
        ),
        migrations.AlterField(
            "decision",
            "enrollment",
            models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="decisions",
                to="campaigns.enrollment",
            ),
        ),
        migrations.AlterField(
            "decision",
            "flow",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="campaigns.flow",
            ),
        ),
        migrations.AlterField(
            "decision",
            "profile",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="decisions",
                to="crm.profile",
            ),
        ),
    ]
