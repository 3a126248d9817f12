"""botocore's service models, read once in a process: each session of botocore would read them again."""

from functools import cache

from botocore.loaders import JSONFileLoader, Loader

_SERVICES = ("cloudformation", "dynamodb", "s3", "sqs")
_load_file = JSONFileLoader.load_file


@cache
def _load_once(path: str) -> object:
    return _load_file(JSONFileLoader(), path)


def _load(_self: JSONFileLoader, file_path: str) -> object:
    return _load_once(file_path)


def read_service_models_once() -> None:
    """Make all sessions of this process, and of its forks, share what they read."""
    JSONFileLoader.load_file = _load  # type: ignore[assignment,method-assign]


def preload_service_models() -> None:
    """Read the models of the services that most commands use."""
    read_service_models_once()
    loader = Loader()
    loader.load_data("endpoints")
    for service in _SERVICES:
        for kind in ("service-2", "endpoint-rule-set-1"):
            loader.load_service_model(service, kind)
