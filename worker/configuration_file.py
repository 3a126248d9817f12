"""
Read the configuration file: settings and recipes in TOML, from a path or from S3.

An error names the file and the line. `tomllib` keeps no positions, so that the line of a value is found by
parsing the first lines of the file: the value is in the statement with which it appears.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeAlias

from worker.domain.errors import ConfigurationError

ValuePath: TypeAlias = Sequence[str | int]
"""Names and indexes that lead to a value: ("recipes", 0, "sizes")."""

_S3: Final = "s3://"
_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 1_000_000
_POSITION: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """
    A configuration file.

    Attributes:
        name: Path or URL.
        text: Its text.
        values: What it contains.
    """

    name: str
    text: str
    values: Mapping[str, Any]

    def error(self, path: ValuePath, message: str) -> ConfigurationError:
        """Return the error about a value, with its file, line and name."""
        return ConfigurationError(f"{self.name}:{self.line_of(path)}: {dotted(path)}: {message}")

    def line_of(self, path: ValuePath) -> int:
        """Return the number of the line on which a value is set, or else the table that it belongs to."""
        lines = self.text.splitlines()
        while path:
            if _contains(self.values, path):
                return _first_line_with(lines, path)
            path = path[:-1]
        return 1


def read_configuration_file(
    name: str, *, endpoint_url: str | None = None, region: str | None = None
) -> ConfigurationFile:
    """
    Read a configuration file.

    Args:
        name: Path, or `s3://bucket/key`.
        endpoint_url: Endpoint of an AWS emulator.
        region: AWS region; found as in every AWS SDK if None.

    Raises:
        ConfigurationError: The file cannot be read, or is not TOML.
    """
    is_object = name.startswith(_S3)
    content = _read_object(name, endpoint_url, region) if is_object else _read_path(Path(name))
    try:
        text = content.decode()
        return ConfigurationFile(name, text, tomllib.loads(text))
    except UnicodeDecodeError:
        message = f"{name} is not a text in UTF-8: save it as one"
        raise ConfigurationError(message) from None
    except tomllib.TOMLDecodeError as error:
        position = _POSITION.search(str(error))
        line = int(position[1]) if position and position[1] else len(text.splitlines())
        reason = _POSITION.sub("", str(error))
        message = f"{name}:{line}: not valid TOML: {reason[0].lower()}{reason[1:]}"
        raise ConfigurationError(message) from None


def dotted(path: ValuePath) -> str:
    """Return the name of a value as messages have it; an entry of a list is numbered from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return which of the known names is meant, or all of them if none is similar."""
    similar = get_close_matches(name, known, n=1)
    return f"did you mean {similar[0]!r}?" if similar else f"use one of {', '.join(sorted(known))}"


def _read_path(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = (
            f"the configuration file {path} cannot be read: {(error.strerror or str(error)).lower()}; "
            "correct WORKER_CONFIG_FILE or --config"
        )
        raise ConfigurationError(message) from None


def _read_object(url: str, endpoint_url: str | None, region: str | None) -> bytes:
    # Only here, because botocore is slow to import. The settings are read before the event loop has work.
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import get_session

    bucket, _, key = url.removeprefix(_S3).partition("/")
    config = Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"total_max_attempts": 4})
    try:
        session = get_session()
        s3: Any = session.create_client("s3", region_name=region, endpoint_url=endpoint_url, config=config)
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read(_MAX_BYTES))
    except (BotoCoreError, ClientError) as error:
        message = (
            f"the configuration file {url} cannot be read: {error}; correct WORKER_CONFIG_FILE or --config, "
            "and allow s3:GetObject on it"
        )
        raise ConfigurationError(message) from error


def _first_line_with(lines: Sequence[str], path: ValuePath) -> int:
    """Return the number of the first line of the statement with which a value appears."""
    begin = 1
    for number in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a value that spans several lines
        if _contains(values, path):
            return begin
        begin = number + 1
    return begin


def _contains(values: Any, path: ValuePath) -> bool:  # noqa: ANN401 - any TOML value
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
