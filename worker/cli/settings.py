"""`image-worker settings`: every setting, its value and where the value comes from."""

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
"""Columns of a terminal in which four columns of a table read well."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One setting as it is listed; `source` is `environment`, `.env` or `default`."""

    name: str
    value: object
    default: object
    source: str
    description: str


@app.command()
def settings(*, json: output.JsonOption = False) -> None:
    """
    List every setting: its value, its default and where the value comes from.

    Example: image-worker settings --json
    """
    in_force = Settings()
    environment, dot_env = EnvSettingsSource(Settings), DotEnvSettingsSource(Settings)
    listed = list(_listed(in_force, environment=environment(), dot_env=dot_env()))
    unknown = sorted(_unknown({**environment.env_vars, **dot_env.env_vars}))
    if json:
        output.print_json({"settings": [asdict(one) for one in listed], "unknown": unknown})
    else:
        console = output.console()
        console.print(_page(listed, width=console.width))
    for name in unknown:
        alike = get_close_matches(name, [one.name for one in listed], n=1)
        hint = f"; did you mean {alike[0]}?" if alike else ""
        typer.echo(f"{name} is set but is no setting of this version{hint}", err=True)


def variable(name: str) -> str:
    """Return the environment variable of a field of `Settings`."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else PREFIX + name.upper()


def shown(value: object) -> object:
    """Return a value as JSON can hold it and as anybody may see it: without passwords."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    return mask_secrets(value)


def default_of(field: FieldInfo) -> object:
    """Return what a setting is when nobody sets it."""
    return shown(field.get_default(call_default_factory=True, validated_data={}))


def _listed(
    in_force: Settings, *, environment: Mapping[str, object], dot_env: Mapping[str, object]
) -> Iterator[Listed]:
    for name, field in Settings.model_fields.items():
        keys = {name, variable(name)}
        source = ".env" if keys & dot_env.keys() else "default"
        yield Listed(
            name=variable(name),
            value=shown(getattr(in_force, name)),
            default=default_of(field),
            source="environment" if keys & environment.keys() else source,
            description=field.description or "",
        )


def _unknown(variables: Mapping[str, str | None]) -> Iterator[str]:
    known = {variable(name) for name in Settings.model_fields}
    return (
        name.upper() for name in variables if name.upper().startswith(PREFIX) and name.upper() not in known
    )


def _page(listed: list[Listed], *, width: int) -> RenderableType:
    """Lay the settings out: a line each where the terminal is wide, a paragraph each where it is not."""
    if width >= _WIDE:
        rows = [(one.name, _value(one), one.source, escape(one.description)) for one in listed]
        return output.table(("Variable", "Value", "From", "What it is"), rows, unbroken=("Variable",))
    paragraphs: list[RenderableType] = []
    for one in listed:
        source = "" if one.source == "default" else f" [dim]from {one.source}[/]"
        paragraphs.append(f"[bold]{one.name}[/] = {_value(one)}{source}")
        paragraphs.append(Padding(f"[dim]{escape(one.description)}[/]", (0, 0, 0, 4)))
    return Group(*paragraphs)


def _value(one: Listed) -> str:
    value = escape(_text(one.value))
    if one.source == "default":
        return value
    return f"[bold green]{value}[/] [dim](default: {escape(_text(one.default))})[/]"


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return str(value)
