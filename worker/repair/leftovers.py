"""Delete the results that records name as left over: their worker died, or could not delete them."""

from typing import Final

from worker.domain.errors import TransientError
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES
from worker.repair.context import RepairContext

_ACTION: Final = "deleted leftover results"


async def delete_leftovers(repairs: RepairContext, image: Image) -> None:
    """
    Delete the leftovers of an image that has ended, then remove them from its record; report it.

    Repeating it is harmless: each result is deleted only if it has the recorded ETag. A deletion of the image
    deletes its leftovers itself.
    """
    if not image.leftovers or image.status not in TERMINAL_STATUSES or image.deletion is not None:
        return
    if not repairs.dry_run:
        try:
            for leftover in image.leftovers:
                await repairs.results.delete(leftover.key, e_tag=leftover.e_tag)
            await repairs.ledger.clear_leftovers(image)
        except TransientError as error:
            repairs.reporter.failed(image.image_id, str(error))
            return
    repairs.reporter.done(_ACTION, image_id=image.image_id, user_id=image.user_id)
