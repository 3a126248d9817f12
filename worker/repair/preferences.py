"""Set the preferences of a user."""

from collections.abc import Mapping
from datetime import datetime

from worker.domain.errors import ConfigurationError
from worker.domain.profile import preferences_from, usable_preferences
from worker.domain.recipe import Size
from worker.domain.step import Json
from worker.dynamodb.items import Item
from worker.dynamodb.profiles import ProfileStore


async def set_preferences(
    profiles: ProfileStore,
    user_id: str,
    changes: Mapping[str, Json],
    *,
    sizes: Mapping[str, Size],
    logo_prefix: str,
    now: datetime,
) -> Item:
    """
    Change some of a user's preferences, if all new values can be used.

    Args:
        profiles: Reads and writes profiles.
        user_id: Id of the user; the profile is created if there is none.
        changes: New values by attribute name; None removes the preference.
        sizes: Every size that an image can be made in, by name.
        logo_prefix: URL below which users' logos are stored: `s3://bucket/prefix/`.
        now: The current time.

    Returns:
        The profile item after the change.

    Raises:
        ConfigurationError: A value cannot be used.
        TransientError: The table was unavailable.
    """
    size = changes.get("defaultImageSize")
    if isinstance(size, str) and size not in sizes:
        message = f"the size is {size!r}, but it must be one of {', '.join(sizes)}"
        raise ConfigurationError(message)
    usable = usable_preferences(preferences_from(changes), sizes=sizes, logo_prefix=logo_prefix)
    for name, reason in usable.ignored.items():
        message = f"the preference {name} cannot be used: {reason}; give another value, or '' for the default"
        raise ConfigurationError(message)
    return await profiles.set_preferences(user_id, changes, now=now)
