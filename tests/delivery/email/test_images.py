"""Pictures in emails: what is taken, how it is shown, who may."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from delivery.email import images
from delivery.models import EmailImage

pytestmark = pytest.mark.django_db
PICK = "/admin/delivery/emailimage/pick/"


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), **more: Any) -> bytes:
    out = BytesIO()
    Image.new("RGB", size, "red").save(out, kind, **more)
    return out.getvalue()


def test_a_picture_is_kept_under_a_name_that_says_nothing(client: Any) -> None:
    image = images.store(picture(), "cup.png", "A cup")
    assert (image.width, image.height, image.content_type) == (8, 6, "image/png")
    assert "cup" not in image.url
    answer = client.get(image.url.removeprefix("http://localhost:8000"))
    assert b"".join(answer.streaming_content) == picture()
    assert answer["Content-Type"] == "image/png"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in answer["Cache-Control"]
    assert "sandbox" in answer["Content-Security-Policy"]
    assert client.get("/media/email/..%2Fsecrets").status_code == 404


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<html>GIF89a",
        picture()[:40],
        picture("JPEG", (200, 200))[:400],
        picture("BMP"),
        b"GIF89a" + b"\xff" * 40,
        picture() + b"\0" * images.MAX_UPLOAD,
        b"\xff\xd8\xff" + b"\0" * images.MAX_BYTES,
    ],
)
def test_what_is_no_picture_is_not_kept(data: bytes, folder: Path) -> None:
    with pytest.raises(images.BadImage):
        images.store(data, "x.png", "x")
    assert not list(folder.rglob("*.*"))


def test_a_huge_picture_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 40)
    with pytest.raises(images.BadImage):
        images.store(picture(), "x.png", "x")


def _noise(kind: str, size: tuple[int, int], **more: Any) -> bytes:
    out = BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(out, kind, **more)
    return out.getvalue()


def test_a_photograph_of_a_phone_is_made_smaller() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "home address"
    photograph = _noise("JPEG", (2800, 2000), quality=97, exif=exif.tobytes())
    assert len(photograph) > images.MAX_BYTES
    image = images.store(photograph, "phone.jpg", "Us")
    assert (image.width, image.content_type) == (images.WIDEST, "image/jpeg")
    assert image.height > image.width, "it stands upright"
    assert image.size <= images.MAX_BYTES
    assert b"home address" not in image.file.open().read()


def test_pictures_that_outlook_does_not_show_become_others() -> None:
    assert images.store(_noise("WEBP", (40, 30)), "x.webp", "x").content_type == "image/jpeg"
    out = BytesIO()
    Image.new("RGBA", (40, 30), (255, 0, 0, 90)).save(out, "WEBP")
    assert images.store(out.getvalue(), "x.webp", "x").content_type == "image/png"


def test_where_a_photograph_was_taken_is_dropped(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "home address"  # lying on its side, with words
    image = images.store(picture("JPEG", exif=exif.tobytes()), "x.jpg", "x")
    kept = folder / str(image.file.name)
    assert (image.width, image.height) == (6, 8)
    assert b"home address" not in kept.read_bytes()


def test_uploading_needs_the_permission(client: Any) -> None:
    user = User.objects.create_user("ann", password="x", is_staff=True)
    client.force_login(user)
    assert client.get(PICK).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_emailimage"))
    assert client.get(PICK).json() == {"images": []}
    upload = {"file": SimpleUploadedFile("cup.png", picture()), "alt": "A cup"}
    assert client.post(PICK, upload).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="add_emailimage"))
    upload["file"].seek(0)
    told = client.post(PICK, upload)
    assert (told.status_code, told.json()["alt"]) == (201, "A cup")
    assert client.post(PICK, {"file": SimpleUploadedFile("x.png", b"no"), "alt": "x"}).status_code == 400
    assert client.post(PICK, {"file": SimpleUploadedFile("x.png", picture())}).status_code == 400
    assert len(client.get(PICK).json()["images"]) == 1


def test_the_admin_takes_shows_and_deletes(
    admin_client: Any, folder: Path, django_capture_on_commit_callbacks: Any
) -> None:
    data = {"upload": SimpleUploadedFile("cup.png", picture()), "alt": "A cup", "name": ""}
    assert admin_client.post("/admin/delivery/emailimage/add/", data).status_code == 302
    image = EmailImage.objects.get()
    assert image.name == "cup.png"
    assert "A cup" in admin_client.get("/admin/delivery/emailimage/").content.decode()
    assert image.url in admin_client.get(f"/admin/delivery/emailimage/{image.pk}/change/").content.decode()
    bad = admin_client.post(
        "/admin/delivery/emailimage/add/", {**data, "upload": SimpleUploadedFile("x.png", b"no")}
    )
    assert "PNG, JPEG or GIF" in bad.content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(f"/admin/delivery/emailimage/{image.pk}/delete/", {"post": "yes"})
    assert not list(folder.rglob("*.png"))


def test_blocks_can_be_gone_on_with_as_mjml(admin_client: Any) -> None:
    blocks = [{"kind": "text", "text": "Hi {{ profile.first_name }} & co"}]
    told = admin_client.post("/admin/delivery/emailimage/mjml/", {"blocks": json.dumps(blocks)}).json()
    assert "Hi {{ profile.first_name }} &amp; co" in told["mjml"]
    from delivery import channels

    assert channels.get("email").problems({"subject": "x", "mjml": told["mjml"]}) == []
    assert admin_client.post("/admin/delivery/emailimage/mjml/", {"blocks": "[{}]"}).status_code == 400
