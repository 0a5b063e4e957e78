import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0014_when_layouts_were_used")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="holdout_percent",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="Percent of people who do not get it, always the same ones, to show what it brings.",
                validators=[django.core.validators.MaxValueValidator(90)],
                verbose_name="held out",
            ),
        ),
        migrations.AddField(
            model_name="sendingrules",
            name="global_holdout_percent",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text=(
                    "Percent of people who get no marketing at all, always the same ones, to show what all of it "
                    "brings."
                ),
                validators=[django.core.validators.MaxValueValidator(50)],
                verbose_name="held out of everything",
            ),
        ),
        migrations.CreateModel(
            name="Exposure",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("experiment", models.TextField()),
                ("profile_id", models.BigIntegerField()),
                ("arm", models.TextField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["profile_id"], name="exposure_by_profile")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("experiment", "profile_id"), name="one_exposure_per_person"
                    )
                ],
            },
        ),
    ]
