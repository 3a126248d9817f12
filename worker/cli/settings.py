"""`image-worker settings`: list all settings with their values, defaults and sources."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Final

import typer
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding

from worker.cli.support import output
from worker.domain.mask import mask_secrets
from worker.settings import Settings

app = typer.Typer(add_completion=False)

PREFIX: Final = "WORKER_"
_WIDE: Final = 120
"""Terminal width from which a table with four columns is readable."""


@dataclass(frozen=True, slots=True)
class ListedSetting:
    """A setting as listed; `source` is `environment`, `.env`, `file` or `default`."""

    name: str
    value: object
    default: object
    source: str
    description: str


@app.command()
def settings(*, json: output.JsonOption = False) -> None:
    """
    List all settings with their values, defaults and sources.

    Example: image-worker settings --json
    """
    current = Settings()
    environment, dot_env = EnvSettingsSource(Settings), DotEnvSettingsSource(Settings)
    file = current.read_file()
    names = file.values if file else {}
    listed = list(_listed(current, environment=environment(), dot_env=dot_env(), file=names))
    unknown = sorted(_unknown({**environment.env_vars, **dot_env.env_vars}))
    if json:
        output.print_json({"settings": [asdict(each) for each in listed], "unknown": unknown})
    else:
        console = output.console()
        console.print(_page(listed, width=console.width))
    for name in unknown:
        similar = get_close_matches(name, [each.name for each in listed], n=1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        output.print_note(f"{name} is set, but is not a setting of this version{hint}")


def variable(name: str) -> str:
    """Return the environment variable of a `Settings` field."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else PREFIX + name.upper()


def to_display(value: object) -> object:
    """Return a value as JSON, with credentials masked."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [to_display(each) for each in value]
    return mask_secrets(value)


def default_of(field: FieldInfo) -> object:
    """Return the default of a setting."""
    return to_display(field.get_default(call_default_factory=True, validated_data={}))


def _listed(
    current: Settings,
    *,
    environment: Mapping[str, object],
    dot_env: Mapping[str, object],
    file: Mapping[str, object],
) -> Iterator[ListedSetting]:
    for name, field in Settings.model_fields.items():
        keys = {name, variable(name)}
        source = ".env" if keys & dot_env.keys() else "file" if name in file else "default"
        yield ListedSetting(
            name=variable(name),
            value=to_display(getattr(current, name)),
            default=default_of(field),
            source="environment" if keys & environment.keys() else source,
            description=field.description or "",
        )


def _unknown(variables: Mapping[str, str | None]) -> Iterator[str]:
    known = {variable(name) for name in Settings.model_fields}
    return (
        name.upper() for name in variables if name.upper().startswith(PREFIX) and name.upper() not in known
    )


def _page(listed: list[ListedSetting], *, width: int) -> RenderableType:
    """Return the settings as a table, or as paragraphs on a narrow terminal."""
    if width >= _WIDE:
        rows = [(each.name, _value(each), each.source, escape(each.description)) for each in listed]
        return output.table(("Variable", "Value", "Source", "Description"), rows, unbroken=("Variable",))
    paragraphs: list[RenderableType] = []
    for each in listed:
        source = "" if each.source == "default" else f" [dim]from {each.source}[/]"
        paragraphs.append(f"[bold]{each.name}[/] = {_value(each)}{source}")
        paragraphs.append(Padding(f"[dim]{escape(each.description)}[/]", (0, 0, 0, 4)))
    return Group(*paragraphs)


def _value(setting: ListedSetting) -> str:
    value = escape(_text(setting.value))
    if setting.source == "default":
        return value
    return f"[bold green]{value}[/] [dim](default: {escape(_text(setting.default))})[/]"


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return str(value)
