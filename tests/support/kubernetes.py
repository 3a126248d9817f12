"""The schemas of Kubernetes."""

from collections.abc import Mapping


def validate(resource: Mapping[str, object]) -> None:
    """
    Check a resource against the newest schema, without unknown fields.

    Raises:
        ValueError: It does not match.
    """
    import kubernetes_validate  # takes two seconds, in every process that collects tests

    try:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        raise ValueError(error.message) from error
