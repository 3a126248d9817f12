"""Read and write units that DynamoDB would charge for the requests of a client."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tests.support.fakes.metered_table import Item, MeteredTable, item_bytes, item_write_units
from worker.aws.calls import Call, Output, wrap_calls
from worker.domain.keys import PROFILE_IMAGE_ID

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

Parameters: TypeAlias = Mapping[str, Any]
"""Parameters or response of a request, as botocore has them."""

_READ_UNIT_BYTES: Final = 4096


@dataclass(eq=False)
class RequestMeter:
    """
    Records the requests of a DynamoDB client, and calculates afterwards what they cost.

    Attributes:
        write_units: Write units of successful writes.
        rejected_write_units: Write units of writes whose condition failed: they cost the same.
        read_units: Read units.
        tables: Items of each owner, so that their sizes before and after each write are known.
    """

    write_units: int = 0
    rejected_write_units: int = 0
    read_units: float = 0
    tables: defaultdict[str, MeteredTable] = field(default_factory=lambda: defaultdict(MeteredTable))
    _requests: list[tuple[str, Parameters, Parameters | None]] = field(default_factory=list)

    def attach(self, client: "DynamoDBClient") -> None:
        """Record every request of a client from now on."""

        def record(operation: str, call: Call) -> Call:
            async def recorded_call(**parameters: Any) -> Output:
                response: Parameters | None = None
                try:
                    response = await call(**parameters)
                finally:
                    self._requests.append((operation, parameters, response))
                return response

            return recorded_call

        wrap_calls(client, record)

    async def calculate(self) -> None:
        """Calculate the units of all recorded requests."""
        for operation, parameters, response in self._requests:
            if operation == "GetItem" and response is not None:
                units = max(1, ceil(item_bytes(response.get("Item", {})) / _READ_UNIT_BYTES))
                self.read_units += units if parameters.get("ConsistentRead") else units / 2
            elif operation in {"UpdateItem", "TransactWriteItems"}:
                await self._add_write(operation, parameters, is_rejected=response is None)

    def entries(self) -> Sequence[Item]:
        """Return every image's item and its entries in the indexes."""
        return [
            entry
            for table in self.tables.values()
            for image_id, item in table.items.items()
            if image_id != PROFILE_IMAGE_ID
            for entry in (item, *(index.entry(item) for index in table.indexes))
        ]

    async def _add_write(self, operation: str, parameters: Parameters, *, is_rejected: bool) -> None:
        in_transaction = operation == "TransactWriteItems"
        updates = [item["Update"] for item in parameters["TransactItems"]] if in_transaction else [parameters]
        table = self.tables[updates[0]["Key"]["userId"]["S"]]
        if is_rejected:
            keys = [update["Key"] for update in updates]
            units = sum(item_write_units(table.items.get(key["imageId"]["S"], key)) for key in keys)
            self.rejected_write_units += units * (2 if in_transaction else 1)
            return
        before = table.units
        await (table.transact_write_items if in_transaction else table.update_item)(**parameters)
        self.write_units += table.units - before
