"""Attributes that are computed from events."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0014_ingestion")]

    operations = [
        migrations.CreateModel(
            name='ComputedAttribute',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.TextField(help_text='Rules and messages know it as computed.short_name.', unique=True, verbose_name='short name')),
                ('name', models.TextField(verbose_name='name')),
                ('kind', models.TextField(editable=False, verbose_name='kind')),
                ('config', models.JSONField(verbose_name='definition')),
                ('state', models.TextField(choices=[('draft', 'draft'), ('backfilling', 'being computed'), ('live', 'kept up to date'), ('failed', 'failed')], default='draft', editable=False, verbose_name='state')),
                ('served', models.BooleanField(default=False, editable=False, verbose_name='complete')),
                ('reached', models.BigIntegerField(default=0, editable=False)),
                ('goal', models.BigIntegerField(default=0, editable=False)),
                ('txid', models.BigIntegerField(default=0, editable=False)),
                ('seq', models.BigIntegerField(default=0, editable=False)),
                ('error', models.TextField(blank=True, default='', editable=False, verbose_name='error')),
                ('computed_at', models.DateTimeField(editable=False, null=True, verbose_name='computed for everybody')),
                ('zones_checked_at', models.DateTimeField(editable=False, null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='changed')),
            ],
            options={
                'verbose_name': 'computed attribute',
                'verbose_name_plural': 'computed attributes',
                'ordering': ['name'],
                'constraints': [models.CheckConstraint(condition=models.Q(('slug__regex', '^[a-z][a-z0-9_]{0,49}$')), name='a_computed_attribute_has_a_plain_slug')],
            },
        ),
        migrations.CreateModel(
            name='ComputedValue',
            fields=[
                ('pk', models.CompositePrimaryKey('profile_id', 'attribute_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('number', models.FloatField(null=True)),
                ('text', models.TextField(null=True)),
                ('at', models.DateTimeField(null=True)),
                ('due_at', models.DateTimeField(null=True)),
                ('zone', models.TextField(null=True)),
                ('attribute', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='crm.computedattribute')),
                ('profile', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='crm.profile')),
            ],
            options={
                'verbose_name': 'computed value',
                'verbose_name_plural': 'computed values',
                'indexes': [models.Index(fields=['attribute', 'number'], include=('profile',), name='computed_by_number'), models.Index(condition=models.Q(('text__isnull', False)), fields=['attribute', 'text'], include=('profile',), name='computed_by_text'), models.Index(condition=models.Q(('at__isnull', False)), fields=['attribute', 'at'], include=('profile',), name='computed_by_moment'), models.Index(condition=models.Q(('due_at__isnull', False)), fields=['due_at'], name='computed_due')],
            },
        ),
    ]
