"""The work of an operation: the repair tools and deletions that the command line uses too."""

from datetime import timedelta

from worker.console.context import ConsoleContext
from worker.console.operations.operation import DELETING, Action, Operation
from worker.domain.requester import Requester
from worker.domain.status import ImageStatus
from worker.repair.context import DEFAULT_RATE_PER_S, Reporter
from worker.repair.control import Control
from worker.repair.deletion import ALREADY_DELETED, DeletionContext, delete_image, forget_user
from worker.repair.failures import retry_failed
from worker.repair.reconcile import PENDING_TIMEOUTS, reconcile_all
from worker.repair.redrive import REDRIVE_VISIBILITY_S, redrive_all
from worker.repair.reprocess import reprocess_all
from worker.repair.result_state import reconcile_results
from worker.sqs.dead_letters import LONG_POLL_S


class Repairs:
    """
    Implements `runner.Perform`.

    Args:
        context: The dependencies of the console.
        rate_per_s: Images requeued per second, at most.
    """

    def __init__(self, context: ConsoleContext, *, rate_per_s: float = DEFAULT_RATE_PER_S) -> None:
        self._context, self._rate_per_s = context, rate_per_s

    async def __call__(
        self,
        operation: Operation,
        *,
        requester: Requester,
        reporter: Reporter,
        control: Control,
        dry_run: bool,
    ) -> None:
        """Repair or delete everything that the operation selects; in a dry run only report it."""
        if operation.action in DELETING:
            deletions = self._context.build_deletions(
                requester=requester, reporter=reporter, dry_run=dry_run, control=control
            )
            await _delete(deletions, operation)
            return
        selection = operation.selection
        async with self._context.open_repairs(
            requester=requester,
            reporter=reporter,
            rate_per_s=self._rate_per_s,
            dry_run=dry_run,
            control=control,
        ) as repairs:
            match operation.action:
                case Action.RETRY:
                    await retry_failed(
                        repairs, code=selection.code, user_id=selection.user_id, before=operation.before
                    )
                case Action.REPROCESS:
                    await reprocess_all(
                        repairs,
                        user_id=selection.user_id,
                        status=selection.status or ImageStatus.COMPLETED,
                        before=operation.before,
                        recipe_changed=selection.recipe_changed,
                        code=selection.code,
                    )
                case Action.REDRIVE:
                    letters = await self._context.open_dead_letters(
                        visibility_timeout_s=REDRIVE_VISIBILITY_S, wait_time_s=LONG_POLL_S
                    )
                    await redrive_all(
                        repairs,
                        letters,
                        image_id=None,
                        code=selection.code,
                        limit=None if selection.message_id is None else 1,
                        message_id=selection.message_id,
                    )
                case Action.RECONCILE:
                    pending_for = timedelta(seconds=PENDING_TIMEOUTS * repairs.lease_s)
                    await reconcile_all(repairs, now=operation.before, pending_for=pending_for)
                    if selection.objects:
                        await reconcile_results(repairs)


async def _delete(deletions: DeletionContext, operation: Operation) -> None:
    user_id, image_id = operation.selection.user_id, operation.selection.image_id
    assert user_id is not None  # noqa: S101 - the form requires it
    if operation.action is Action.FORGET:
        await forget_user(deletions, user_id, before=operation.before)
        return
    image = await deletions.queries.image(image_id or "", user_id, consistent=True)
    if image is None:
        deletions.reporter.skipped(ALREADY_DELETED)
    else:
        await delete_image(deletions, image)
