"""
Write `settings.md` and `commands.md` from the settings and the commands: `python docs/make_reference.py`.

A test fails when a document says other than the code.
"""  # noqa: INP001 - a script

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from importlib import import_module
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from worker.cli.app import COMMANDS, NAME
from worker.cli.settings import variable
from worker.settings import Settings

DOCS: Final = Path(__file__).parent

GROUPS: Final = MappingProxyType(
    {
        "AWS": ("region", "endpoint_url"),
        "Names and prefixes": (
            *("bucket", "output_bucket", "uploads_prefix", "processed_prefix"),
            *("queue_name", "dead_letter_queue_name", "table_name", "index_shards"),
        ),
        "Processing": (
            *("processes", "concurrency", "visibility_timeout_s", "wait_time_s", "max_receives"),
            *("drain_timeout_s", "record_delay_ms", "profile_cache_s", "retention_days"),
        ),
        "Limits": (
            *("max_bytes", "max_pixels", "max_frames", "min_side_px", "step_timeout_s"),
            *("decoder_memory_mb", "decoder_max_images", "decoder_growth_mb"),
        ),
        "Results": (
            *("sizes", "default_size", "extra_sizes", "animation", "quality"),
            *("keep_credits", "record_location"),
        ),
        "Watermark": (
            *(name for name in Settings.model_fields if name.startswith("watermark_")),
            "font_files",
        ),
        "Observability": ("http_host", "http_port", "log_format", "log_level", "traces"),
    }
)
"""Heading -> the fields of `Settings` under it."""

_UNITS: Final = MappingProxyType(
    {
        "s": "seconds",
        "ms": "milliseconds",
        "px": "pixels",
        "mb": "mebibytes",
        "deg": "degrees",
        "days": "days",
        "bytes": "bytes",
        "pixels": "pixels",
    }
)
"""The end of a setting's name -> its unit."""

_FACTORIES: Final = MappingProxyType({"processes": "the CPUs that it may use"})
"""Defaults that are made where the worker runs -> what they are."""

_SETTINGS_HEAD: Final = """\
# Settings
From the environment, or from a file `.env` in the folder in which the worker starts; the environment wins.
All are checked at the start, and a wrong one is named with what would be right. `image-worker settings` shows
those in force, and where each comes from. Lists and maps are JSON. Credentials come by the usual chain:
environment, profile, container or instance role. This page is written by `make docs`."""

_SETTINGS_FOOT: Final = """
What a size in `WORKER_SIZES` can say, and how pictures come out, stands in [Imaging](imaging.md). The
settings have to agree with the resources: `image-worker provision` makes these by the same settings, and
`image-worker check` compares."""

_COMMANDS_HEAD: Final = """\
# Commands
`image-worker COMMAND`, the same as `python -m worker COMMAND`. [Settings](settings.md) come from the
environment or a `.env` file. Results go to stdout; logs, progress and complaints to stderr. Colours and
progress bars are for terminals (`NO_COLOR=1` takes the colours away). With `--json`, stdout is one JSON
document. `image-worker --install-completion` teaches bash, zsh and fish to complete commands, options and
values. This page is written by `make docs`.

| exit status | means |
| --- | --- |
| 0 | done; `run` and `local` end so on SIGTERM and SIGINT, too |
| 1 | it ran, and something failed or is not there: the command says below what that can be |
| 2 | wrong usage or configuration, told in one sentence on stderr |
| 130 | interrupted with Ctrl-C |"""


def settings_page() -> str:
    """
    Return `settings.md`.

    Raises:
        ValueError: A setting stands in no group, or in two.
    """
    grouped = sorted(name for names in GROUPS.values() for name in names)
    if grouped != sorted(Settings.model_fields):
        message = f"GROUPS has {grouped}, and Settings {sorted(Settings.model_fields)}"
        raise ValueError(message)
    return "\n".join(_settings_lines()) + "\n"


def commands_page() -> str:
    """Return `commands.md`."""
    return "\n".join(_commands_lines()) + "\n"


def pages() -> Mapping[Path, str]:
    """Return what each document has to say."""
    return {DOCS / "settings.md": settings_page(), DOCS / "commands.md": commands_page()}


def _settings_lines() -> Iterator[str]:
    yield _SETTINGS_HEAD
    for heading, names in GROUPS.items():
        yield ""
        yield f"## {heading}"
        yield "| setting | default | takes | what it is |"
        yield "| --- | --- | --- | --- |"
        for name in names:
            field = Settings.model_fields[name]
            cells = (
                f"`{variable(name)}`",
                _default(name, field),
                _takes(name, field),
                field.description or "",
            )
            yield _row(cells)
    yield _SETTINGS_FOOT


def _default(name: str, field: FieldInfo) -> str:
    if name in _FACTORIES:
        return _FACTORIES[name]
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _takes(name: str, field: FieldInfo) -> str:
    choices = _choices(field.annotation)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    bounds = {key: _bound(field, key) for key in ("ge", "gt", "le", "lt", "min_length", "max_length")}
    said = [
        f"from {bounds['ge']}" if bounds["ge"] is not None else None,
        f"above {bounds['gt']}" if bounds["gt"] is not None else None,
        f"to {bounds['le']}" if bounds["le"] is not None else None,
        f"below {bounds['lt']}" if bounds["lt"] is not None else None,
        f"at most {bounds['max_length']} characters" if bounds["max_length"] is not None else None,
    ]
    pattern = next((m.pattern for m in field.metadata if getattr(m, "pattern", None)), None)
    alternatives = re.fullmatch(r"\^\(([\w|]+)\)\$", pattern or "")
    if alternatives:
        return ", ".join(f"`{choice}`" for choice in alternatives[1].split("|"))
    unit = _UNITS.get(name.rpartition("_")[2])
    return " ".join(filter(None, [*said, unit])) or _kind(field.annotation)


def _bound(field: FieldInfo, key: str) -> str | None:
    value = next((getattr(m, key) for m in field.metadata if getattr(m, key, None) is not None), None)
    return None if value is None else f"{value:,}"


def _choices(annotation: Any) -> list[str]:  # noqa: ANN401 - a type
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return [one.value for one in annotation]
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    return []


def _kind(annotation: Any) -> str:  # noqa: ANN401 - a type
    if annotation is bool:
        return "`true`, `false`"
    origin = get_origin(annotation)
    return "a JSON map" if origin is dict else "a JSON list" if origin is list else "text"


def _commands_lines() -> Iterator[str]:
    yield _COMMANDS_HEAD
    for panel, entries in groupby(COMMANDS, key=lambda entry: entry.panel):
        yield ""
        yield f"## {panel}"
        for entry in entries:
            command = get_command(import_module(entry.module).app)
            if isinstance(command, TyperGroup):
                for name, inner in command.commands.items():
                    yield from _command_lines(inner, f"{entry.name} {name}")
            elif isinstance(command, TyperCommand):
                yield from _command_lines(command, entry.name)


def _command_lines(command: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - typer's own, which it does not name
    text, _, example = (command.help or "").partition("Example: ")
    yield ""
    yield f"### {path}"
    yield from text.strip().splitlines()
    yield ""
    yield "```sh"
    yield example.strip() or f"{NAME} {path}"
    yield "```"
    arguments = [_synopsis(one) for one in command.params if isinstance(one, TyperArgument)]
    yield ""
    yield f"`{' '.join([NAME, path, '[OPTIONS]', *arguments])}`"
    rows = [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
    if rows:
        yield ""
        yield "| | takes | default | |"
        yield "| --- | --- | --- | --- |"
        yield from map(_row, rows)


def _synopsis(argument: TyperArgument) -> str:
    name = _named(argument) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _named(parameter: TyperArgument | TyperOption) -> str:
    is_option = isinstance(parameter, TyperOption)
    return parameter.opts[0] if is_option else parameter.metavar or parameter.name.upper()


def _parameter(parameter: TyperArgument | TyperOption) -> tuple[str, ...]:
    annotation = parameter.type_descriptor.annotation
    choices = _choices(next((one for one in get_args(annotation) if _choices(one)), annotation))
    if choices:
        takes = ", ".join(f"`{one}`" for one in choices)
    elif parameter.min is not None:
        takes = f"from {parameter.min:,}" + (f" to {parameter.max:,}" if parameter.max is not None else "")
    else:
        takes = (parameter.metavar or "") if isinstance(parameter, TyperOption) else ""
    default = parameter.default
    if parameter.required:
        said = "required"
    elif default is None or default is False:
        said = ""
    else:
        said = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
    return f"`{_named(parameter)}`", takes, said, parameter.help or ""


def _row(cells: Iterable[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return "".join(f"| {cell} " if cell else "| " for cell in escaped) + "|"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
