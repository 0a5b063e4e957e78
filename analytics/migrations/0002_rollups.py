import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("analytics", "0001_initial"), ("delivery", "0013_spooled")]
    operations = [
        migrations.CreateModel(
            name="DayFigures",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "generation",
                        "dimension",
                        "day",
                        "series_id",
                        "value",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("generation", models.IntegerField()),
                ("dimension", models.TextField()),
                ("day", models.DateField()),
                ("series_id", models.BigIntegerField()),
                ("value", models.TextField()),
                ("sent", models.IntegerField(db_default=0, default=0)),
                ("delivered", models.IntegerField(db_default=0, default=0)),
                ("opened", models.IntegerField(db_default=0, default=0)),
                ("clicked", models.IntegerField(db_default=0, default=0)),
                ("dismissed", models.IntegerField(db_default=0, default=0)),
                ("read", models.IntegerField(db_default=0, default=0)),
                ("bounced", models.IntegerField(db_default=0, default=0)),
                ("complained", models.IntegerField(db_default=0, default=0)),
                ("unsubscribed", models.IntegerField(db_default=0, default=0)),
                ("lost", models.IntegerField(db_default=0, default=0)),
                ("machine_opened", models.IntegerField(db_default=0, default=0)),
                ("machine_clicked", models.IntegerField(db_default=0, default=0)),
                ("arrivals", models.IntegerField(db_default=0, default=0)),
                ("opens", models.IntegerField(db_default=0, default=0)),
                ("clicks", models.IntegerField(db_default=0, default=0)),
                ("dismissals", models.IntegerField(db_default=0, default=0)),
                ("reads", models.IntegerField(db_default=0, default=0)),
                ("bounces", models.IntegerField(db_default=0, default=0)),
                ("complaints", models.IntegerField(db_default=0, default=0)),
                ("unsubscribes", models.IntegerField(db_default=0, default=0)),
                ("losses", models.IntegerField(db_default=0, default=0)),
                ("machine_opens", models.IntegerField(db_default=0, default=0)),
                ("machine_clicks", models.IntegerField(db_default=0, default=0)),
                ("suppressed", models.IntegerField(db_default=0, default=0)),
                ("failed", models.IntegerField(db_default=0, default=0)),
                ("expired", models.IntegerField(db_default=0, default=0)),
            ],
            options={
                "verbose_name": "figures of a day",
                "verbose_name_plural": "figures of days",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="RollupState",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("generation", models.IntegerField(default=1)),
                ("zone", models.TextField()),
                (
                    "stage",
                    models.TextField(
                        blank=True,
                        choices=[
                            ("", "up to date"),
                            ("log", "reading the event log"),
                            ("counting", "counting"),
                            ("tidying", "removing what was counted before"),
                        ],
                        default="",
                    ),
                ),
                ("next_generation", models.IntegerField(null=True)),
                ("next_zone", models.TextField(blank=True, default="")),
                ("position", models.BigIntegerField(default=0)),
                ("upto", models.BigIntegerField(default=0)),
                ("replay_txid", models.BigIntegerField(null=True)),
                ("replay_seq", models.BigIntegerField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "state of the reports",
                "verbose_name_plural": "state of the reports",
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="engagement",
            name="bounced_at",
            field=models.DateTimeField(null=True, verbose_name="bounced"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="complained_at",
            field=models.DateTimeField(null=True, verbose_name="called spam"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="country",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="country"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="device",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="device"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="device_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="engagement",
            name="ended",
            field=models.TextField(
                blank=True,
                choices=[("suppressed", "not sent by rule"), ("failed", "failed"), ("expired", "expired")],
                db_default="",
                default="",
                verbose_name="as",
            ),
        ),
        migrations.AddField(
            model_name="engagement",
            name="ended_at",
            field=models.DateTimeField(null=True, verbose_name="ended"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="locale",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="language"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="machine_clicked_at",
            field=models.DateTimeField(null=True, verbose_name="clicked by a machine"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="machine_opened_at",
            field=models.DateTimeField(null=True, verbose_name="opened by a machine"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="provider",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="carried by"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="read_at",
            field=models.DateTimeField(null=True, verbose_name="read"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="reason",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="reason"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="sent_at",
            field=models.DateTimeField(null=True, verbose_name="sent"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="unsubscribed_at",
            field=models.DateTimeField(null=True, verbose_name="unsubscribed"),
        ),
        migrations.AddField(
            model_name="engagement",
            name="zone",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="time zone"),
        ),
        migrations.CreateModel(
            name="Series",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("channel", models.TextField()),
                ("variant", models.TextField()),
                ("origin_type", models.TextField()),
                ("origin_id", models.BigIntegerField()),
                ("origin_step", models.TextField()),
                (
                    "message",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="delivery.message",
                    ),
                ),
            ],
            options={
                "verbose_name": "series",
                "verbose_name_plural": "series",
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="engagement",
            name="series",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="analytics.series",
            ),
        ),
        migrations.AddIndex(
            model_name="engagement",
            index=models.Index(fields=["sent_at", "delivery"], name="engagement_by_sent_at"),
        ),
        migrations.AddIndex(
            model_name="engagement",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", False)),
                fields=["ended_at", "delivery"],
                name="engagement_by_ended_at",
            ),
        ),
        migrations.AddConstraint(
            model_name="series",
            constraint=models.UniqueConstraint(
                fields=("message", "channel", "variant", "origin_type", "origin_id", "origin_step"),
                name="one_series_of_a_kind",
            ),
        ),
        migrations.CreateModel(
            name="AudienceDay",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "measure",
                        "day",
                        "channel",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("measure", models.TextField()),
                ("day", models.DateField()),
                ("channel", models.TextField()),
                ("people", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "audience of a day",
                "verbose_name_plural": "audience of days",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="CohortCell",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "kind",
                        "start",
                        "later",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("kind", models.TextField()),
                ("start", models.DateField()),
                ("later", models.IntegerField()),
                ("people", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "people of a cohort",
                "verbose_name_plural": "people of cohorts",
                "default_permissions": (),
            },
        ),
        # Rows change some times after they are written: with room beside them, indexes need not follow.
        migrations.RunSQL(
            "ALTER TABLE analytics_engagement SET (fillfactor = 80);"
            "ALTER TABLE analytics_dayfigures SET (fillfactor = 70)",
            "ALTER TABLE analytics_engagement RESET (fillfactor);"
            "ALTER TABLE analytics_dayfigures RESET (fillfactor)",
        ),
        # At the end: this locks the deliveries, which are not to wait for indexes.
        migrations.AlterField(
            model_name="engagement",
            name="delivery",
            field=models.OneToOneField(
                db_constraint=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                primary_key=True,
                related_name="engagement",
                serialize=False,
                to="delivery.delivery",
            ),
        ),
    ]
