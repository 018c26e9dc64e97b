"""Reading, writing and finding files: images, text, YAML, JSON."""

from perception.files.atomic import atomic_open, atomic_path, plain, write_json, write_text
from perception.files.containers import MAX_PIXELS
from perception.files.finding import (
    IMAGE_SUFFIXES,
    Found,
    files_below,
    files_in,
    find_image,
    find_named,
    has_suffix,
    is_data,
)
from perception.files.images import (
    decode,
    eight_bits,
    encode_image,
    image_size,
    read_image,
    read_label,
    read_raster,
    write_image,
)
from perception.files.reading import packaged, read_bytes, read_json, read_text, read_yaml

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Found",
    "atomic_open",
    "atomic_path",
    "decode",
    "eight_bits",
    "encode_image",
    "files_below",
    "files_in",
    "find_image",
    "find_named",
    "has_suffix",
    "image_size",
    "is_data",
    "packaged",
    "plain",
    "read_bytes",
    "read_image",
    "read_json",
    "read_label",
    "read_raster",
    "read_text",
    "read_yaml",
    "write_image",
    "write_json",
    "write_text",
]
