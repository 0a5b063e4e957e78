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
    ]
