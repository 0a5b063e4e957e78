"""Files that people uploaded, kept in the database so that every worker, on whatever host, can read them."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Upload(models.Model):
    """One uploaded file."""

    name = models.TextField(_("file"))
    size = models.BigIntegerField(_("bytes"), default=0)
    uploaded_by = models.TextField(_("uploaded by"), blank=True, default="")
    uploaded_at = models.DateTimeField(_("uploaded"), db_default=Now())

    class Meta:
        verbose_name = _("uploaded file")
        verbose_name_plural = _("uploaded files")

    def __str__(self):
        return self.name


class UploadPart(models.Model):
    """A piece of a file, small enough to be read and written without much memory."""

    upload = models.ForeignKey(Upload, models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upload", "number"], name="one_upload_part_per_number")
        ]
