"""The configuration file: its values, and the line and the suggestion of each error."""

import os
from pathlib import Path

import pytest

from worker.configuration_file import read_configuration_file
from worker.domain.errors import ConfigurationError
from worker.recipe_settings import recipe_rules
from worker.settings import Settings

FILE = """\
# settings
bucket = "photos"
quality = 80

[sizes.card]
width = 600
height = 400
fit = "cover"

[[recipes]]
match = "uploads/*/avatars/**"
sizes = ["card"]
watermark = false

[[recipes]]
match = [
  "uploads/*/scans/**",
  "uploads/*/*.tif",
]
sizes = ["medium", "thumbnail"]
watermark = { text = "Scan", opacity_share = 0.5 }
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "worker.toml"
    monkeypatch.setenv("WORKER_CONFIG_FILE", str(path))
    path.write_text(FILE)
    return path


def test_settings_are_read_from_the_file_and_the_environment_takes_precedence(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_QUALITY", "71")
    settings = Settings()
    assert (settings.bucket, settings.quality, settings.sizes["card"]["width"]) == ("photos", 71, 600)
    assert settings.recipes[0]["match"] == ["uploads/*/avatars/**"]
    assert settings.recipes[0]["watermark"] == {"enabled": False}


def test_the_env_file_may_name_the_configuration_file_and_takes_precedence(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKER_CONFIG_FILE")
    (tmp_path / ".env").write_text(f"WORKER_CONFIG_FILE={file}\nWORKER_BUCKET=other\n")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    assert (Settings().bucket, Settings().quality) == ("other", 80)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "quality = 80",
            "qualty = 80",
            ":3: qualty: there is no setting of this name; did you mean 'quality'?",
        ),
        ("quality = 80", 'config_file = "a"', ":3: config_file: there is no setting of this name"),
        ("quality = 80", "quality = 101", ":3: quality: 101 is more than 100"),
        ("quality = 80", 'quality = "high"', ":3: quality: 'high' is not a whole number"),
        ("width = 600", "width = 0", ":6: sizes.card.width: 0 is less than 1"),
        ("width = 600\n", "", ":5: sizes.card.width: it is missing"),
        (
            'fit = "cover"',
            'fits = "cover"',
            ":8: sizes.card.fits: there is no value of this name; did you mean 'fit'?",
        ),
        (
            'fit = "cover"',
            'fit = "crop"',
            ":8: sizes.card.fit: 'crop' is not 'inside', 'cover', 'contain' or 'fill'",
        ),
        ("sizes.card", 'sizes."a b"', ":5: sizes.a b: 'a b'"),
        ("watermark = false", 'watermark = "no"', ":13: recipes[1].watermark: 'no' is not a table"),
        ('"uploads/*/*.tif",', "3,", ":16: recipes[2].match[2]: 3 is not a text"),
        (
            'text = "Scan"',
            'txt = "Scan"',
            ":21: recipes[2].watermark.txt: there is no value of this name; did you",
        ),
        (
            "opacity_share = 0.5",
            "opacity_share = 5",
            ":21: recipes[2].watermark.opacity_share: 5 is more than 1",
        ),
        ('["medium", "thumbnail"]', "[]", ":20: recipes[2].sizes: it has 0 entries, fewer than 1"),
        ('fit = "cover"', "fit = cover", ":8: not valid TOML: invalid value"),
        ('"uploads/*/*.tif",\n]', '"uploads/*/*.tif",', ":19: not valid TOML: invalid value"),
        ('"card"]', '"crd"]', ":12: recipes[1].sizes[1]: there is no size 'crd'; did you mean 'card'?"),
        (
            "uploads/*/avatars",
            "upload/*/avatars",
            ":11: recipes[1].match[1]: 'upload/*/avatars/**' matches no upload",
        ),
        (
            "uploads/*/avatars/**",
            "uploads/**",
            ":15: recipes[2]: it never applies, because recipes[1] matches all",
        ),
        (
            'match = "uploads/*/avatars/**"',
            "",
            ":15: recipes[2]: it never applies, because recipes[1] matches all",
        ),
        (
            "opacity_share = 0.5",
            "min_px = 90, max_px = 9",
            ":21: recipes[2].watermark: min_px is 90, above max_px (9)",
        ),
        (
            "uploads/*/avatars/**",
            "uploads/**/a/**/b/**",
            "contains ** more than 2 times, which is slow for long keys",
        ),
    ],
)
def test_an_error_has_the_line_the_reason_and_what_to_write(
    file: Path, before: str, after: str, message: str
) -> None:
    assert before in FILE
    file.write_text(FILE.replace(before, after, 1))
    with pytest.raises(ConfigurationError) as raised:
        recipe_rules(Settings())
    text = str(raised.value)
    assert text.startswith(f"{file}:")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: no such file or directory; correct WORKER_CONFIG_FILE or --config"),
        (b"quality = \xff", "is not a text in UTF-8: save it as one"),
    ],
    ids=["missing", "another encoding"],
)
def test_a_file_that_cannot_be_read_is_explained(file: Path, content: bytes | None, message: str) -> None:
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        Settings()


def test_the_shipped_example_is_valid() -> None:
    example = Path(__file__).parents[2] / "config" / "image-worker.toml"
    os.environ["WORKER_CONFIG_FILE"] = str(example)
    try:
        rules = recipe_rules(Settings())
    finally:
        del os.environ["WORKER_CONFIG_FILE"]
    assert [rule.standard.main.name for rule in rules] == ["square", "card", "page", "large", "medium"]


def test_each_value_of_a_file_is_found_on_its_line(file: Path) -> None:
    read = read_configuration_file(str(file))
    lines = {
        ("bucket",): 2,
        ("sizes", "card", "height"): 7,
        ("recipes", 1, "match"): 16,
        ("recipes", 1, "match", 1): 16,
        ("recipes", 1, "watermark", "opacity_share"): 21,
        ("recipes", 1, "gravity"): 15,
        ("nothing",): 1,
    }
    assert {path: read.line_of(path) for path in lines} == lines
