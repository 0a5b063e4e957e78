import django.db.models.deletion
from django.db import migrations, models

# Members come and go in many ways (counting, lists, merges, erasures); however they do, the sizes follow, and so do
# the segments that ask for a list.
CREATE = """
CREATE FUNCTION campaigns_members_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO campaigns_segmentmove (segment_id, entered, departed)
        SELECT segment_id, count(*), 0 FROM now_rows GROUP BY segment_id;
        IF EXISTS (SELECT FROM crm_watch WHERE field = 'lists') THEN
            INSERT INTO crm_change (profile_id, fields)
            SELECT r.profile_id, '{lists}' FROM now_rows r JOIN campaigns_segment s ON s.id = r.segment_id
            WHERE s.kind = 'list';
        END IF;
    ELSE
        INSERT INTO campaigns_segmentmove (segment_id, entered, departed)
        SELECT segment_id, 0, count(*) FROM was_rows GROUP BY segment_id;
        IF EXISTS (SELECT FROM crm_watch WHERE field = 'lists') THEN
            INSERT INTO crm_change (profile_id, fields)
            SELECT r.profile_id, '{lists}' FROM was_rows r JOIN campaigns_segment s ON s.id = r.segment_id
            WHERE s.kind = 'list';
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER members_came AFTER INSERT ON campaigns_segmentmembership REFERENCING NEW TABLE AS now_rows
    FOR EACH STATEMENT EXECUTE FUNCTION campaigns_members_changed();
CREATE TRIGGER members_went AFTER DELETE ON campaigns_segmentmembership REFERENCING OLD TABLE AS was_rows
    FOR EACH STATEMENT EXECUTE FUNCTION campaigns_members_changed();
ALTER TABLE campaigns_segmentcandidate SET (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);
ALTER TABLE campaigns_segmentmove SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
"""
DROP = """
DROP TRIGGER members_came ON campaigns_segmentmembership;
DROP TRIGGER members_went ON campaigns_segmentmembership;
DROP FUNCTION campaigns_members_changed();
"""


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0003_segments_in_full"), ("crm", "0022_changes")]

    operations = [
        migrations.AddField(
            model_name="segment",
            name="plan",
            field=models.JSONField(blank=True, default=dict, editable=False, verbose_name="plan"),
        ),
        migrations.AddField(
            model_name="segment",
            name="counted_as",
            field=models.TextField(blank=True, default="", editable=False),
        ),
        migrations.AddField(
            model_name="segment",
            name="counting_since",
            field=models.DateTimeField(editable=False, null=True, verbose_name="being counted since"),
        ),
        migrations.AddField(
            model_name="segment",
            name="stop_asked",
            field=models.BooleanField(default=False, editable=False, verbose_name="to be stopped"),
        ),
        migrations.AddField(
            model_name="segment",
            name="recount_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="to be counted anew since"),
        ),
        migrations.AddField(
            model_name="segment",
            name="passed_until",
            field=models.DateTimeField(editable=False, null=True, verbose_name="exact as of"),
        ),
        migrations.AlterField(
            model_name="segment",
            name="state",
            field=models.TextField(
                choices=[
                    ("new", "not counted yet"),
                    ("counting", "being counted"),
                    ("ready", "up to date"),
                    ("failed", "failed"),
                    ("stopped", "counting was stopped"),
                ],
                default="new",
                verbose_name="state",
            ),
        ),
        migrations.AlterField(
            model_name="segmentmembership",
            name="segment",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="memberships",
                to="campaigns.segment",
            ),
        ),
        migrations.AlterField(
            model_name="segmentmembership",
            name="profile",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="segment_memberships",
                to="crm.profile",
            ),
        ),
        migrations.CreateModel(
            name="SegmentCandidate",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("profile_id", models.BigIntegerField()),
                ("cause", models.TextField()),
                ("event", models.TextField(blank=True, default="")),
                (
                    "segment",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="campaigns.segment",
                    ),
                ),
            ],
            options={"default_permissions": ()},
        ),
        migrations.CreateModel(
            name="SegmentMove",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("entered", models.PositiveIntegerField(default=0)),
                ("departed", models.PositiveIntegerField(default=0)),
                (
                    "segment",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="campaigns.segment",
                    ),
                ),
            ],
            options={"default_permissions": ()},
        ),
        migrations.RunSQL(CREATE, DROP),
    ]
