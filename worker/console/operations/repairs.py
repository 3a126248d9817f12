"""The work of an operation: the repair tools that the command line uses too."""

from datetime import timedelta

from worker.console.context import ConsoleContext
from worker.console.operations.operation import Action, Operation
from worker.domain.requester import Requester
from worker.domain.status import ImageStatus
from worker.repair.context import DEFAULT_RATE_PER_S, Reporter
from worker.repair.control import Control
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
        """Repair everything that the operation selects; in a dry run only report it."""
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
