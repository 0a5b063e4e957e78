from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0004_freshness")]

    operations = [
        migrations.AddField(
            model_name="segmentversion",
            name="restored",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="brings back version"),
        ),
    ]
