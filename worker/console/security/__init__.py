"""
Security of the console: who may reach it, who may act, and what browsers may do with its pages.

`build_security(SecurityOptions(...), user=...)` rejects settings that would open the console to every client.
An application gets the rules by `security.middlewares` and `security.add_routes(app)`, in this order:

1. `hosts`: only the names of the console are accepted in `Host`, with their ports.
2. `authentication`: `loopback` (none), `token`, `alb` or `header` find the `Identity` of a request.
3. `roles`: only operators send requests other than GET and HEAD.
4. `csrf`: only the console's own pages do, and no page of another site embeds anything.

`headers` adds the headers of every response. Views use `identity_of(request)`, `is_operator(request)`,
`attachment(file_name)` for `Content-Disposition`, and `log_action(...)` once for each action. The route names
`healthz` and `static` are open to every client, and so is `login`.

With `token`, `security.authentication.start_link(security.base_url)` returns the link to print.
"""

from worker.console.security.actions import log_action
from worker.console.security.application import Security
from worker.console.security.headers import attachment
from worker.console.security.identity import (
    IDENTITY,
    Authentication,
    Identity,
    Role,
    identity_of,
    is_operator,
)
from worker.console.security.rules import SecurityOptions, build_security
from worker.console.security.token import TokenAuthentication

__all__ = [
    "IDENTITY",
    "Authentication",
    "Identity",
    "Role",
    "Security",
    "SecurityOptions",
    "TokenAuthentication",
    "attachment",
    "build_security",
    "identity_of",
    "is_operator",
    "log_action",
]
