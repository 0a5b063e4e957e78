"""Rules of sending, what was sent lately, the emergency stop, and messages that are part of a service.

An approval of a transactional message is set by whoever says so (`nudge.approving`) alone, and any change of the message
or its contents takes it back, whatever code makes it.
"""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

TAKE_BACK = """
    CREATE FUNCTION delivery_keep_approval() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        about text[] := ARRAY['transactional_approved_by_id', 'transactional_approved_at',
                              'transactional_marked_by_id', 'updated_at'];
    BEGIN
        IF coalesce(current_setting('nudge.approving', true), '') = 'on' THEN
            RETURN NEW;
        END IF;
        IF TG_OP = 'INSERT' OR OLD.transactional_approved_at IS NULL
                OR (to_jsonb(NEW) - about) IS DISTINCT FROM (to_jsonb(OLD) - about) THEN
            NEW.transactional_approved_at := NULL;
            NEW.transactional_approved_by_id := NULL;
        ELSIF NEW.transactional_approved_at IS NOT NULL THEN
            NEW.transactional_approved_at := OLD.transactional_approved_at;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER delivery_keep_approval BEFORE INSERT OR UPDATE ON delivery_message
        FOR EACH ROW WHEN (NEW.transactional_approved_at IS NOT NULL) EXECUTE FUNCTION delivery_keep_approval();

    CREATE FUNCTION delivery_take_approval_back() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND NEW IS NOT DISTINCT FROM OLD THEN
            RETURN NULL;
        END IF;
        UPDATE delivery_message SET transactional_approved_at = NULL, transactional_approved_by_id = NULL
        WHERE transactional_approved_at IS NOT NULL
            AND id IN (CASE WHEN TG_OP <> 'DELETE' THEN NEW.message_id END, CASE WHEN TG_OP <> 'INSERT' THEN OLD.message_id END);
        RETURN NULL;
    END $$;
    CREATE TRIGGER delivery_take_approval_back AFTER INSERT OR UPDATE OR DELETE ON delivery_messagecontent
        FOR EACH ROW EXECUTE FUNCTION delivery_take_approval_back();
"""
LEAVE = """
    DROP TRIGGER delivery_take_approval_back ON delivery_messagecontent;
    DROP FUNCTION delivery_take_approval_back();
    DROP TRIGGER delivery_keep_approval ON delivery_message;
    DROP FUNCTION delivery_keep_approval();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("crm", "0017_consent_in_full"),
        ("delivery", "0007_writing"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="PlaceLock",
            fields=[
                ("profile_id", models.BigIntegerField(primary_key=True, serialize=False)),
            ],
            options={"default_permissions": ()},
        ),
        migrations.AlterModelOptions(
            name="message",
            options={
                "ordering": ["name"],
                "permissions": [("approve_transactional", "Can approve messages as transactional")],
                "verbose_name": "message",
                "verbose_name_plural": "messages",
            },
        ),
        migrations.AddField(
            model_name="message",
            name="adults_only",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Minors get nothing of it.",
                verbose_name="for adults only",
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="content_group",
            field=models.SlugField(
                blank=True,
                db_default="",
                default="",
                help_text="Messages that share this word say the same: sending rules can skip the second one.",
                verbose_name="says the same as",
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="transactional",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Part of a service, such as a receipt. Once somebody else has approved it, it goes out in spite of quiet hours, limits and topics, yet never to who has left the channel or whose address is suppressed.",
                verbose_name="transactional",
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="transactional_approved_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="approved as transactional"),
        ),
        migrations.AddField(
            model_name="message",
            name="transactional_approved_by",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="transactional_marked_by",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.CreateModel(
            name="EmergencyStop",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("channel", models.TextField(blank=True, default="", unique=True, verbose_name="channel")),
                ("reason", models.TextField(blank=True, default="", verbose_name="reason")),
                (
                    "pressed_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="since"
                    ),
                ),
                (
                    "pressed_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="pressed by",
                    ),
                ),
            ],
            options={
                "verbose_name": "emergency stop",
                "verbose_name_plural": "emergency stops",
                "permissions": [("stop_sending", "Can stop all sending and let it go on")],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Place",
            fields=[
                ("delivery_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("profile_id", models.BigIntegerField()),
                ("taken_at", models.DateTimeField()),
                ("channel", models.TextField()),
                ("topic", models.TextField()),
                ("message_id", models.BigIntegerField()),
                ("content_group", models.TextField()),
                ("thread", models.TextField()),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["profile_id", "-taken_at"], name="place_by_profile"),
                    models.Index(fields=["taken_at"], name="place_by_time"),
                ],
            },
        ),
        migrations.CreateModel(
            name="SendingRules",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "own_quiet",
                    models.BooleanField(
                        default=False,
                        help_text="Quiet hours below take the place of the wider rules' in any case; tick this to have none.",
                        verbose_name="no quiet hours but those below",
                    ),
                ),
                (
                    "own_windows",
                    models.BooleanField(
                        default=False,
                        help_text="Send windows below take the place of the wider rules' in any case; tick this to have none.",
                        verbose_name="no send windows but those below",
                    ),
                ),
                (
                    "only_own_caps",
                    models.BooleanField(
                        default=False,
                        help_text="Otherwise those of the wider rules count as well.",
                        verbose_name="only the limits below count",
                    ),
                ),
                (
                    "when_capped",
                    models.TextField(
                        blank=True,
                        choices=[
                            ("", "as the wider rules say"),
                            ("defer", "wait until there is room, the urgent first, until it expires"),
                            ("skip", "not sent"),
                        ],
                        default="",
                        verbose_name="at a limit",
                    ),
                ),
                (
                    "collision",
                    models.TextField(
                        blank=True,
                        choices=[
                            ("", "as the wider rules say"),
                            ("off", "send it all the same"),
                            ("opened", "skip it if they opened or clicked it there"),
                            ("sent", "skip it if it was sent, opened or clicked there"),
                        ],
                        default="",
                        verbose_name="the same by another channel",
                    ),
                ),
                (
                    "collision_hours",
                    models.PositiveSmallIntegerField(
                        default=24,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(720),
                        ],
                        verbose_name="within so many hours",
                    ),
                ),
                (
                    "adults_only",
                    models.BooleanField(
                        default=False, help_text="Minors get nothing of it.", verbose_name="for adults only"
                    ),
                ),
                (
                    "adult_age",
                    models.PositiveSmallIntegerField(
                        default=18,
                        help_text="Years; on the person's birthday where they live.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(99),
                        ],
                        verbose_name="of age with",
                    ),
                ),
                (
                    "skip_unknown_age",
                    models.BooleanField(
                        default=True,
                        help_text="Who has told no birthday gets nothing that is for adults only.",
                        verbose_name="unknown ages count as minors",
                    ),
                ),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
                (
                    "message",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sending_rules",
                        to="delivery.message",
                        verbose_name="message",
                    ),
                ),
                (
                    "topic",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sending_rules",
                        to="crm.topic",
                        verbose_name="topic",
                    ),
                ),
            ],
            options={
                "verbose_name": "sending rules",
                "verbose_name_plural": "sending rules",
            },
        ),
        migrations.CreateModel(
            name="SendingHours",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.TextField(
                        choices=[("quiet", "nothing goes out"), ("window", "only then it goes out")],
                        default="quiet",
                        verbose_name="what",
                    ),
                ),
                ("start", models.TimeField(verbose_name="from")),
                ("end", models.TimeField(verbose_name="until")),
                (
                    "days",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(), size=None, verbose_name="weekdays"
                    ),
                ),
                ("channel", models.TextField(blank=True, default="", verbose_name="channel")),
                (
                    "rules",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="hours",
                        to="delivery.sendingrules",
                    ),
                ),
            ],
            options={
                "verbose_name": "hours",
                "verbose_name_plural": "hours",
                "ordering": ["kind", "start", "pk"],
            },
        ),
        migrations.CreateModel(
            name="FrequencyCap",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "number",
                    models.PositiveSmallIntegerField(
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                        verbose_name="at most",
                    ),
                ),
                (
                    "period",
                    models.TextField(
                        choices=[("hour", "hour"), ("day", "day"), ("week", "week"), ("month", "month")],
                        default="week",
                        verbose_name="per",
                    ),
                ),
                (
                    "rolling",
                    models.BooleanField(
                        default=True,
                        help_text="The last so many hours at any moment; otherwise the calendar's, where the person is.",
                        verbose_name="rolling",
                    ),
                ),
                ("channel", models.TextField(blank=True, default="", verbose_name="channel")),
                (
                    "counts",
                    models.TextField(
                        choices=[("all", "all together"), ("topic", "each topic apart")],
                        default="all",
                        verbose_name="counting",
                    ),
                ),
                (
                    "spares",
                    models.PositiveSmallIntegerField(
                        choices=[
                            (0, "none"),
                            (1, "urgent (1)"),
                            (2, "urgent and high (1–2)"),
                            (3, "all but low (1–3)"),
                            (4, "all but the lowest (1–4)"),
                        ],
                        default=0,
                        verbose_name="lets through",
                    ),
                ),
                (
                    "rules",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="caps",
                        to="delivery.sendingrules",
                    ),
                ),
            ],
            options={
                "verbose_name": "limit",
                "verbose_name_plural": "limits",
                "ordering": ["pk"],
            },
        ),
        migrations.AddConstraint(
            model_name="sendingrules",
            constraint=models.CheckConstraint(
                condition=models.Q(("topic__isnull", True), ("message__isnull", True), _connector="OR"),
                name="rules_are_of_one_level",
            ),
        ),
        migrations.AddConstraint(
            model_name="sendingrules",
            constraint=models.UniqueConstraint(
                models.Value(1),
                condition=models.Q(("message__isnull", True), ("topic__isnull", True)),
                name="one_set_of_rules_of_the_account",
            ),
        ),
        migrations.AddConstraint(
            model_name="sendinghours",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("days__contained_by", [1, 2, 3, 4, 5, 6, 7]), models.Q(("days", []), _negated=True)
                ),
                name="hours_have_weekdays",
            ),
        ),
        migrations.AddConstraint(
            model_name="frequencycap",
            constraint=models.CheckConstraint(
                condition=models.Q(("number__gte", 1)), name="a_limit_lets_something_through"
            ),
        ),
        migrations.AddConstraint(
            model_name="frequencycap",
            constraint=models.CheckConstraint(
                condition=models.Q(("spares__lte", 4)), name="a_limit_holds_for_somebody"
            ),
        ),
        migrations.RunSQL(TAKE_BACK, LEAVE),
    ]
