from django.db import migrations, models
from django.db.models import Q

# Of what happens to few, so that a page of them is not looked for among all.
RARE = {
    "engagement_suppressed": Q(ended="suppressed"),
    "engagement_bounced": Q(bounced_at__isnull=False),
    "engagement_complained": Q(complained_at__isnull=False),
    "engagement_unsubscribed": Q(unsubscribed_at__isnull=False),
    "engagement_machine_clicked": Q(machine_clicked_at__isnull=False),
    "engagement_not_delivered": Q(ended__in=["failed", "expired"]),
}


class Migration(migrations.Migration):
    # Reports go on while these are built; only the reader of the log, who alone writes here, waits.
    dependencies = [("analytics", "0005_goals_in_full")]

    operations = [
        migrations.AddField("rollupstate", "cohorts_counted_at", models.DateTimeField(null=True)),
        migrations.AddIndex(
            "engagement", models.Index(fields=["series", "delivery"], name="engagement_by_series")
        ),
        *(
            migrations.AddIndex(
                "engagement", models.Index(fields=["delivery"], condition=condition, name=name)
            )
            for name, condition in RARE.items()
        ),
    ]
