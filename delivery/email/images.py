"""Pictures in emails: taken only when they are what they say, kept under names that nobody can guess."""

import secrets
import warnings
from io import BytesIO

from django.core.files.base import ContentFile
from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from PIL import Image, ImageOps, UnidentifiedImageError

from delivery.models import EmailImage

MAX_BYTES = 3_000_000  # as it is kept: readers fetch it by phone
MAX_UPLOAD = 25_000_000  # bytes of a photograph, which is made smaller
MAX_PIXELS = 50_000_000
WIDEST = 1_600  # pixels of what was too large: twice the width of an email, for sharp screens, and some more
# What every mail program shows; Outlook knows no WebP and no SVG.
_OTHER = "WEBP"
_TYPES = {"PNG": ("image/png", "png"), "JPEG": ("image/jpeg", "jpg"), "GIF": ("image/gif", "gif")}


class BadImage(ValueError):
    """This can't be taken; the message says why."""


def store(data: bytes, name: str, alt: str) -> EmailImage:
    """Keep a picture, and return it.

    Raises:
        BadImage: it is too large, no picture that mail programs show, damaged, or not described.
    """
    if not alt.strip():
        raise BadImage(_("Describe the picture for those who do not see it."))
    kind, data, size = _checked(data)
    content_type, extension = _TYPES[kind]
    image = EmailImage(
        name=name.strip()[:200] or "?",
        alt=alt.strip()[:500],
        content_type=content_type,
        width=size[0],
        height=size[1],
        size=len(data),
    )
    image.file.save(f"{secrets.token_urlsafe(18)}.{extension}", ContentFile(data), save=False)
    image.save()
    return image


def remove(image: EmailImage) -> None:
    """Delete a picture and its file: emails that show it will show its description."""
    storage, name = image.file.storage, str(image.file.name)
    with transaction.atomic():
        image.delete()
        transaction.on_commit(lambda: storage.delete(name))


def _checked(data: bytes) -> tuple[str, bytes, tuple[int, int]]:
    """Decode all of it, as a header alone proves nothing; turn photographs upright and drop where they were taken.

    What is too large for a letter is made smaller; WebP, which Outlook does not show, becomes what it does.
    """
    if len(data) > MAX_UPLOAD:
        raise BadImage(_("A picture may have %d MB.") % (MAX_UPLOAD // 1_000_000))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(BytesIO(data), formats=[*_TYPES, _OTHER])
            kind = str(picture.format)
            if picture.width * picture.height > MAX_PIXELS:
                raise BadImage(_("The picture has too many pixels."))
            if len(data) > MAX_BYTES and kind == "JPEG":
                picture.draft("RGB", (2 * WIDEST, 2 * WIDEST))  # decoded small at once
            picture.load()
            if len(data) > MAX_BYTES or kind == _OTHER:
                return _smaller(picture)
            if kind == "JPEG" and picture.getexif():
                upright = ImageOps.exif_transpose(picture)
                return kind, _as_jpeg(upright, picture.info.get("icc_profile")), upright.size
    except BadImage:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(_("Choose a PNG, JPEG or GIF.")) from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError) as error:
        raise BadImage(_("The picture is damaged.")) from error
    return kind, data, picture.size


def _smaller(picture: Image.Image) -> tuple[str, bytes, tuple[int, int]]:
    """A picture as PNG where one can see through it, else as JPEG, no wider than an email needs.

    Raises:
        BadImage: it moves, or is too large all the same.
    """
    if getattr(picture, "is_animated", False):
        raise BadImage(_("A picture that moves may have %d MB.") % (MAX_BYTES // 1_000_000))
    upright = ImageOps.exif_transpose(picture)
    upright.thumbnail((WIDEST, WIDEST * 4))
    if upright.has_transparency_data:
        out = BytesIO()
        upright.convert("RGBA").save(out, "PNG", optimize=True)
        kind, data = "PNG", out.getvalue()
    else:
        kind, data = "JPEG", _as_jpeg(upright.convert("RGB"), picture.info.get("icc_profile"))
    if len(data) > MAX_BYTES:
        raise BadImage(_("A picture may have %d MB.") % (MAX_BYTES // 1_000_000))
    return kind, data, upright.size


def _as_jpeg(picture: Image.Image, colours: bytes | None) -> bytes:
    out = BytesIO()
    picture.save(out, "JPEG", quality=90, icc_profile=colours, exif=b"")
    return out.getvalue()


@require_safe
def show(request: HttpRequest, name: str) -> HttpResponseBase:
    """The picture called `name`, for anybody and for good: what is changed gets another name."""
    image = EmailImage.objects.filter(file=f"email/{name}").first()
    if image is None:
        raise Http404
    try:
        response = FileResponse(image.file.open("rb"), content_type=image.content_type)
    except FileNotFoundError:
        raise Http404 from None
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response
