"""Check the Terraform module with the AWS provider's schema; exit status 1 if there is a finding."""

import sys

from tests.terraform import hcl, schema
from tests.terraform.parity import EVERYTHING, evaluated


def main() -> int:
    """Print the findings, and return the exit status."""
    wheel = schema.find_wheel()
    if wheel is None:
        print(schema.MISSING)
        return 1
    aws = schema.provider(wheel)
    try:
        findings = schema.check(hcl.read(), [*evaluated().resources, *evaluated(**EVERYTHING).resources], aws)
    except hcl.HclError as error:
        findings = [str(error)]
    for finding in findings:
        print(finding)
    print(f"config/terraform: {len(findings)} findings with the schema of hashicorp/aws {aws.version()}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
