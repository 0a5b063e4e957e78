"""The event log, range-partitioned by month."""

from django.db import migrations

CREATE = """
CREATE SEQUENCE crm_event_seq;
CREATE TABLE crm_event (
    id uuid NOT NULL,
    seq bigint NOT NULL DEFAULT nextval('crm_event_seq'),
    txid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    profile_id bigint NOT NULL,
    name text NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    properties jsonb NOT NULL DEFAULT '{}',
    source text NOT NULL,
    CONSTRAINT an_event_is_stored_once UNIQUE (id, occurred_at)
) PARTITION BY RANGE (occurred_at);
CREATE INDEX crm_event_by_profile ON crm_event (profile_id, name, occurred_at);
CREATE INDEX crm_event_by_name ON crm_event (name, occurred_at) INCLUDE (profile_id);
CREATE INDEX crm_event_in_log_order ON crm_event (txid, seq);
"""


class Migration(migrations.Migration):
    dependencies = [("crm", "0001_initial")]
    operations = [
        migrations.RunSQL(CREATE, "DROP TABLE crm_event; DROP SEQUENCE crm_event_seq;"),
    ]
