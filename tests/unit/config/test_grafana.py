import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from worker.aws.errors import EXPECTED_CODES
from worker.telemetry.metrics import Metrics

ROOT: Final = Path(__file__).parents[3]
SELECTED: Final = re.compile(r"(image_worker_\w+)\{([^}]*)\}")
MATCHED: Final = re.compile(r'(\w+)(?:=~|!~|!=|=)"')
GROUPED: Final = re.compile(r"by \(([^)]*)\)")
TAKEN: Final = {
    "counter": re.compile(r"(?:rate|increase)\(image_worker_\w+_total\{[^}]*\}\[\$__rate_interval\]\)"),
    "histogram": re.compile(
        r"histogram_quantile\([\d.]+, sum by \(le\b[^)]*\) "
        r"\(rate\(image_worker_\w+_bucket\{[^}]*\}\[\$__rate_interval\]\)\)\)"
    ),
    "gauge": re.compile(r"\bimage_worker_\w+\{[^}]*\}(?!\[)"),
}
"""How each type of metric is to be read; a counter that is not rated, for example, shows nothing."""

SAMPLE: Final = {"counter": "_total", "histogram": "_bucket", "gauge": ""}
OF_THE_SCRAPE: Final = {"namespace", "instance"}


def known_metrics() -> dict[str, tuple[str, set[str]]]:
    """Return type and labels of each metric, by its name in queries, `_bucket` left out."""
    metrics = Metrics()
    metrics.count_decoder_restarts(dict)
    kinds = {
        family.name: family.type for family in text_string_to_metric_families(metrics.exposition().decode())
    }
    labels = {
        one._name: set(one._labelnames)
        for one in vars(metrics).values()
        if isinstance(one, MetricWrapperBase)
    }
    assert kinds.keys() - labels.keys() == {"image_worker_decoder_restarts"}, "it alone is counted elsewhere"
    labels["image_worker_decoder_restarts"] = {"reason"}
    return {
        name + ("_total" if kind == "counter" else ""): (kind, labels.get(name, set()))
        for name, kind in kinds.items()
    }


KNOWN: Final = known_metrics()
DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "config/grafana/image-worker.json").read_text())
PANELS: Final[list[dict[str, Any]]] = [one for one in DASHBOARD["panels"] if one["type"] != "row"]
TARGETS: Final[list[dict[str, Any]]] = [target for panel in PANELS for target in panel["targets"]]
EXPRESSIONS: Final[list[str]] = [target["expr"] for target in TARGETS]


def selected(expression: str) -> list[tuple[str, set[str]]]:
    """Return the metrics that are selected, with the labels by which; `_bucket` left out."""
    return [
        (name.removesuffix("_bucket"), set(MATCHED.findall(matchers)))
        for name, matchers in SELECTED.findall(expression)
    ]


def grouped(expression: str) -> set[str]:
    return {label for labels in GROUPED.findall(expression) for label in labels.split(", ")}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_queries_use_existing_metrics_and_labels(expression: str) -> None:
    found = selected(expression)
    assert len(found) == len(re.findall("image_worker_", expression)) > 0
    for name, matched in found:
        kind, labels = KNOWN[name]
        assert matched <= labels | OF_THE_SCRAPE
        assert grouped(expression) - {"le"} <= labels | OF_THE_SCRAPE
        assert ("le" in grouped(expression)) == (kind == "histogram")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_metric_is_queried_according_to_its_type(expression: str) -> None:
    rest = expression
    for pattern in TAKEN.values():
        for taken in pattern.findall(rest):
            ((name, _),) = selected(taken)
            assert TAKEN[KNOWN[name][0]] is pattern
            assert SELECTED.findall(taken)[0][0].endswith(SAMPLE[KNOWN[name][0]])
        rest = pattern.sub("", rest)
    assert "image_worker_" not in rest
    promql_parser.parse(expression.replace("$__rate_interval", "5m"))


def test_every_metric_is_shown() -> None:
    assert {name for expression in EXPRESSIONS for name, _ in selected(expression)} == KNOWN.keys()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_query_is_limited_to_the_selected_workers(expression: str) -> None:
    assert all(matched >= OF_THE_SCRAPE for _, matched in selected(expression))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["expr"])
def test_legends_use_labels_that_the_query_keeps(target: dict[str, Any]) -> None:
    named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert named == grouped(target["expr"]) - {"le"} - ({"namespace"} - named)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_has_a_unit_and_a_description(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"].split()) > 10
    assert panel["description"].endswith(".")


def test_panels_fit_into_24_columns_without_overlapping() -> None:
    cells = [
        {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for at in (one["gridPos"] for one in DASHBOARD["panels"])
    ]
    assert all(0 <= x < 24 for one in cells for x, _ in one)
    assert all(not one & other for one, other in combinations(cells, 2))


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD.get("id") is None
    assert DASHBOARD["schemaVersion"] >= 39, "Grafana 11"
    ids = [one["id"] for one in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    variables = DASHBOARD["templating"]["list"]
    asking = [*PANELS, *(one for one in variables if one["type"] == "query")]
    assert all(one["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for one in asking)
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD)))
    assert used == {one["name"] for one in variables}


def test_expected_errors_are_not_counted_as_failed_calls() -> None:
    (panel,) = (one for one in PANELS if one["title"] == "Share of calls that fail")
    (codes,) = re.findall(r'code!~"([^"]*)"', panel["targets"][0]["expr"])
    assert set(codes.split("|")) == {"OK"} | EXPECTED_CODES


def test_the_metrics_page_lists_exactly_the_existing_metrics() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(image_worker_\w+)` \| (\w+) \|([^|]*)\| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)
    listed = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert listed == KNOWN
    assert len(listed) == len(rows) == page.count("\n| `image_worker_")
