"""`/operations`: bulk repairs with their progress, and the audit trail of who requested what."""

from typing import Final

from aiohttp import web

from worker.console.context import CONTEXT
from worker.console.forms import choice, is_checked, text
from worker.console.operations import describe
from worker.console.operations.operation import (
    DELETING,
    Action,
    Operation,
    OperationStateError,
    Selection,
)
from worker.console.operations.repairs import Repairs
from worker.console.operations.runner import OperationRunner
from worker.console.operations.store import OperationStore
from worker.console.page import prefers_json, render, respond, see_other
from worker.console.security.identity import identity_of
from worker.domain.status import ImageStatus

RUNNER: Final = web.AppKey("operations", OperationRunner)
"""Key of the runner of operations in the application."""

STORE: Final = web.AppKey("operation_store", OperationStore)
"""Key of the operations in the table."""

_PAGE_SIZE: Final = 50
_END_POLLING: Final = 286
"""Status by which a page learns to ask no more; a status of htmx, which takes the content as that of 200."""


def add_routes(app: web.Application) -> None:
    """Add the routes of this view, and the runner, which ends with the application."""
    context = app[CONTEXT]
    store = OperationStore(
        context.dynamodb,
        table=context.table,
        retry=context.retry.table,
        now_s=lambda: context.clock().timestamp(),
    )
    app[STORE] = store
    app[RUNNER] = OperationRunner(store, Repairs(context), clock=context.clock)
    app.on_shutdown.append(_close)
    app.router.add_get("/operations", operations, name="operations")
    app.router.add_post("/operations", request_operation)
    app.router.add_get("/operations/{operation_id:[^/]+}", operation_page, name="operation")
    app.router.add_get("/operations/{operation_id:[^/]+}/progress", progress, name="operation-progress")
    app.router.add_post(
        "/operations/{operation_id:[^/]+}/{change}", change_operation, name="operation-change"
    )


async def _close(app: web.Application) -> None:
    await app[RUNNER].close()


async def operations(request: web.Request) -> web.Response:
    """List the operations, newest first."""
    token = request.query.get("token") or None
    page = await request.app[STORE].newest(limit=_PAGE_SIZE, token=token)
    now = request.app[CONTEXT].clock()
    return respond(
        request,
        "operations.html",
        {
            "operations": [describe.content(operation, now=now) for operation in page.operations],
            "nextToken": page.next_token,
            "token": token,
            "limit": _PAGE_SIZE,
        },
    )


async def request_operation(request: web.Request) -> web.Response:
    """Create an operation from a form, and redirect to its page, which shows what it would do."""
    form = {**request.query, **await request.post()}
    action = choice(form, "action", Action)
    if action is None:
        raise web.HTTPBadRequest(text="The form does not name an action.")
    selection = Selection(
        code=text(form, "code"),
        user_id=text(form, "user"),
        image_id=text(form, "image"),
        status=choice(form, "status", ImageStatus),
        message_id=text(form, "message_id"),
        recipe_changed=is_checked(form, "recipe_changed"),
        objects=is_checked(form, "objects"),
    )
    if action is Action.REPROCESS and selection.status in {ImageStatus.PENDING, ImageStatus.PROCESSING}:
        raise web.HTTPBadRequest(text="Only completed and failed images can be reprocessed.")
    is_incomplete = selection.user_id is None or (action is Action.DELETE and selection.image_id is None)
    if action in DELETING and is_incomplete:
        raise web.HTTPBadRequest(text="The form does not name what to delete.")
    try:
        operation = await request.app[RUNNER].request(action, selection, by=by(request))
    except OperationStateError as error:
        raise web.HTTPConflict(text=_sentence(error)) from error
    see_other(request, "operation", operation_id=operation.operation_id)


async def operation_page(request: web.Request) -> web.Response:
    """Show an operation: what it does, its progress, and who did what with it."""
    operation = describe.content(await _find(request), now=request.app[CONTEXT].clock())
    return respond(request, "operation.html", {"operation": operation})


async def progress(request: web.Request) -> web.Response:
    """Return the part of an operation's page that changes; the last time with a status that ends polling."""
    operation, now = await _find(request), request.app[CONTEXT].clock()
    content = {"operation": describe.content(operation, now=now)}
    if prefers_json(request):
        return respond(request, "operation.html", content)
    is_active = operation.as_seen_at(now).is_active
    return web.Response(
        text=render(request, "_operation_progress.html", {**content, "is_update": True}),
        content_type="text/html",
        status=200 if is_active else _END_POLLING,
        headers={"Cache-Control": "no-store"},
    )


async def change_operation(request: web.Request) -> web.Response:
    """Confirm, discard, pause, resume, stop or continue an operation, and redirect to its page."""
    runner, operation_id = request.app[RUNNER], request.match_info["operation_id"]
    user = by(request)
    try:
        match request.match_info["change"]:
            case "confirm":
                _require_typed(await _find(request), text(await request.post(), "count"))
                operation = await runner.confirm(operation_id, by=user)
            case "discard":
                operation = await runner.discard(operation_id, by=user)
            case "pause":
                operation = await runner.pause(operation_id, by=user)
            case "resume":
                operation = await runner.resume(operation_id, by=user)
            case "stop":
                operation = await runner.stop(operation_id, by=user)
            case "continue":
                operation = await runner.continue_(operation_id, by=user)
            case _:
                raise web.HTTPNotFound
    except OperationStateError as error:
        raise web.HTTPConflict(text=_sentence(error)) from error
    if operation is None:
        raise _missing(request)
    see_other(request, "operation", operation_id=operation.operation_id)


def by(request: web.Request) -> str:
    """Return the name of the user who sent a request, for the history and the audit trail."""
    identity = identity_of(request)
    return identity.name if identity else "unknown"


async def _find(request: web.Request) -> Operation:
    operation_id = request.match_info["operation_id"]
    operation = await request.app[STORE].get(operation_id)
    if operation is None:
        raise _missing(request)
    return operation


def _missing(request: web.Request) -> web.HTTPNotFound:
    operation_id = request.match_info["operation_id"]
    return web.HTTPNotFound(text=f"Operation {operation_id} does not exist, or is older than 90 days.")


def _require_typed(operation: Operation, typed: str | None) -> None:
    if not operation.needs_typing:
        return
    digits = "".join(character for character in typed or "" if character.isdecimal())
    if digits != str(operation.expected):
        raise web.HTTPBadRequest(
            text=f"The operation changes {operation.expected:,} images, and the number typed is "
            f"{typed or 'missing'}: type {operation.expected} to confirm it."
        )


def _sentence(error: OperationStateError) -> str:
    message = str(error)
    return f"{message[:1].upper()}{message[1:]}."
