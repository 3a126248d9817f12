"""Check what the confinement of decoder processes guarantees on this system."""

from collections.abc import Collection

from worker.checks.finding import Finding, failed, passed
from worker.domain.confinement import Guarantee, describe_missing, missing_guarantees

_NAME = "decoder confinement"


def check_confinement(guarantees: Collection[Guarantee]) -> Finding:
    """
    Return a warning that names the guarantees which do not hold.

    Args:
        guarantees: Those of the running decoders.
    """
    missing = missing_guarantees(guarantees)
    if not missing:
        return passed(_NAME, f"decoders have {', '.join(sorted(guarantees))}", required=False)
    return failed(
        _NAME,
        f"this system does not confine decoders fully, without {describe_missing(missing)}",
        fix="see docs/security.md for the systems that have it, or accept it for development",
        required=False,
    )


def unconfined(reason: str) -> Finding:
    """Return the finding for decoders that do not start, with the reason."""
    return failed(_NAME, reason, fix="fix the reported problem and run `image-worker check` again")
