import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the outbox is large: indexes are built while it goes on being used

    dependencies = [("delivery", "0010_links")]

    operations = [
        migrations.AddField(
            model_name="account",
            name="next_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="account",
            name="trips",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="delivery",
            name="transactional",
            field=models.BooleanField(db_default=False, default=False, verbose_name="transactional"),
        ),
        migrations.AlterField(
            model_name="sandboxitem",
            name="delivery",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="sandboxed",
                to="delivery.delivery",
                verbose_name="delivery",
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state__in", ["queued", "deferred"])),
                fields=["channel", "transactional", "due_at"],
                name="delivery_lane",
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state__in", ["queued", "deferred"])),
                fields=["channel", "transactional", "priority", "due_at"],
                name="delivery_lane_by_priority",
            ),
        ),
        RemoveIndexConcurrently(model_name="delivery", name="delivery_waiting"),
        RemoveIndexConcurrently(model_name="delivery", name="delivery_waiting_by_priority"),
    ]
