"""What the teacher gets to see of a photo, and what it must not."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from tests.teacher.conftest import picture
from vibe_assets.settings import LibrarySettings, TeacherSettings
from vibe_assets.teacher.failures import TeacherFailure
from vibe_assets.teacher.images import EncodedPhoto, encode_for_teacher

CAMERA = "Canary Camera 9000"


@pytest.fixture
def encode(tmp_path: Path) -> Callable[..., EncodedPhoto]:
    return lambda name, **fields: encode_for_teacher(tmp_path / name, TeacherSettings.model_validate(fields))


def sent(photo: EncodedPhoto) -> bytes:
    head, _, data = photo.url.partition(",")
    assert head == f"data:{photo.mime};base64"
    return base64.b64decode(data)


def opened(photo: EncodedPhoto) -> Image.Image:
    return Image.open(io.BytesIO(sent(photo)))


def exif(orientation: int = 1) -> bytes:
    block = Image.Exif()
    block[0x0112], block[0x0110] = orientation, CAMERA
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0)})
    return block.tobytes()


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize(("side", "size"), [(40, (30, 40)), (0, (72, 96)), (5000, (72, 96))])
def test_a_turned_photo_arrives_upright_scaled_and_without_metadata(
    tmp_path: Path, encode: Callable[..., EncodedPhoto], image_format: str, side: int, size: tuple[int, int]
) -> None:
    picture(1).save(tmp_path / "a.jpg", exif=exif(6), comment=CAMERA)
    photo = encode("a.jpg", image_format=image_format, max_side_px=side)
    image = opened(photo)
    assert (image.format, image.size, photo.mime) == (image_format.upper(), size, f"image/{image_format}")
    assert CAMERA.encode() not in sent(photo)
    assert not image.getexif()


def test_metadata_goes_along_when_asked_but_the_rotation_is_reset(tmp_path: Path, encode: Callable[..., EncodedPhoto]) -> None:
    picture(1).save(tmp_path / "a.jpg", exif=exif(6))
    block = opened(encode("a.jpg", keep_metadata=True)).getexif()
    assert (block[0x0110], block[0x0112]) == (CAMERA, 1)
    assert block.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {}), ("a.png", {}), ("a.webp", {"lossless": True})])
def test_keep_sends_the_own_bytes_of_a_bare_photo(
    tmp_path: Path, encode: Callable[..., EncodedPhoto], name: str, options: dict[str, Any]
) -> None:
    picture(1).save(tmp_path / name, **options)
    assert sent(encode(name, image_format="keep")) == (tmp_path / name).read_bytes()
    assert opened(encode(name, image_format="keep", max_side_px=60)).size == (60, 45)


@pytest.mark.parametrize(("side", "longest"), [(48, 48), (49, 48), (60, 60), (95, 95), (96, 96)])
def test_a_photo_that_decodes_to_just_below_the_longest_side_is_not_scaled_again(
    tmp_path: Path, encode: Callable[..., EncodedPhoto], side: int, longest: int
) -> None:
    picture(1).save(tmp_path / "a.jpg")  # 96 x 72, and half of it is 48 x 36
    assert max(opened(encode("a.jpg", max_side_px=side)).size) == longest


def test_keep_strips_what_tells_more_than_the_picture(tmp_path: Path, encode: Callable[..., EncodedPhoto]) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", CAMERA)
    picture(1).save(tmp_path / "exif.jpg", exif=exif())
    picture(1).save(tmp_path / "comment.jpg", comment=CAMERA)
    picture(1).save(tmp_path / "text.png", pnginfo=text)
    picture(1).save(tmp_path / "exif.webp", exif=exif())
    picture(1).save(tmp_path / "xmp.webp", xmp=CAMERA.encode())
    for name in ("tail.jpg", "tail.png", "tail.webp"):
        picture(1).save(tmp_path / name)
        with (tmp_path / name).open("ab") as handle:
            handle.write(CAMERA.encode())
    for path in sorted(tmp_path.iterdir()):
        assert CAMERA.encode() in path.read_bytes(), path.name
        photo = encode(path.name, image_format="keep")
        assert CAMERA.encode() not in sent(photo), path.name
        assert photo.mime == f"image/{path.suffix[1:].replace('jpg', 'jpeg')}"
        kept = encode(path.name, image_format="keep", keep_metadata=True)
        assert sent(kept) == path.read_bytes()


def test_keep_turns_formats_that_servers_do_not_read_into_jpeg(tmp_path: Path, encode: Callable[..., EncodedPhoto]) -> None:
    picture(1).save(tmp_path / "a.tiff")
    assert opened(encode("a.tiff", image_format="keep")).format == "JPEG"


def test_extreme_shapes_keep_at_least_one_pixel_and_what_no_format_holds_is_too_large(
    tmp_path: Path, encode: Callable[..., EncodedPhoto]
) -> None:
    Image.new("RGB", (20_000, 2)).save(tmp_path / "strip.png")
    assert opened(encode("strip.png")).size == (1000, 1)
    with pytest.raises(TeacherFailure, match="too_large"):
        encode("strip.png", max_side_px=0, image_format="webp")


@pytest.mark.parametrize("content", [b"", b"not a photo", b"\xff\xd8\xff\xe0 broken", None])
def test_what_cannot_be_read_fails_with_a_reason(tmp_path: Path, encode: Callable[..., EncodedPhoto], content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(TeacherFailure) as caught:
        encode("x.jpg")
    assert caught.value.reason == "unreadable_photo"


def test_caps_of_the_library_hold_here_too(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    for caps in ({"max_pixels": 100}, {"max_bytes": 100}):
        with pytest.raises(TeacherFailure, match=f"too_many_{next(iter(caps))[4:]}"):
            encode_for_teacher(tmp_path / "a.png", TeacherSettings.model_validate({}), library=LibrarySettings.model_validate(caps))


def test_a_broken_exif_block_costs_the_block_not_the_photo(tmp_path: Path, encode: Callable[..., EncodedPhoto]) -> None:
    picture(1).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff garbage")
    assert opened(encode("a.jpg", keep_metadata=True)).size == (96, 72)
