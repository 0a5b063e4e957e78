"""Who waits for which product, and where the stores are."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models

import crm.models.products


def _names(default, verbose_name, **options):
    return django.contrib.postgres.fields.ArrayField(
        base_field=models.TextField(), default=default, size=None, verbose_name=verbose_name, **options
    )


def _key():
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def _amount(verbose_name):
    return models.DecimalField(decimal_places=4, max_digits=18, null=True, verbose_name=verbose_name)


class Migration(migrations.Migration):
    dependencies = [("crm", "0015_computed_attributes")]

    operations = [
        migrations.AddIndex("product", models.Index(fields=["updated_at", "id"], name="product_by_change")),
        migrations.CreateModel(
            name="ProductChange",
            fields=[
                ("id", _key()),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="changes", to="crm.product"
                    ),
                ),
                ("changed_at", models.DateTimeField(verbose_name="when")),
                ("source", models.TextField(blank=True, default="", verbose_name="source")),
                ("old_price", _amount("price before")),
                ("price", _amount("price")),
                (
                    "old_currency",
                    models.TextField(blank=True, default="", verbose_name="currency before"),
                ),
                ("currency", models.TextField(blank=True, default="", verbose_name="currency")),
                ("was_in_stock", models.BooleanField(null=True, verbose_name="in stock before")),
                ("in_stock", models.BooleanField(null=True, verbose_name="in stock")),
                ("told_upto", models.BigIntegerField(default=0)),
                ("told", models.IntegerField(default=0, verbose_name="people told")),
                ("told_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "change of a product",
                "verbose_name_plural": "changes of products",
                "indexes": [
                    models.Index(fields=["product", "changed_at"], name="product_change_by_time"),
                    models.Index(
                        condition=models.Q(("told_at__isnull", True)),
                        fields=["id"],
                        name="product_change_untold",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ProductInterest",
            fields=[
                ("id", _key()),
                ("sku", models.TextField(verbose_name="product number")),
                (
                    "profile",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="crm.profile"
                    ),
                ),
                ("asked_at", models.DateTimeField(null=True, verbose_name="asked")),
                ("saved_at", models.DateTimeField(null=True, verbose_name="saved")),
                ("viewed_at", models.DateTimeField(null=True, verbose_name="viewed")),
                ("bought_at", models.DateTimeField(null=True, verbose_name="bought")),
                ("stock_told_at", models.DateTimeField(null=True, verbose_name="told that it is back")),
                ("price_told_at", models.DateTimeField(null=True, verbose_name="told of a lower price")),
            ],
            options={
                "verbose_name": "interest in a product",
                "verbose_name_plural": "interests in products",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("sku", "profile"), name="one_interest_per_person_and_product"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="CatalogueSettings",
            fields=[
                ("id", _key()),
                (
                    "asked",
                    _names(
                        crm.models.products.asked_events,
                        "asked for it",
                        blank=True,
                        help_text="Names of events, separated by commas. Who asked waits until they are told.",
                    ),
                ),
                ("saved", _names(crm.models.products.saved_events, "saved it", blank=True)),
                ("viewed", _names(crm.models.products.viewed_events, "viewed it", blank=True)),
                (
                    "bought",
                    _names(
                        crm.models.products.bought_events,
                        "bought it",
                        blank=True,
                        help_text="Who bought the product since is not told about it.",
                    ),
                ),
                (
                    "properties",
                    _names(
                        crm.models.products.product_properties,
                        "product number in",
                        help_text="Properties of these events that name a product; also within lists, such as items.",
                    ),
                ),
                (
                    "lookback_days",
                    models.PositiveIntegerField(
                        default=90,
                        help_text="How long a view or a saved product counts as interest.",
                        validators=[MinValueValidator(1), MaxValueValidator(730)],
                        verbose_name="interest lasts (days)",
                    ),
                ),
                (
                    "least_drop",
                    models.DecimalField(
                        decimal_places=2,
                        default=5,
                        help_text="Smaller drops are not told.",
                        max_digits=5,
                        validators=[MinValueValidator(0), MaxValueValidator(100)],
                        verbose_name="least drop of a price (%)",
                    ),
                ),
                (
                    "compare_days",
                    models.PositiveIntegerField(
                        default=30,
                        help_text="A drop counts from the lowest price of this time, as EU law asks of announced "
                        "reductions. 0 compares with the price before only.",
                        validators=[MaxValueValidator(365)],
                        verbose_name="compare with the lowest price of (days)",
                    ),
                ),
                (
                    "quiet_days",
                    models.PositiveIntegerField(
                        default=7,
                        help_text="Nobody is told twice of the same kind of change of one product within this time.",
                        validators=[MaxValueValidator(365)],
                        verbose_name="quiet time (days)",
                    ),
                ),
            ],
            options={
                "verbose_name": "catalogue settings",
                "verbose_name_plural": "catalogue settings",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("pk", 1)), name="one_row_of_catalogue_settings"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Place",
            fields=[
                ("id", _key()),
                (
                    "slug",
                    models.SlugField(
                        allow_unicode=True, max_length=100, unique=True, verbose_name="short name"
                    ),
                ),
                ("name", models.CharField(max_length=200, verbose_name="name")),
                (
                    "kind",
                    models.CharField(
                        default="store",
                        help_text="Such as store, warehouse or airport.",
                        max_length=50,
                        verbose_name="kind",
                    ),
                ),
                (
                    "latitude",
                    models.FloatField(
                        validators=[MinValueValidator(-90), MaxValueValidator(90)], verbose_name="latitude"
                    ),
                ),
                (
                    "longitude",
                    models.FloatField(
                        validators=[MinValueValidator(-180), MaxValueValidator(180)],
                        verbose_name="longitude",
                    ),
                ),
                (
                    "radius",
                    models.FloatField(
                        default=150,
                        help_text="Who is nearer to the centre than this is there. Phones err by up to 100 metres "
                        "indoors.",
                        validators=[MinValueValidator(1), MaxValueValidator(100_000)],
                        verbose_name="radius (metres)",
                    ),
                ),
                (
                    "cooldown_minutes",
                    models.PositiveIntegerField(
                        default=60,
                        help_text="Who comes back sooner than this after they last came in does not enter anew.",
                        validators=[MaxValueValidator(525_600)],
                        verbose_name="quiet time (minutes)",
                    ),
                ),
                (
                    "address",
                    models.CharField(blank=True, default="", max_length=500, verbose_name="address"),
                ),
                ("active", models.BooleanField(default=True, verbose_name="active")),
                (
                    "attributes",
                    models.JSONField(blank=True, db_default={}, default=dict, verbose_name="attributes"),
                ),
                (
                    "source",
                    models.TextField(blank=True, default="", editable=False, verbose_name="source"),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created",
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="changed",
                    ),
                ),
            ],
            options={
                "verbose_name": "place",
                "verbose_name_plural": "places",
                "ordering": ["name", "pk"],
                "indexes": [models.Index(fields=["latitude", "longitude"], name="place_by_position")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("latitude__range", (-90, 90)),
                            ("longitude__range", (-180, 180)),
                            ("radius__gt", 0),
                            ("radius__lte", 100_000),
                        ),
                        name="a_place_is_on_earth",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="PersonPlace",
            fields=[
                ("id", _key()),
                (
                    "profile",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="crm.profile"
                    ),
                ),
                (
                    "place",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="people", to="crm.place"
                    ),
                ),
                ("inside", models.BooleanField(verbose_name="there")),
                ("entered_at", models.DateTimeField(verbose_name="came in")),
            ],
            options={
                "verbose_name": "person at a place",
                "verbose_name_plural": "people at places",
                "constraints": [
                    models.UniqueConstraint(fields=("profile", "place"), name="one_row_per_person_and_place")
                ],
            },
        ),
        migrations.CreateModel(
            name="LastLocation",
            fields=[
                (
                    "profile",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="last_location",
                        serialize=False,
                        to="crm.profile",
                        verbose_name="person",
                    ),
                ),
                ("latitude", models.FloatField(verbose_name="latitude")),
                ("longitude", models.FloatField(verbose_name="longitude")),
                ("located_at", models.DateTimeField(verbose_name="when")),
                (
                    "place",
                    models.ForeignKey(
                        help_text="The place they came into last.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="crm.place",
                        verbose_name="last place",
                    ),
                ),
            ],
            options={"verbose_name": "last location", "verbose_name_plural": "last locations"},
        ),
    ]
