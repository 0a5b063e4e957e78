"""Topics, legal bases, double opt-in and people's preferences; a ledger that can only be added to."""

import re

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

STATES = [("subscribed", "subscribed"), ("pending", "not confirmed yet"), ("unsubscribed", "unsubscribed")]
BASES = [("consent", "consent"), ("contract", "contract"), ("legitimate_interest", "legitimate interest")]
SLUG = re.compile(r"[-a-zA-Z0-9_]{1,50}")

# Entries move only along a merge that is on record; `nudge.ledger` is set by whoever erases a person.
APPEND_ONLY = """
    CREATE FUNCTION crm_consentchange_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('nudge.ledger', true) = 'open' THEN
            RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
        END IF;
        IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'profile_id' = to_jsonb(OLD) - 'profile_id' AND EXISTS (
            SELECT FROM crm_profilemerge m
            WHERE (m.loser_id = OLD.profile_id AND m.winner_id = NEW.profile_id)
               OR (m.loser_id = NEW.profile_id AND m.winner_id = OLD.profile_id)
        ) THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'The ledger of consents can only be added to'
            USING ERRCODE = 'integrity_constraint_violation';
    END $$;
    CREATE TRIGGER crm_consentchange_append_only BEFORE UPDATE OR DELETE ON crm_consentchange
        FOR EACH ROW EXECUTE FUNCTION crm_consentchange_append_only();
"""
NOT_APPEND_ONLY = """
    DROP TRIGGER crm_consentchange_append_only ON crm_consentchange;
    DROP FUNCTION crm_consentchange_append_only();
"""


def name_topics(apps, schema_editor):
    """Make a topic of each that people have answered for or a CRM's fields are mapped to."""
    topic = apps.get_model("crm", "Topic")
    consent = apps.get_model("crm", "Consent")
    slugs = set(consent.objects.filter(kind="topic").values_list("key", flat=True).distinct())
    for mapping in apps.get_model("crm", "Connection").objects.values_list("mapping", flat=True):
        for part in mapping.values():
            if isinstance(part, dict):
                rules = (part.get("consent") or {}).values()
                slugs |= {rule["key"] for rule in rules if rule.get("kind") == "topic"}
    topic.objects.bulk_create(
        [
            topic(slug=slug, name=slug.replace("_", " ").replace("-", " ").capitalize(), position=place)
            for place, slug in enumerate(sorted(slug for slug in slugs if SLUG.fullmatch(slug)))
        ],
        ignore_conflicts=True,
    )


def consent_fields(model_name):
    return [
        migrations.AddField(
            model_name, "wording_version",
            models.TextField("version of the wording", blank=True, default="", db_default="", help_text="Such as 2026-03."),
        ),
        migrations.AddField(
            model_name, "legal_basis",
            models.TextField("legal basis", choices=BASES, default="consent", db_default="consent"),
        ),
        migrations.AddField(
            model_name, "proof",
            models.JSONField(
                "proof", default=dict, db_default={}, blank=True,
                help_text="The page, the browser, the language and a fingerprint of the address.",
            ),
        ),
        migrations.AlterField(model_name, "state", models.TextField("state", choices=STATES)),
    ]


class Migration(migrations.Migration):
    dependencies = [("crm", "0016_catalogue_and_places")]

    operations = [
        *consent_fields("consent"),
        *consent_fields("consentchange"),
        migrations.AddField(
            "suppression", "source",
            models.TextField("source", blank=True, default="", db_default="", editable=False),
        ),
        migrations.AlterModelOptions(
            "suppression",
            {
                "verbose_name": "suppressed address", "verbose_name_plural": "suppressed addresses",
                "permissions": [("export_suppression", "Can export suppressed addresses")],
            },
        ),
        migrations.CreateModel(
            name="Topic",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("slug", models.SlugField(unique=True, help_text="What messages and the API call it.", verbose_name="short name")),
                ("name", models.TextField(verbose_name="name")),
                ("description", models.TextField(blank=True, default="", help_text="What people get, and how often.", verbose_name="description")),
                ("translations", models.JSONField(blank=True, default=dict, verbose_name="translations")),
                ("position", models.PositiveIntegerField(default=0, verbose_name="position")),
                ("shown", models.BooleanField(default=True, help_text="Shown on everybody's preference page.", verbose_name="people may choose it")),
                ("needs_yes", models.BooleanField(default=False, help_text="Otherwise those who agreed to the channel get it until they say no.", verbose_name="needs a yes")),
                ("double_opt_in", models.BooleanField(default=False, help_text="A yes counts once it was confirmed by a link.", verbose_name="double opt-in")),
                ("legal_basis", models.TextField(choices=BASES, default="consent", verbose_name="legal basis")),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="created")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
            ],
            options={"verbose_name": "topic", "verbose_name_plural": "topics", "ordering": ["position", "name"]},
        ),
        migrations.CreateModel(
            name="ChannelTerms",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("channel", models.TextField(unique=True, verbose_name="channel")),
                ("double_opt_in", models.BooleanField(default=False, help_text="A yes counts once it was confirmed by a link.", verbose_name="double opt-in")),
                ("legal_basis", models.TextField(choices=BASES, default="consent", verbose_name="legal basis")),
            ],
            options={"verbose_name": "channel's terms", "verbose_name_plural": "channels' terms", "ordering": ["channel"]},
        ),
        migrations.CreateModel(
            name="Preference",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("frequencies", models.JSONField(blank=True, default=dict, verbose_name="how often, by topic")),
                ("quiet_from", models.TimeField(blank=True, null=True, verbose_name="quiet from")),
                ("quiet_to", models.TimeField(blank=True, null=True, verbose_name="quiet until")),
                ("channel", models.TextField(blank=True, default="", verbose_name="preferred channel")),
                ("changed_at", models.DateTimeField(verbose_name="changed")),
                ("profile", models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name="preference", to="crm.profile")),
            ],
            options={
                "verbose_name": "preference",
                "verbose_name_plural": "preferences",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("quiet_from__isnull", True), ("quiet_to__isnull", True)),
                            models.Q(
                                ("quiet_from__isnull", False),
                                ("quiet_to__isnull", False),
                                models.Q(("quiet_from", models.F("quiet_to")), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="quiet_hours_begin_and_end",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ListImport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.TextField(choices=[("consents", "consents"), ("suppressions", "suppressed addresses")], verbose_name="what")),
                ("name", models.TextField(verbose_name="file")),
                ("state", models.TextField(choices=[("waiting", "waiting"), ("running", "being read"), ("done", "done"), ("failed", "failed")], default="waiting", verbose_name="state")),
                ("error", models.TextField(blank=True, default="", verbose_name="error")),
                ("rows", models.PositiveIntegerField(default=0, verbose_name="rows")),
                ("line", models.PositiveIntegerField(default=0, verbose_name="rows read")),
                ("taken", models.PositiveIntegerField(default=0, verbose_name="taken")),
                ("changed", models.PositiveIntegerField(default=0, verbose_name="changed")),
                ("rejected", models.PositiveIntegerField(default=0, verbose_name="rejected")),
                ("problems", models.JSONField(blank=True, default=list, verbose_name="rejected rows")),
                ("started_by", models.TextField(blank=True, default="", verbose_name="by")),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="started")),
                ("finished_at", models.DateTimeField(null=True, verbose_name="finished")),
                ("upload", models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="crm.upload")),
            ],
            options={"verbose_name": "list import", "verbose_name_plural": "list imports"},
        ),
        migrations.RunPython(name_topics, migrations.RunPython.noop),
        migrations.RunSQL(APPEND_ONLY, NOT_APPEND_ONLY),
    ]
