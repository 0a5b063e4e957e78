import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('analytics', '0002_rollups'),
    ]

    operations = [
        migrations.CreateModel(
            name='Goal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(help_text='In the API and in files.', unique=True, verbose_name='short name')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('event', models.TextField(help_text='Somebody reaches the goal when this happens.', verbose_name='event')),
                ('where', models.JSONField(blank=True, default=list, verbose_name='only where')),
                ('value_property', models.TextField(blank=True, default='total', help_text='Nested ones are written like order.total. Empty: the goal has no amount.', verbose_name='property with the amount')),
                ('currency_property', models.TextField(blank=True, default='currency', verbose_name='property with the currency')),
                ('currency', models.CharField(blank=True, default='', help_text="Three letters, like EUR. Empty: the account's.", max_length=3, verbose_name='currency where the event tells none')),
                ('click_hours', models.PositiveIntegerField(default=72, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(8784)], verbose_name='hours after a click that count')),
                ('open_hours', models.PositiveIntegerField(default=24, help_text='0: opening a message does not count.', validators=[django.core.validators.MaxValueValidator(8784)], verbose_name='hours after an open that count')),
                ('view_hours', models.JSONField(blank=True, default=dict, verbose_name='hours after a message was seen that count')),
                ('counting', models.TextField(choices=[('every', 'every time'), ('once', 'once per person: the first time')], default='every', verbose_name='counts')),
                ('default_model', models.TextField(choices=[('last_click', 'last click'), ('last_touch', 'last open or click'), ('first_touch', 'first open or click'), ('linear', 'all alike'), ('position', 'by position: 40 % first, 40 % last, 20 % between'), ('view_through', 'last seen, without a click')], default='last_click', help_text='All ways are worked out; reports begin with this one.', verbose_name='credit goes to')),
                ('active', models.BooleanField(default=True, help_text='What a goal that is not active has, stays as it is.', verbose_name='active')),
                ('counted_in', models.CharField(blank=True, default='', editable=False, max_length=3)),
                ('recompute_from', models.DateTimeField(editable=False, null=True)),
                ('recomputed_upto', models.DateTimeField(editable=False, null=True)),
                ('recompute_last', models.DateTimeField(editable=False, null=True)),
                ('recomputed_at', models.DateTimeField(editable=False, null=True)),
            ],
            options={
                'verbose_name': 'goal',
                'verbose_name_plural': 'goals',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='ExchangeRate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='day')),
                ('currency', models.CharField(help_text='Three letters, like USD.', max_length=3, verbose_name='currency')),
                ('rate', models.DecimalField(decimal_places=10, help_text="What one unit of it is worth in the account's currency.", max_digits=20, verbose_name='rate')),
            ],
            options={
                'verbose_name': 'exchange rate',
                'verbose_name_plural': 'exchange rates',
                'ordering': ['-day', 'currency'],
                'constraints': [models.UniqueConstraint(fields=('currency', 'day'), name='one_rate_of_a_day'), models.CheckConstraint(condition=models.Q(('rate__gt', 0)), name='rate_is_positive'), models.CheckConstraint(condition=models.Q(('currency__regex', '^[A-Z]{3}$')), name='rate_of_a_currency')],
            },
        ),
        migrations.CreateModel(
            name='EarnedDay',
            fields=[
                ('pk', models.CompositePrimaryKey('generation', 'goal_id', 'model', 'day', 'series_id', 'currency', blank=True, editable=False, primary_key=True, serialize=False)),
                ('generation', models.IntegerField()),
                ('model', models.TextField()),
                ('day', models.DateField()),
                ('series_id', models.BigIntegerField()),
                ('currency', models.TextField()),
                ('conversions', models.DecimalField(db_default=0, decimal_places=9, default=0, max_digits=24)),
                ('people', models.BigIntegerField(db_default=0, default=0)),
                ('value', models.DecimalField(db_default=0, decimal_places=4, default=0, max_digits=28)),
                ('goal', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='analytics.goal')),
            ],
            options={
                'verbose_name': 'earned on a day',
                'verbose_name_plural': 'earned on days',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Credit',
            fields=[
                ('pk', models.CompositePrimaryKey('goal_id', 'event_id', 'model', 'delivery_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('event_id', models.UUIDField()),
                ('model', models.TextField(choices=[('last_click', 'last click'), ('last_touch', 'last open or click'), ('first_touch', 'first open or click'), ('linear', 'all alike'), ('position', 'by position: 40 % first, 40 % last, 20 % between'), ('view_through', 'last seen, without a click')])),
                ('delivery_id', models.BigIntegerField()),
                ('series_id', models.BigIntegerField()),
                ('share', models.DecimalField(decimal_places=9, max_digits=10)),
                ('value', models.DecimalField(decimal_places=4, max_digits=18, null=True)),
                ('currency', models.TextField(blank=True, default='')),
                ('account_value', models.DecimalField(decimal_places=4, max_digits=24, null=True)),
                ('account_currency', models.TextField(blank=True, default='')),
                ('occurred_at', models.DateTimeField()),
                ('goal', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='credits', to='analytics.goal')),
            ],
            options={
                'verbose_name': 'credit for a goal',
                'verbose_name_plural': 'credits for goals',
                'default_permissions': (),
                'indexes': [models.Index(fields=['delivery_id'], name='credit_by_delivery'), models.Index(fields=['event_id'], name='credit_by_event'), models.Index(fields=['goal', 'occurred_at'], name='credit_by_time')],
            },
        ),
    ]
