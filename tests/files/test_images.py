"""Every container and bit depth: the values that Pillow shows, upright, or a refusal."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from perception.errors import PerceptionError
from perception.files import image_size, read_image, read_label, read_raster, write_image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 40, 3), np.uint8)
IDS = RNG.integers(0, 12, (24, 40), np.uint8)
SMOOTH = np.add.outer(np.arange(24) * 4, np.arange(40) * 3).astype(np.uint8)


def save(path, pixels, mode=None, **options):
    Image.fromarray(pixels, mode).save(path, **options)
    return path


def grey_png(path, bits, rows):
    """A grey PNG of 1, 2 or 4 bits from packed rows: Pillow writes 1 bit only."""
    width = len(rows[0]) * 8 // bits

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, len(rows), bits, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    return path


# ---------------------------------------------------------------------------- containers


@pytest.mark.parametrize("suffix", ["bmp", "tif", "webp", "gif", "ppm", "png", "jpg"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "CMYK", "LA"])
def test_a_picture_of_any_container_and_mode_has_the_pixels_that_pillow_shows(
    tmp_path, suffix, mode
):
    path = tmp_path / f"a.{suffix}"
    try:
        Image.fromarray(SMOOTH).convert("RGB").convert(mode).save(path)
    except (OSError, ValueError, KeyError):
        pytest.skip(f"Pillow writes no {mode} as {suffix}")
    with Image.open(path) as image:
        shown = np.asarray(image.convert("RGB"))

    assert image_size(path) == (24, 40)
    np.testing.assert_allclose(read_image(path).astype(int), shown, atol=suffix == "jpg")


@pytest.mark.parametrize("tail", [b"\0" * 8192, b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 50])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_bytes_behind_the_end_of_a_whole_picture_do_not_matter(tmp_path, suffix, tail):
    path = save(tmp_path / f"a.{suffix}", PIXELS)
    whole = read_image(path)
    path.write_bytes(path.read_bytes() + tail)

    np.testing.assert_array_equal(read_image(path), whole)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp", "gif", "ppm"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_cut_picture_of_any_container_is_refused(tmp_path, suffix, share):
    path = save(tmp_path / f"a.{suffix}", RNG.integers(0, 256, (240, 240, 3), np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(PerceptionError, match=rf"a\.{suffix}: found "):
        read_image(path)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_thumbnail_with_its_own_end_does_not_hide_a_cut(tmp_path, progressive):
    thumbnail = io.BytesIO()
    Image.fromarray(PIXELS).save(thumbnail, "JPEG")
    exif = Image.Exif()
    exif[0x0131] = "x" + thumbnail.getvalue().decode("latin-1")
    path = save(tmp_path / "a.jpg", PIXELS, exif=exif, progressive=progressive)
    assert path.read_bytes().count(b"\xff\xd9") >= 1
    read_image(path)
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(PerceptionError, match="truncated"):
        read_image(path)


def test_several_pictures_in_one_file_are_refused(tmp_path):
    frames = [Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(3)]
    for suffix in ("gif", "tif", "webp"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with pytest.raises(PerceptionError, match="3 pictures in one file"):
            read_image(path)


def test_a_bomb_is_refused_by_its_header(tmp_path):
    path = tmp_path / "a.png"
    save(path, np.zeros((10, 10), np.uint8))
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    path.write_bytes(data)

    with pytest.raises(PerceptionError, match="20000x20000 pixels, above 100,000,000"):
        read_image(path)


# ---------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_picture_is_upright(tmp_path, suffix, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", PIXELS, exif=exif, **options)
    with Image.open(path) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    read = read_image(path)

    assert image_size(path) == read.shape[:2] == shown.shape[:2]
    np.testing.assert_allclose(read.astype(int), shown, atol=suffix == "jpg")


def test_an_orientation_behind_the_pixels_of_a_png_counts_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", PIXELS, exif=exif)
    data = path.read_bytes()
    start = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[start : start + 4], "big")
    chunk, rest = data[start : start + length], data[:start] + data[start + length :]
    path.write_bytes(rest[:-12] + chunk + rest[-12:])

    assert image_size(path) == read_image(path).shape[:2] == (40, 24)


# ---------------------------------------------------------------------------- bits


def test_a_picture_of_16_bits_gives_the_high_bytes(tmp_path):
    wide = RNG.integers(0, 1 << 16, (5, 7, 3), np.uint16)
    write_image(tmp_path / "rgb.png", wide)
    write_image(tmp_path / "grey.png", wide[..., 0])
    Image.fromarray(wide[..., 0]).save(tmp_path / "grey.tif")

    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), wide >> 8)
    for name in ("grey.png", "grey.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name)[..., 1], wide[..., 0] >> 8)


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_data_of_fewer_bits_in_16_is_refused_instead_of_read_as_black(tmp_path, bits, suffix):
    dim = (np.arange(35).reshape(5, 7) * ((1 << bits) - 1) // 34).astype(np.uint16)
    Image.fromarray(dim).save(tmp_path / f"a.{suffix}")

    with pytest.raises(PerceptionError, match=f"up to {(1 << bits) - 1}.*data of {bits} bits"):
        read_image(tmp_path / f"a.{suffix}")


def test_a_black_picture_of_16_bits_is_black(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((5, 7), np.uint16))

    assert not read_image(tmp_path / "a.png").any()


def test_floats_are_no_picture(tmp_path):
    save(tmp_path / "a.tif", np.ones((5, 7), np.float32))

    with pytest.raises(PerceptionError, match="32 bits per pixel"):
        read_image(tmp_path / "a.tif")


# ---------------------------------------------------------------------------- labels


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_a_label_of_one_bit_holds_0_and_1(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", IDS > 5)

    np.testing.assert_array_equal(read_label(path), IDS > 5)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif"])
def test_a_label_of_grey_or_palette_holds_its_ids(tmp_path, suffix):
    palette = Image.fromarray(IDS, "P")
    palette.putpalette(np.random.default_rng(1).integers(0, 256, 36, np.uint8).tobytes())
    palette.save(tmp_path / f"p.{suffix}")

    if suffix != "gif":  # it has palettes only
        np.testing.assert_array_equal(read_label(save(tmp_path / f"g.{suffix}", IDS)), IDS)
    np.testing.assert_array_equal(read_label(tmp_path / f"p.{suffix}"), IDS)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_label_of_16_bits_holds_its_ids(tmp_path, suffix):
    wide = IDS.astype(np.uint16) * 1000
    Image.fromarray(wide).save(tmp_path / f"a.{suffix}")

    np.testing.assert_array_equal(read_label(tmp_path / f"a.{suffix}"), wide)


@pytest.mark.parametrize("bits", [2, 4])
def test_a_grey_label_of_2_or_4_bits_is_refused(tmp_path, bits):
    path = grey_png(tmp_path / "a.png", bits, [[0x1B, 0xE4]] * 3)

    with pytest.raises(PerceptionError, match=f"grey of {bits} bits"):
        read_label(path)


def test_a_label_of_packed_palette_indices_holds_them(tmp_path):
    image = Image.fromarray(IDS % 4, "P")
    image.putpalette(bytes(range(12)))
    image.save(tmp_path / "a.png", bits=2)

    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), IDS % 4)


@pytest.mark.parametrize("options", [{"quality": 90}, {"quality": 100}])
@pytest.mark.parametrize("name", ["a.jpg", "named.png", "a.webp"])
def test_a_lossy_label_is_refused_with_the_cause(tmp_path, name, options):
    kind = "WEBP" if name.endswith("webp") else "JPEG"
    grey = Image.fromarray(IDS if kind == "JPEG" else np.repeat(IDS[..., None], 3, 2))
    grey.save(tmp_path / name, kind, **options)

    with pytest.raises(PerceptionError, match=f"label in a lossy {kind} file"):
        read_label(tmp_path / name)


def test_a_colour_picture_is_no_label(tmp_path):
    for suffix in ("png", "bmp"):
        with pytest.raises(PerceptionError, match="3 channels"):
            read_label(save(tmp_path / f"a.{suffix}", PIXELS))


def test_a_map_keeps_what_is_stored(tmp_path):
    for pixels in (IDS, IDS.astype(np.uint16) * 999, PIXELS):
        write_image(tmp_path / "a.png", pixels)
        np.testing.assert_array_equal(read_raster(tmp_path / "a.png"), pixels)
