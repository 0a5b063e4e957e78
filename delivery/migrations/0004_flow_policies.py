"""Which messages go first, and what becomes of those that meet a limit."""

from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0003_preferences")]

    operations = [
        migrations.AddField(
            "delivery",
            "priority",
            models.SmallIntegerField("priority", default=3, db_default=3, help_text="1 goes first, 5 last."),
        ),
        migrations.AddField(
            "delivery",
            "when_limited",
            models.TextField(
                "in quiet hours or at a limit",
                choices=[("defer", "put off until it fits"), ("skip", "not sent")],
                default="defer",
                db_default="defer",
            ),
        ),
        AddConstraintNotValid(
            "delivery",
            models.CheckConstraint(
                condition=models.Q(priority__gte=1, priority__lte=5), name="priority_is_from_1_to_5"
            ),
        ),
        ValidateConstraint("delivery", "priority_is_from_1_to_5"),
        migrations.AddIndex(
            "delivery",
            models.Index(
                fields=["priority", "due_at"],
                condition=models.Q(state__in=["queued", "deferred"]),
                name="delivery_waiting_by_priority",
            ),
        ),
    ]
