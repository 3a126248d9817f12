"""Read the form of the recipe preview: the changed recipe, and the settings that make it the worker's."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeVar

from worker.delivery.recipes import RecipeRule
from worker.domain.keys import MAX_KEY_BYTES
from worker.domain.printable import printable
from worker.domain.profile import MAX_TEXT_CHARACTERS
from worker.domain.recipe import Anchor, Fit, Gravity, Logo, OutputFormat, Recipe, Size, Watermark

Choice = TypeVar("Choice", bound=StrEnum)

MAX_PREVIEW_SIDE_PX: Final = 4096
"""Longest side that is previewed: the files of larger sizes would fill the console's memory."""

_MAX_ROTATION_DEG: Final = 180
_MAX_QUALITY: Final = 100
_MIN_TARGET_BYTES, _MAX_TARGET_BYTES = 1000, 100_000_000
_QUOTED_CHARACTERS: Final = 40
_NO, _YES = "no", "yes"
_INTEGER: Final = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_FRACTION: Final = re.compile(r"[0-9]{0,4}(?:\.[0-9]{1,9})?", re.ASCII)
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_BACKGROUND: Final = re.compile(r"#[0-9a-fA-F]{6}(?:[0-9a-fA-F]{2})?")
_NONE: Final = "none"
_OUTLINE: Final = re.compile(rf"{_COLOUR.pattern}|{_NONE}")
_NOT_IN_ENV_FILE: Final = re.compile(r"^[\s'\"]|\s#|\$\{|\s$")
"""What python-dotenv reads in another way than Docker when a value is not quoted."""


class WatermarkKind(StrEnum):
    """What is drawn as the watermark."""

    TEXT = "text"
    LOGO = "logo"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSettings:
    """
    How the worker makes renditions by its current settings.

    Attributes:
        standard: Recipe for images of users without preferences.
        sizes: All sizes by name.
        custom_sizes: Names of the sizes that WORKER_SIZES defines.
        watermark: Watermark of the settings, also if it is turned off.
        logo_prefix: URL below which logos are stored: `s3://bucket/logos/`.
        rules: Recipes for some uploads; the first that matches applies.
    """

    standard: Recipe
    sizes: Mapping[str, Size]
    custom_sizes: frozenset[str]
    watermark: Watermark
    logo_prefix: str
    rules: Sequence[RecipeRule] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChange:
    """
    A recipe that differs from the worker's.

    Attributes:
        size: Size that is previewed.
        standard: Recipe for images of users without preferences.
        sizes: All sizes by name.
        environment: Settings that make it the worker's: value by the name of the variable.
    """

    size: Size
    standard: Recipe
    sizes: Mapping[str, Size]
    environment: Mapping[str, str]

    @property
    def is_in_recipe(self) -> bool:
        """Whether images of users without preferences are made in the previewed size."""
        return self.size in self.standard.sizes

    def env_file(self) -> str:
        """Return the settings as lines of an `.env` file."""
        return "\n".join(
            f"{name}={_env_file_value(value)}" for name, value in sorted(self.environment.items())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """
    A field of the form.

    Attributes:
        name: Name in the query.
        label: Label on the page.
        value: Value as it was written, or the current one.
        error: What is wrong with the value and what to write; empty if it is valid.
        choices: Values of a list; empty for other fields.
        limits: Smallest and largest value of a whole number.
    """

    name: str
    label: str
    value: str
    error: str = ""
    choices: tuple[str, ...] = ()
    limits: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeForm:
    """The fields of the form by name, and the recipe that they describe: None if a field is invalid."""

    fields: Mapping[str, Field]
    change: RecipeChange | None

    @property
    def errors(self) -> dict[str, str]:
        """Error by the name of the field."""
        return {field.name: field.error for field in self.fields.values() if field.error}


def read_form(query: Mapping[str, str], settings: RecipeSettings) -> RecipeForm:
    """Return the form with the values of a query; a field that it leaves out keeps the current value."""
    fields = _Fields(query)
    name = fields.choice("size", "Size", settings.standard.main.name, settings.sizes)
    size, quality = _read_size(fields, settings.sizes[name], settings.standard.quality)
    watermark = _read_watermark(fields, settings)
    if any(field.error for field in fields.found.values()):
        return RecipeForm(fields=fields.found, change=None)
    change = _change(settings, size=size, quality=quality, watermark=watermark)
    return RecipeForm(fields=fields.found, change=change)


def _read_size(fields: "_Fields", before: Size, quality: int) -> tuple[Size, int]:
    """Return the size, and the quality of all sizes that have none of their own."""
    written = fields.number("quality", "Quality", before.quality or quality, (1, _MAX_QUALITY))
    size = replace(
        before,
        width=fields.number("width", "Width", before.width, (1, MAX_PREVIEW_SIDE_PX)),
        height=fields.number("height", "Height", before.height, (1, MAX_PREVIEW_SIDE_PX)),
        fit=Fit(fields.choice("fit", "Fit", before.fit, Fit)),
        gravity=Gravity(fields.choice("gravity", "Gravity", before.gravity, Gravity)),
        background=fields.colour(
            "background", "Background", before.background, _BACKGROUND, written="#rrggbb or #rrggbbaa"
        ),
        enlarge=fields.flag("enlarge", "Enlarge small images", current=before.enlarge),
        format=OutputFormat(fields.choice("format", "Format", before.format, OutputFormat)),
        quality=None if before.quality is None else written,
        target_bytes=fields.optional_number(
            "targetBytes", "Maximum bytes", before.target_bytes, (_MIN_TARGET_BYTES, _MAX_TARGET_BYTES)
        ),
    )
    return size, written if before.quality is None else quality


def _read_watermark(fields: "_Fields", settings: RecipeSettings) -> Watermark | None:
    before, standard = settings.watermark, settings.standard.watermark
    current = WatermarkKind.LOGO if before.logo else WatermarkKind.TEXT
    kind = fields.choice("watermark", "Watermark", current if standard else WatermarkKind.OFF, WatermarkKind)
    source = before.logo.source if before.logo else ""
    logo = fields.logo("logo", "Logo", source, settings.logo_prefix, is_used=kind == WatermarkKind.LOGO)
    watermark = replace(
        before,
        text=fields.text("text", "Text", before.text),
        logo=logo if kind == WatermarkKind.LOGO else None,
        position=Anchor(fields.choice("position", "Position", before.position, Anchor)),
        opacity=fields.share("opacity", "Opacity", before.opacity),
        height_share=fields.share("textShare", "Height of the text", before.height_share),
        logo_share=fields.share("logoShare", "Length of the logo", before.logo_share),
        tiled=fields.flag("tiled", "Repeat over the whole image", current=before.tiled),
        rotation_deg=fields.number(
            "rotation", "Rotation in degrees", before.rotation_deg, (-_MAX_ROTATION_DEG, _MAX_ROTATION_DEG)
        ),
        colour=fields.colour("colour", "Colour", before.colour, _COLOUR),
        outline=fields.outline("outline", "Outline", before.outline),
    )
    return None if kind == WatermarkKind.OFF else watermark


def _change(
    settings: RecipeSettings, *, size: Size, quality: int, watermark: Watermark | None
) -> RecipeChange:
    before = settings.standard
    sizes = {**settings.sizes, size.name: size}
    standard = replace(
        before,
        sizes=tuple(sizes[each.name] for each in before.sizes),
        quality=quality,
        watermark=watermark,
    )
    environment: dict[str, str] = {}
    if size != settings.sizes[size.name]:
        names = sorted(settings.custom_sizes | {size.name})
        definitions = {name: _definition(sizes[name]) for name in names}
        environment["WORKER_SIZES"] = json.dumps(definitions, separators=(",", ":"))
    if quality != before.quality:
        environment["WORKER_QUALITY"] = str(quality)
    if (watermark is None) != (before.watermark is None):
        environment["WORKER_WATERMARK_ENABLED"] = "false" if watermark is None else "true"
    if watermark is not None:
        environment |= _watermark_settings(watermark, settings.watermark)
    return RecipeChange(size=size, standard=standard, sizes=sizes, environment=environment)


def _definition(size: Size) -> dict[str, object]:
    """Return a size as WORKER_SIZES has it, without the values that are the default."""
    default = Size(size.name, size.width, size.height)
    names = (
        *("fit", "gravity", "background", "enlarge", "format", "quality", "target_bytes"),
        *("progressive", "subsampling"),
    )
    changed = {name: value for name in names if (value := getattr(size, name)) != getattr(default, name)}
    return {"width": size.width, "height": size.height, **changed}


def _watermark_settings(after: Watermark, before: Watermark) -> dict[str, str]:
    def values(watermark: Watermark) -> dict[str, str]:
        return {
            "TEXT": watermark.text,
            "IMAGE": watermark.logo.source if watermark.logo else "",
            "POSITION": watermark.position,
            "OPACITY_SHARE": str(watermark.opacity),
            "TEXT_SHARE": str(watermark.height_share),
            "IMAGE_SHARE": str(watermark.logo_share),
            "TILED": str(watermark.tiled).lower(),
            "ROTATION_DEG": str(watermark.rotation_deg),
            "COLOUR": watermark.colour,
            "OUTLINE": watermark.outline or _NONE,
        }

    old = values(before)
    return {
        f"WORKER_WATERMARK_{name}": str(value) for name, value in values(after).items() if value != old[name]
    }


def _env_file_value(value: str) -> str:
    if not _NOT_IN_ENV_FILE.search(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class _Fields:
    """Reads the fields of a query; an invalid value is kept with its error, and its default is returned."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self.found: dict[str, Field] = {}
        self._query = query

    def choice(self, name: str, label: str, current: str, choices: Iterable[str]) -> str:
        values = tuple(str(each) for each in choices)
        value = self._query.get(name, current)
        error = "" if value in values else f"{label} is {_quoted(value)}; choose one of {', '.join(values)}."
        self.found[name] = Field(name=name, label=label, value=value, error=error, choices=values)
        return str(current) if error else value

    def flag(self, name: str, label: str, *, current: bool) -> bool:
        return self.choice(name, label, _YES if current else _NO, (_NO, _YES)) == _YES

    def number(self, name: str, label: str, current: int, limits: tuple[int, int]) -> int:
        value = self._query.get(name, str(current)).strip()
        low, high = limits
        is_valid = _INTEGER.fullmatch(value) and low <= int(value) <= high
        error = "" if is_valid else f"{label} is {_quoted(value)}; write a number from {low:,} to {high:,}."
        self.found[name] = Field(name=name, label=label, value=value, error=error, limits=limits)
        return int(value) if is_valid else current

    def optional_number(
        self, name: str, label: str, current: int | None, limits: tuple[int, int]
    ) -> int | None:
        value = self._query.get(name, str(current or "")).strip()
        if not value:
            self.found[name] = Field(name=name, label=label, value="", limits=limits)
            return None
        return self.number(name, label, current or limits[0], limits)

    def share(self, name: str, label: str, current: float) -> float:
        value = self._query.get(name, str(current)).strip()
        is_valid = value != "" and _FRACTION.fullmatch(value) and 0 < float(value) <= 1
        error = "" if is_valid else f"{label} is {_quoted(value)}; write a number above 0, up to 1."
        self.found[name] = Field(name=name, label=label, value=value, error=error)
        return float(value) if is_valid else current

    def text(self, name: str, label: str, current: str) -> str:
        value = self._query.get(name, current)
        error = ""
        if not value.strip():
            error = f"{label} is empty; write one, or turn the watermark off."
        elif len(value) > MAX_TEXT_CHARACTERS:
            error = f"{label} has {len(value):,} characters; write at most {MAX_TEXT_CHARACTERS}."
        elif value != current and (value != printable(value) or "\n" in value or "\t" in value):
            error = f"{label} contains a control character or a line break; remove it."
        self.found[name] = Field(name=name, label=label, value=value, error=error)
        return current if error else value

    def colour(
        self, name: str, label: str, current: str, pattern: re.Pattern[str], *, written: str = "#rrggbb"
    ) -> str:
        value = self._query.get(name, current).strip()
        error = "" if pattern.fullmatch(value) else f"{label} is {_quoted(value)}; write it as {written}."
        self.found[name] = Field(name=name, label=label, value=value, error=error)
        return current if error else value

    def outline(self, name: str, label: str, current: str | None) -> str | None:
        value = self.colour(name, label, current or _NONE, _OUTLINE, written="#rrggbb, or none")
        return None if value == _NONE else value

    def logo(self, name: str, label: str, current: str, prefix: str, *, is_used: bool) -> Logo | None:
        """Read the key of a logo below the prefix; only the current logo may be anywhere else."""
        shown = current.removeprefix(prefix)
        value = self._query.get(name, shown).strip()
        folder = prefix.removeprefix("s3://").partition("/")[2]
        error = ""
        if not value:
            error = f"{label} is empty; write its key below {folder}." if is_used else ""
        elif len(f"{folder}{value}".encode(errors="surrogatepass")) > MAX_KEY_BYTES:
            error = f"{label} has a key of more than {MAX_KEY_BYTES:,} bytes; shorten it."
        elif value != shown and value != printable(value):
            error = f"{label} contains a control character; remove it."
        self.found[name] = Field(name=name, label=label, value=value, error=error)
        if error or not value:
            return None
        return Logo(current if value == shown else prefix + value)


def _quoted(value: str) -> str:
    if not value:
        return "empty"
    return repr(value if len(value) <= _QUOTED_CHARACTERS else f"{value[:_QUOTED_CHARACTERS]}...")
