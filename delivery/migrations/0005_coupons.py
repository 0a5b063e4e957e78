import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0004_flow_policies")]

    operations = [
        migrations.CreateModel(
            name="CouponPool",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("slug", models.SlugField(unique=True, verbose_name="short name")),
                ("name", models.TextField(verbose_name="name")),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("unique", "a code of their own for everybody"),
                            ("fixed", "the same code for everybody"),
                        ],
                        default="unique",
                        verbose_name="kind",
                    ),
                ),
                ("code", models.CharField(blank=True, default="", max_length=100, verbose_name="code")),
                (
                    "expires_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="No code is given from then on.",
                        null=True,
                        verbose_name="valid until",
                    ),
                ),
                (
                    "low_mark",
                    models.PositiveIntegerField(
                        default=100,
                        help_text="When fewer codes are left than this, an alert says so.",
                        verbose_name="warn below",
                    ),
                ),
                (
                    "event_name",
                    models.CharField(
                        default="purchase",
                        help_text="The event that tells that a code was used.",
                        max_length=200,
                        verbose_name="used by the event",
                    ),
                ),
                (
                    "event_property",
                    models.CharField(
                        default="coupon",
                        help_text="The event's property that holds the code.",
                        max_length=200,
                        verbose_name="in the property",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created",
                    ),
                ),
            ],
            options={
                "verbose_name": "coupon pool",
                "verbose_name_plural": "coupon pools",
                "ordering": ["name"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("code", ""), ("kind", "fixed"), _negated=True),
                        name="a_fixed_coupon_has_a_code",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="CouponCode",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("code", models.CharField(blank=True, max_length=100, verbose_name="code")),
                ("given_to", models.BigIntegerField(editable=False, null=True)),
                ("cause", models.TextField(editable=False, null=True)),
                ("given_at", models.DateTimeField(blank=True, null=True, verbose_name="given")),
                ("redeemed_at", models.DateTimeField(blank=True, null=True, verbose_name="used")),
                (
                    "pool",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="codes",
                        to="delivery.couponpool",
                        verbose_name="pool",
                    ),
                ),
                (
                    "profile",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="crm.profile",
                        verbose_name="profile",
                    ),
                ),
            ],
            options={
                "verbose_name": "coupon code",
                "verbose_name_plural": "coupon codes",
                "indexes": [
                    models.Index(
                        condition=models.Q(("given_at__isnull", True)),
                        fields=["pool", "id"],
                        name="coupon_free",
                    ),
                    models.Index(fields=["profile", "pool"], name="coupon_by_profile"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("code", ""), _negated=True),
                        fields=("pool", "code"),
                        name="one_coupon_code_per_pool",
                    ),
                    models.UniqueConstraint(
                        fields=("pool", "given_to"), name="one_coupon_per_person_and_pool"
                    ),
                    models.UniqueConstraint(fields=("cause",), name="one_coupon_per_cause"),
                ],
            },
        ),
    ]
