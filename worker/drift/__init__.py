"""
Find what the resources of the storage stack differ in from the template, and correct it by direct requests.

On AWS, a drift-aware change set of CloudFormation corrects nearly all of it first. These requests remain for
what no update of a stack can do (several missing indexes, notifications of other programs) and for emulators,
whose CloudFormation compares templates only.
"""

from worker.drift.storage import Storage
from worker.drift.table import TableDrift

__all__ = ["Storage", "TableDrift"]
