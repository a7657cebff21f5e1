"""Files of other encodings, and what is no file."""

from __future__ import annotations

from pathlib import Path

import pytest

from chop.config import TomlDocument
from chop.errors import ConfigError

TEXT = '# Größe\nseed = 1\n[search]\nname = "ä"\n'


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + TEXT.encode(), TEXT.encode(), TEXT.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_ends_of_lines_play_no_part(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(data)
    document = TomlDocument.read(file)
    assert document.data == {"seed": 1, "search": {"name": "ä"}}
    assert document.where(("search", "name")) == "x.toml:4"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (TEXT.encode("utf-16"), "is not UTF-8"),
        (TEXT.encode("latin-1"), "is not UTF-8"),
        ("seed = 1".encode("utf-16-le"), "may be UTF-16; save it as UTF-8"),
        (b"seed = 1\0", "holds NUL bytes"),
        (b"seed = 1\rmodel = 2", r"x.toml:1:9: .*\n    seed = 1\?model"),
    ],
)
def test_other_encodings_are_refused_with_the_cure(data: bytes, told: str, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=told):
        TomlDocument.read(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; give the TOML file in it"):
        TomlDocument.read(tmp_path)
