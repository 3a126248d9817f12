"""
What LocalStack does once it is ready: make the resources, from the template that AWS gets. Safe to repeat.

LocalStack runs it with `exec` in its own process, where a `__main__` guard would never be true. An exception
makes the script's state ERROR, and so the container unhealthy.
"""  # noqa: INP001 - LocalStack decides the name of the folder

import os
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import get_session

STACK_NAME = "image-worker-storage"
TEMPLATE = Path(os.environ.get("STORAGE_TEMPLATE", "/etc/image-worker/storage.yaml"))
PATIENCE = {"Delay": 1, "MaxAttempts": 120}  # seconds between two looks at the stack, and how many


def deploy(cloudformation: Any) -> None:  # noqa: ANN401 - botocore's clients have no types of their own
    """Create the stack with the template's defaults, which are the worker's; or bring it up to date."""
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
    cloudformation.get_waiter(done).wait(StackName=STACK_NAME, WaiterConfig=PATIENCE)


deploy(
    get_session().create_client(
        "cloudformation",
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL", "http://localhost:4566"),
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        # Any do; these stand for LocalStack's default account, as do the worker's.
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106
    )
)
