"""Name the user of the command line, for the history of the images that a command changes."""

import os
import pwd
import socket

from worker.domain.requester import COMMAND_LINE, Requester


def requester(command: str) -> Requester:
    """Return the user of the operating system and this machine as the requester of a command."""
    host = socket.gethostname().partition(".")[0]
    return Requester(by=f"{user_name()}@{host}", via=COMMAND_LINE, command=command)


def user_name() -> str:
    """Return the name of the user who runs this process."""
    user_id = os.getuid()
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:  # a container may run as a user id without a name
        return f"uid {user_id}"
