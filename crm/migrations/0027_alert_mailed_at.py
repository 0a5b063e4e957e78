from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crm", "0026_app_devices"),
    ]

    operations = [
        migrations.AddField(
            model_name="alert",
            name="mailed_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
