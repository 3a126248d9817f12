"""
Create the resources in LocalStack from the same template as on AWS. Safe to repeat.

LocalStack runs this script by `exec` in its own process, so a `__main__` guard would never be true. An
exception sets the state of the script to ERROR, which makes the container unhealthy.
"""

import os
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import get_session

STACK_NAME = "image-worker-storage"
TEMPLATE = Path(os.environ.get("STORAGE_TEMPLATE", "/etc/image-worker/storage.yaml"))
WAITER = {"Delay": 1, "MaxAttempts": 120}  # seconds between two requests


def deploy(cloudformation: Any) -> None:  # noqa: ANN401 - botocore's clients are untyped
    """Create or update the stack with the defaults of the template, which are those of the worker."""
    stack = {
        "StackName": STACK_NAME,
        "TemplateBody": TEMPLATE.read_text(encoding="utf-8"),
        "Capabilities": ["CAPABILITY_IAM"],
    }
    try:
        cloudformation.create_stack(**stack, OnFailure="DELETE")
        done = "stack_create_complete"
    except cloudformation.exceptions.AlreadyExistsException:
        try:
            cloudformation.update_stack(**stack)
        except ClientError as error:
            if "No updates are to be performed" in str(error):
                return
            raise
        done = "stack_update_complete"
    cloudformation.get_waiter(done).wait(StackName=STACK_NAME, WaiterConfig=WAITER)


deploy(
    get_session().create_client(
        "cloudformation",
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL", "http://localhost:4566"),
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        # These select LocalStack's default account, like those of the worker in docker-compose.yml.
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - of an emulator
    )
)
