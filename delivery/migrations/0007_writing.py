from django.conf import settings
from django.db import migrations, models
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime


class Migration(migrations.Migration):
    dependencies = [
        ("delivery", "0006_providers"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Snippet",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "slug",
                    models.CharField(
                        help_text="Messages say {{ snippets.short_name }} where the text is to be.",
                        max_length=50,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[a-z][a-z0-9_]*\\Z",
                                "Use small letters, digits and _, beginning with a letter.",
                            )
                        ],
                        verbose_name="short name",
                    ),
                ),
                ("name", models.TextField(verbose_name="name")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created",
                    ),
                ),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
            ],
            options={
                "verbose_name": "snippet",
                "verbose_name_plural": "snippets",
                "ordering": ["name"],
            },
        ),
        migrations.AddField(
            model_name="message",
            name="version",
            field=models.PositiveIntegerField(
                db_default=0, default=0, editable=False, verbose_name="version"
            ),
        ),
        migrations.CreateModel(
            name="BrandKit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("company_name", models.TextField(blank=True, default="", verbose_name="company")),
                (
                    "postal_address",
                    models.TextField(
                        blank=True,
                        default="",
                        help_text="Law asks for it in the foot of advertising emails.",
                        verbose_name="postal address",
                    ),
                ),
                ("website", models.TextField(blank=True, default="", verbose_name="website")),
                ("logo_url", models.TextField(blank=True, default="", verbose_name="logo")),
                (
                    "logo_width",
                    models.PositiveIntegerField(default=160, verbose_name="width of the logo in pixels"),
                ),
                (
                    "accent",
                    models.CharField(
                        default="#4f46e5",
                        max_length=7,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A#[0-9a-fA-F]{6}\\Z", "Write a colour such as #4f46e5."
                            )
                        ],
                        verbose_name="main colour",
                    ),
                ),
                (
                    "text_colour",
                    models.CharField(
                        default="#1f2937",
                        max_length=7,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A#[0-9a-fA-F]{6}\\Z", "Write a colour such as #4f46e5."
                            )
                        ],
                        verbose_name="colour of texts",
                    ),
                ),
                (
                    "background",
                    models.CharField(
                        default="#f3f4f6",
                        max_length=7,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A#[0-9a-fA-F]{6}\\Z", "Write a colour such as #4f46e5."
                            )
                        ],
                        verbose_name="colour around the text",
                    ),
                ),
                (
                    "surface",
                    models.CharField(
                        default="#ffffff",
                        max_length=7,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A#[0-9a-fA-F]{6}\\Z", "Write a colour such as #4f46e5."
                            )
                        ],
                        verbose_name="colour behind the text",
                    ),
                ),
                (
                    "heading_font",
                    models.TextField(
                        choices=[
                            ("system", "what the device uses"),
                            ("arial", "Arial"),
                            ("georgia", "Georgia"),
                            ("tahoma", "Tahoma"),
                            ("times", "Times New Roman"),
                            ("trebuchet", "Trebuchet"),
                            ("verdana", "Verdana"),
                        ],
                        default="system",
                        verbose_name="font of headings",
                    ),
                ),
                (
                    "body_font",
                    models.TextField(
                        choices=[
                            ("system", "what the device uses"),
                            ("arial", "Arial"),
                            ("georgia", "Georgia"),
                            ("tahoma", "Tahoma"),
                            ("times", "Times New Roman"),
                            ("trebuchet", "Trebuchet"),
                            ("verdana", "Verdana"),
                        ],
                        default="system",
                        verbose_name="font of texts",
                    ),
                ),
                (
                    "social_links",
                    models.JSONField(blank=True, db_default={}, default=dict, verbose_name="social networks"),
                ),
                ("sender_name", models.TextField(blank=True, default="", verbose_name="sender's name")),
                (
                    "sender_email",
                    models.EmailField(
                        blank=True, default="", max_length=254, verbose_name="sender's address"
                    ),
                ),
                (
                    "reply_to",
                    models.EmailField(blank=True, default="", max_length=254, verbose_name="answers go to"),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        auto_now=True,
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="changed",
                    ),
                ),
            ],
            options={
                "verbose_name": "brand",
                "verbose_name_plural": "brand",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("pk", 1)), name="one_row_of_brand")
                ],
            },
        ),
        migrations.CreateModel(
            name="MessageVariant",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "key",
                    models.CharField(
                        max_length=20,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[a-z0-9]{1,20}\\Z", "Use small letters and digits."
                            )
                        ],
                        verbose_name="letter",
                    ),
                ),
                ("name", models.TextField(blank=True, default="", verbose_name="name")),
                (
                    "weight",
                    models.PositiveIntegerField(
                        default=50,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(10000),
                        ],
                        verbose_name="part",
                    ),
                ),
                (
                    "message",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="variants",
                        to="delivery.message",
                    ),
                ),
            ],
            options={
                "verbose_name": "variant",
                "verbose_name_plural": "variants",
                "ordering": ["key"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("message", "key"), name="one_variant_per_message_and_key"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("weight__lte", 10000)), name="weight_of_a_variant_is_small"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="MessageVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField(verbose_name="version")),
                ("state", models.JSONField(verbose_name="as it was")),
                (
                    "restored_from",
                    models.PositiveIntegerField(null=True, verbose_name="brought back from version"),
                ),
                ("saved_at", models.DateTimeField(verbose_name="saved")),
                (
                    "message",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="versions",
                        to="delivery.message",
                    ),
                ),
                (
                    "saved_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
            ],
            options={
                "verbose_name": "version of a message",
                "verbose_name_plural": "versions of messages",
                "ordering": ["-number"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("message", "number"), name="one_version_per_message_and_number"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SnippetText",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "locale",
                    models.TextField(
                        blank=True,
                        default="",
                        help_text="Empty: for everybody without a better match.",
                        verbose_name="language",
                    ),
                ),
                ("text", models.TextField(verbose_name="text")),
                (
                    "snippet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="texts",
                        to="delivery.snippet",
                    ),
                ),
            ],
            options={
                "verbose_name": "text of a snippet",
                "verbose_name_plural": "texts of a snippet",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("snippet", "locale"), name="one_text_of_a_snippet_per_locale"
                    )
                ],
            },
        ),
    ]
