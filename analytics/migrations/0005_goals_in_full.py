import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q

# What messages have credit for gets when it was sent, to whom and by what; then figures by day are counted anew.
FILL = """
    UPDATE analytics_credit c SET sent_at = g.sent_at, locale = g.locale, country = g.country,
        provider = g.provider, device = g.device
    FROM analytics_engagement g WHERE g.delivery_id = c.delivery_id
"""
# Past events of messages' own goals are credited, and all figures by day counted, in the background. What follows keeps
# reports filled until then, and the reader right about what it takes from the figures of before.
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

# As the reader has credited them so far: the last click, by an amount that waits for its rate.
OWN = """
    INSERT INTO analytics_credit (goal_id, event_id, model, delivery_id, series_id, share, value, currency,
        account_value, account_currency, occurred_at, sent_at, locale, country, provider, device)
    SELECT o.id, c.event_id, 'last_click', c.delivery_id, g.series_id, 1, c.value, k.code,
        CASE WHEN k.code = %(account)s THEN c.value END,
        CASE WHEN k.code = %(account)s AND c.value IS NOT NULL THEN %(account)s ELSE '' END,
        c.occurred_at, g.sent_at, g.locale, g.country, g.provider, g.device
    FROM analytics_conversion c
    JOIN analytics_engagement g ON g.delivery_id = c.delivery_id AND g.series_id IS NOT NULL
    JOIN analytics_goal o ON o.own
    CROSS JOIN LATERAL (
        SELECT CASE WHEN c.currency ~ '^[A-Za-z]{3}$' THEN upper(c.currency) ELSE %(account)s END AS code
    ) k
"""
# Summed up before it is told apart by traits, so that much of it takes no time.
EARNED = """
    WITH credits AS MATERIALIZED (
        SELECT s.generation, c.goal_id, c.model, c.delivery_id, c.series_id, c.share,
            coalesce(c.account_value, c.value) AS amount,
            CASE WHEN c.value IS NULL OR c.account_currency <> '' THEN '' ELSE c.currency END AS currency,
            (c.occurred_at AT TIME ZONE s.zone)::date AS day, (c.sent_at AT TIME ZONE s.zone)::date AS sent_day,
            c.locale, c.country, c.provider, c.device
        FROM analytics_credit c CROSS JOIN analytics_rollupstate s
    ), sums AS (
        SELECT generation, goal_id, model, series_id, locale, country, provider, device, x.sent, x.day, z.currency,
            sum(z.share) AS share, sum(z.amount) AS amount, 0 AS people
        FROM (
            SELECT generation, goal_id, model, series_id, locale, country, provider, device, day, sent_day, currency,
                sum(share) AS share, sum(amount) AS amount
            FROM credits GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        ) c CROSS JOIN LATERAL (VALUES (false, c.day), (true, c.sent_day)) AS x(sent, day)
        CROSS JOIN LATERAL (VALUES (true, '', c.share, CASE WHEN c.currency = '' THEN c.amount END),
            (c.currency <> '', c.currency, 0, c.amount)) AS z(counts, currency, share, amount)
        WHERE z.counts GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        UNION ALL
        SELECT generation, goal_id, model, series_id, locale, country, provider, device, sent, day, '', 0, 0, count(*)
        FROM (
            SELECT DISTINCT c.generation, c.goal_id, c.model, c.series_id, c.locale, c.country, c.provider, c.device,
                x.sent, x.day, c.delivery_id
            FROM credits c CROSS JOIN LATERAL (VALUES (false, c.day), (true, c.sent_day)) AS x(sent, day)
        ) one GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    )
    INSERT INTO analytics_earnedday (generation, goal_id, model, dimension, day, series_id, trait, currency,
        conversions, people, value, sent_conversions, sent_people, sent_value)
    SELECT c.generation, c.goal_id, c.model, y.dimension, c.day, c.series_id, y.trait, c.currency,
        coalesce(sum(c.share) FILTER (WHERE NOT c.sent), 0), coalesce(sum(c.people) FILTER (WHERE NOT c.sent), 0),
        coalesce(sum(c.amount) FILTER (WHERE NOT c.sent), 0), coalesce(sum(c.share) FILTER (WHERE c.sent), 0),
        coalesce(sum(c.people) FILTER (WHERE c.sent), 0), coalesce(sum(c.amount) FILTER (WHERE c.sent), 0)
    FROM sums c CROSS JOIN LATERAL (VALUES ('', ''), ('locale', c.locale), ('country', c.country),
        ('provider', c.provider), ('device', c.device)) AS y(dimension, trait)
    WHERE c.day IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
COUNTS = (
    *(
        "sent",
        "delivered",
        "opened",
        "clicked",
        "dismissed",
        "read",
        "bounced",
        "complained",
        "unsubscribed",
        "lost",
    ),
    *("machine_opened", "machine_clicked", "arrivals", "opens", "clicks", "dismissals", "reads", "bounces"),
    *(
        "complaints",
        "unsubscribes",
        "losses",
        "machine_opens",
        "machine_clicks",
        "suppressed",
        "failed",
        "expired",
    ),
)
WEEK = f"""
    INSERT INTO analytics_dayfigures (generation, dimension, day, series_id, value, {", ".join(COUNTS)})
    SELECT f.generation, 'week', f.day, 0, f.value || ' ' || s.channel, {", ".join(f"sum(f.{one})" for one in COUNTS)}
    FROM analytics_dayfigures f JOIN analytics_series s ON s.id = f.series_id
    JOIN analytics_rollupstate r ON r.generation = f.generation
    WHERE f.dimension = 'slot' GROUP BY 1, 3, 5
"""


def fill(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(OWN, {"account": settings.NUDGE_CURRENCY.upper()})
        cursor.execute(EARNED)
        cursor.execute(WEEK)


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
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
