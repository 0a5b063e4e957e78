from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0015_holdouts")]

    operations = [
        migrations.CreateModel(
            name="HoldoutMonth",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("experiment", models.TextField()),
                ("month", models.TextField()),
                ("arm", models.TextField()),
                ("exposed", models.BigIntegerField()),
                ("converted", models.BigIntegerField()),
                ("value", models.FloatField()),
                ("value_squares", models.FloatField()),
                ("counted_at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("experiment", "month", "arm"), name="one_count_per_holdout_and_month"
                    )
                ],
            },
        ),
    ]
