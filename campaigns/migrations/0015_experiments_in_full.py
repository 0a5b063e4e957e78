"""Audiences and ranges of experiments, an index of when runs began, and experiments named in the audit log."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models
from django.db.models import Q

# As crm 0018 made it, with more things whose names tell nothing about a customer.
TAKE_OVER = """
CREATE OR REPLACE FUNCTION crm_audit_admin_log() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    thing text;
    named boolean;
    told jsonb := '{}';
BEGIN
    SELECT app_label || '.' || model INTO thing FROM django_content_type WHERE id = NEW.content_type_id;
    named := thing IN (%s);
    IF NEW.change_message LIKE '[%%' THEN
        BEGIN
            SELECT jsonb_build_object('changes', jsonb_agg(jsonb_build_object(
                part.key, CASE jsonb_typeof(part.value) WHEN 'object' THEN part.value - 'object' ELSE '{}' END)))
            INTO told
            FROM jsonb_array_elements(NEW.change_message::jsonb) AS step, jsonb_each(step) AS part;
        EXCEPTION WHEN others THEN told := '{}';
        END;
    ELSIF named AND NEW.change_message <> '' THEN
        told := jsonb_build_object('message', left(NEW.change_message, 500));
    END IF;
    INSERT INTO crm_auditentry (at, actor_type, actor_id, actor, action, object_type, object_id, object_repr,
        detail, address)
    SELECT NEW.action_time, 'user', NEW.user_id, coalesce((SELECT username FROM auth_user WHERE id = NEW.user_id), ''),
        'admin.' || CASE NEW.action_flag WHEN 1 THEN 'added' WHEN 2 THEN 'changed' ELSE 'deleted' END,
        coalesce(thing, ''), coalesce(NEW.object_id, ''),
        CASE WHEN named THEN left(NEW.object_repr, 200) ELSE '' END, told, '';
    RETURN NULL;
END $$;
"""
NAMED = (
    *("auth.user", "auth.group", "crm.apikey", "crm.connection", "crm.eventretention", "crm.topic"),
    *("crm.computedattribute", "crm.place", "crm.product", "campaigns.segment", "campaigns.flow"),
    *("campaigns.broadcast", "delivery.message", "django_celery_beat.periodictask"),
)


def naming(*names: str) -> str:
    return TAKE_OVER % ", ".join(f"'{name}'" for name in names)


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0014_experiments"), ("crm", "0027_alert_mailed_at")]

    operations = [
        migrations.AddField(
            model_name="experiment",
            name="ranges",
            field=models.JSONField(db_default=[], default=list, editable=False),
        ),
        migrations.AlterField(
            model_name="experiment",
            name="subject",
            field=models.TextField(
                choices=[
                    ("message", "variants of a message"),
                    ("step", "branches of a random split"),
                    ("broadcast", "a broadcast"),
                    ("audience", "the audience of a broadcast"),
                    ("holdout", "a holdout"),
                ],
                default="message",
                verbose_name="what is tried out",
            ),
        ),
        migrations.RemoveConstraint("experiment", "one_experiment_at_a_time_per_broadcast"),
        migrations.AddConstraint(
            "experiment",
            models.UniqueConstraint(
                fields=["broadcast"],
                condition=Q(state="running", subject__in=["broadcast", "audience"]),
                name="one_experiment_at_a_time_per_broadcast",
            ),
        ),
        migrations.RunSQL(naming(*NAMED, "campaigns.experiment", "delivery.eventstream"), naming(*NAMED)),
        # Small and quickly made, however many runs there are.
        migrations.AddIndex(
            model_name="enrollment",
            index=BrinIndex(fields=["entered_at"], name="enrollment_entered", autosummarize=True),
        ),
    ]
