"""Retention, tombstones and the audit log."""

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

# Whoever wrote it, and in bulk too: what is in the admin's log is in the audit log. Names, and words that people or
# programs wrote, only of things that tell nothing about a customer; of form changes the names of the fields.
TAKE_OVER = """
CREATE FUNCTION crm_audit_admin_log() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    thing text;
    named boolean;
    told jsonb := '{}';
BEGIN
    SELECT app_label || '.' || model INTO thing FROM django_content_type WHERE id = NEW.content_type_id;
    named := thing IN (
        'auth.user', 'auth.group', 'crm.apikey', 'crm.connection', 'crm.eventretention', 'crm.topic',
        'crm.computedattribute', 'crm.place', 'crm.product', 'campaigns.segment', 'campaigns.flow',
        'campaigns.broadcast', 'delivery.message', 'django_celery_beat.periodictask');
    IF NEW.change_message LIKE '[%' THEN
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
CREATE TRIGGER audit_admin_log AFTER INSERT ON django_admin_log
FOR EACH ROW EXECUTE FUNCTION crm_audit_admin_log();
"""
APPEND_ONLY = """
CREATE FUNCTION crm_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('nudge.audit_retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON crm_auditentry
FOR EACH ROW EXECUTE FUNCTION crm_audit_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("crm", "0017_consent_in_full"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.CreateModel(
            name="ErasedName",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.BinaryField(unique=True)),
                ("profile_id", models.BigIntegerField(db_index=True, verbose_name="erased profile")),
                (
                    "erased_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="erased",
                    ),
                ),
            ],
            options={
                "verbose_name": "name of an erased person",
                "verbose_name_plural": "names of erased people",
            },
        ),
        migrations.CreateModel(
            name="EventRetention",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.TextField(
                        blank=True,
                        help_text="Empty: all events without a rule of their own.",
                        unique=True,
                        verbose_name="event",
                    ),
                ),
                (
                    "days",
                    models.PositiveIntegerField(
                        help_text="Days since it happened.",
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="kept for",
                    ),
                ),
                ("changed_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
            ],
            options={
                "verbose_name": "event retention",
                "verbose_name_plural": "event retention",
            },
        ),
        migrations.AlterModelOptions(
            name="profile",
            options={
                "permissions": [
                    ("export_profile", "Can export profiles"),
                    ("view_contact_data", "Can see emails, phones and other contact data"),
                    ("export_person", "Can export all that is known about one person"),
                    ("erase_profile", "Can erase a person"),
                ],
                "verbose_name": "profile",
                "verbose_name_plural": "profiles",
            },
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="time",
                    ),
                ),
                (
                    "actor_type",
                    models.TextField(
                        choices=[
                            ("user", "user"),
                            ("key", "API key"),
                            ("command", "command line"),
                            ("nobody", "nobody known"),
                        ],
                        verbose_name="kind of actor",
                    ),
                ),
                ("actor_id", models.BigIntegerField(null=True, verbose_name="actor's number")),
                ("actor", models.TextField(blank=True, default="", verbose_name="who")),
                ("action", models.TextField(verbose_name="did")),
                ("object_type", models.TextField(blank=True, default="", verbose_name="kind of thing")),
                ("object_id", models.TextField(blank=True, default="", verbose_name="its number")),
                ("object_repr", models.TextField(blank=True, default="", verbose_name="its name")),
                ("detail", models.JSONField(db_default={}, default=dict, verbose_name="detail")),
                ("address", models.TextField(blank=True, default="", verbose_name="from address")),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit log",
                "indexes": [
                    models.Index(fields=["object_type", "object_id", "id"], name="audit_by_object"),
                    models.Index(fields=["action", "id"], name="audit_by_action"),
                    models.Index(fields=["actor", "id"], name="audit_by_actor"),
                    models.Index(fields=["at"], name="audit_by_time"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Removal",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField(verbose_name="day")),
                (
                    "name",
                    models.TextField(
                        help_text="An event's name, or the partition's month.", verbose_name="what"
                    ),
                ),
                ("rows", models.BigIntegerField(verbose_name="rows")),
                ("older_than", models.DateTimeField(verbose_name="older than")),
            ],
            options={
                "verbose_name": "removal by retention",
                "verbose_name_plural": "removals by retention",
                "constraints": [
                    models.UniqueConstraint(fields=("day", "name"), name="one_removal_a_day_and_name")
                ],
            },
        ),
        migrations.CreateModel(
            name="CrmErasure",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("object", models.TextField(verbose_name="object")),
                ("record_id", models.TextField(verbose_name="record")),
                ("profile_id", models.BigIntegerField(db_index=True, verbose_name="erased profile")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "waiting"),
                            ("done", "erased in the CRM"),
                            ("failed", "not possible"),
                        ],
                        default="waiting",
                        verbose_name="state",
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, verbose_name="attempts")),
                (
                    "due_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="next attempt"
                    ),
                ),
                ("detail", models.TextField(blank=True, default="", verbose_name="what the CRM said")),
                (
                    "requested_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="asked for",
                    ),
                ),
                ("settled_at", models.DateTimeField(editable=False, null=True, verbose_name="settled")),
                (
                    "connection",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        to="crm.connection",
                        verbose_name="connection",
                    ),
                ),
            ],
            options={
                "verbose_name": "erasure in a CRM",
                "verbose_name_plural": "erasures in CRMs",
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "waiting")), fields=["due_at"], name="crm_erasure_due"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("connection", "object", "record_id"), name="a_crm_record_is_erased_once"
                    )
                ],
            },
        ),
        migrations.RunSQL(TAKE_OVER, "DROP FUNCTION crm_audit_admin_log CASCADE"),
        migrations.RunSQL(APPEND_ONLY, "DROP FUNCTION crm_audit_append_only CASCADE"),
    ]
