"""Idempotency keys, and files of events."""

import crm.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0018_privacy")]

    operations = [
        migrations.CreateModel(
            name='EventFile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('upload', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='event_files', to='crm.upload')),
                ('name', models.TextField(verbose_name='file')),
                ('format', models.TextField(choices=[('csv', 'CSV'), ('jsonl', 'JSONL')], verbose_name='format')),
                ('encoding', models.TextField(default='utf-8', verbose_name='encoding')),
                ('digest', models.TextField(verbose_name='SHA-256')),
                ('size', models.BigIntegerField(verbose_name='bytes')),
                ('mapping', models.JSONField(blank=True, default=dict, verbose_name='columns')),
                ('state', models.TextField(choices=[('draft', 'not started'), ('running', 'being imported'), ('done', 'imported'), ('cancelled', 'cancelled'), ('failed', 'failed')], default='draft', verbose_name='state')),
                ('position', models.BigIntegerField(default=0, verbose_name='bytes settled')),
                ('line', models.BigIntegerField(default=0, verbose_name='rows settled, empty ones included')),
                ('rows', models.BigIntegerField(default=0, verbose_name='rows')),
                ('stored', models.BigIntegerField(default=0, verbose_name='stored')),
                ('known', models.BigIntegerField(default=0, verbose_name='known before')),
                ('rejected', models.BigIntegerField(default=0, verbose_name='rejected')),
                ('seconds', models.FloatField(default=0, verbose_name='seconds of work')),
                ('problem', models.TextField(blank=True, default='', verbose_name='problem')),
                ('created_by', models.TextField(blank=True, default='', verbose_name='imported by')),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='uploaded')),
                ('worked_at', models.DateTimeField(null=True, verbose_name='last worked on')),
                ('ended_at', models.DateTimeField(null=True, verbose_name='ended')),
            ],
            options={
                'verbose_name': 'file of events',
                'verbose_name_plural': 'files of events',
                'permissions': [('import_event', 'Can import events')],
            },
        ),
        migrations.CreateModel(
            name='IdempotentAnswer',
            fields=[
                ('key', models.BinaryField(primary_key=True, serialize=False)),
                ('request', models.BinaryField()),
                ('status', models.PositiveSmallIntegerField()),
                ('body', crm.fields.EncryptedJSONField()),
                ('created_at', models.DateTimeField(db_index=True)),
            ],
            options={
                'verbose_name': 'kept answer',
                'verbose_name_plural': 'kept answers',
            },
        ),
        migrations.CreateModel(
            name='EventFileReject',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('row', models.BigIntegerField(verbose_name='row')),
                ('code', models.TextField(verbose_name='code')),
                ('field', models.TextField(verbose_name='field')),
                ('detail', models.TextField(verbose_name='reason')),
                ('values', models.JSONField(default=list, verbose_name="row's content")),
                ('file', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rejects', to='crm.eventfile')),
            ],
            options={
                'verbose_name': 'rejected row',
                'verbose_name_plural': 'rejected rows',
            },
        ),
        migrations.AddConstraint(
            model_name='eventfilereject',
            constraint=models.UniqueConstraint(fields=('file', 'row'), name='a_row_is_rejected_once'),
        ),
    ]
