import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

# What messages have credit for gets when it was sent, to whom and by what; then figures by day are counted anew.
FILL = """
    UPDATE analytics_credit c SET sent_at = g.sent_at, locale = g.locale, country = g.country,
        provider = g.provider, device = g.device
    FROM analytics_engagement g WHERE g.delivery_id = c.delivery_id
"""
# Past events of messages' own goals are credited, and all figures by day counted, in the background.
PLAN = """
    INSERT INTO analytics_goal (slug, name, event, "where", value_property, currency_property, currency, click_hours,
        open_hours, view_hours, counting, default_model, own, own_rules, active, counted_in, recompute_from)
    SELECT '_own', 'Each message''s own goal', '', '[]', '', 'currency', '', 72, 24, '{}', 'every', 'last_click', true,
        '{}', true, '', '1900-01-01 00:00:00+00'
    WHERE EXISTS (SELECT FROM analytics_rollupstate);
    UPDATE analytics_rollupstate SET stage = 'counting', next_zone = zone, position = 0, started_at = now(),
        replay_txid = NULL, replay_seq = NULL,
        next_generation = 1 + greatest(generation, (SELECT max(generation) FROM analytics_dayfigures)),
        upto = coalesce((SELECT max(delivery_id) FROM analytics_engagement), 0)
    WHERE stage <> 'log';
"""


def _number(digits: int, places: int) -> models.DecimalField:
    return models.DecimalField(db_default=0, decimal_places=places, default=0, max_digits=digits)


class Migration(migrations.Migration):
    dependencies = [("analytics", "0004_saved_reports")]

    operations = [
        migrations.AlterModelManagers(name="goal", managers=[]),
        migrations.AddField(
            "goal", "own", models.BooleanField(db_default=False, default=False, editable=False)
        ),
        migrations.AddField(
            "goal", "own_rules", models.JSONField(db_default={}, default=dict, editable=False)
        ),
        migrations.AddConstraint(
            "goal",
            models.UniqueConstraint(fields=["own"], condition=Q(own=True), name="one_for_messages_own_goals"),
        ),
        migrations.AddField("credit", "sent_at", models.DateTimeField(null=True)),
        migrations.AddField("credit", "locale", models.TextField(blank=True, db_default="", default="")),
        migrations.AddField("credit", "country", models.TextField(blank=True, db_default="", default="")),
        migrations.AddField("credit", "provider", models.TextField(blank=True, db_default="", default="")),
        migrations.AddField("credit", "device", models.TextField(blank=True, db_default="", default="")),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.DeleteModel("earnedday"),
        migrations.CreateModel(
            name="EarnedDay",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        *(
                            "generation",
                            "goal_id",
                            "model",
                            "dimension",
                            "day",
                            "series_id",
                            "trait",
                            "currency",
                        ),
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("generation", models.IntegerField()),
                ("model", models.TextField()),
                ("dimension", models.TextField()),
                ("day", models.DateField()),
                ("series_id", models.BigIntegerField()),
                ("trait", models.TextField()),
                ("currency", models.TextField()),
                ("conversions", _number(24, 9)),
                ("people", models.BigIntegerField(db_default=0, default=0)),
                ("value", _number(28, 4)),
                ("sent_conversions", _number(24, 9)),
                ("sent_people", models.BigIntegerField(db_default=0, default=0)),
                ("sent_value", _number(28, 4)),
                (
                    "goal",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="analytics.goal",
                    ),
                ),
            ],
            options={
                "verbose_name": "earned on a day",
                "verbose_name_plural": "earned on days",
                "default_permissions": (),
            },
        ),
        migrations.RunSQL(PLAN, migrations.RunSQL.noop),
    ]
