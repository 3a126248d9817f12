"""The example of an invalidation: what it reads of the event exists, and it may do what it does."""

import re
from typing import Any

import pytest

from tests.support import templates
from tests.support.templates import CLOUDFORMATION
from worker.domain.state_change import DETAIL_TYPE, SOURCE, detail_of

EXAMPLES = CLOUDFORMATION.parents[1] / "docs" / "examples"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return templates.template("invalidation.yaml", EXAMPLES)


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def test_the_rule_matches_completed_images(template: dict[str, Any]) -> None:
    assert properties(template, "Rule")["EventPattern"] == {
        "source": [SOURCE],
        "detail-type": [DETAIL_TYPE],
        "detail": {"status": ["completed"]},
    }


def test_the_state_machine_reads_only_what_the_event_contains(template: dict[str, Any]) -> None:
    definition = properties(template, "StateMachine")["Definition"]
    names = set(re.findall(r"\$states\.input\.detail\.(\w+)", str(definition)))

    assert names == {"id", "processedKey"}
    assert names <= detail_of({}).keys()


def test_its_substitutions_are_parameters(template: dict[str, Any]) -> None:
    machine = properties(template, "StateMachine")
    used = set(re.findall(r"\$\{(\w+)\}", str(machine["Definition"])))

    assert used == machine["DefinitionSubstitutions"].keys() <= template["Parameters"].keys()


def test_it_may_only_invalidate_this_distribution(template: dict[str, Any]) -> None:
    (policy,) = properties(template, "StateMachineRole")["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]

    assert statement["Action"] == "cloudfront:CreateInvalidation"
    assert statement["Resource"]["Fn::Sub"].endswith("distribution/${DistributionId}")
