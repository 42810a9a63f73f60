"""cluster/monitoring: what is scraped is what Ray serves, and what is drawn is what the project measures."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from pager_ray.pipeline.metrics import METRICS, OUTPUT, PREFIX

from .test_kuberay import MANIFESTS, container_of, groups_of, read_manifest

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "cluster" / "monitoring"
SUFFIX = "_total"
"""What Prometheus' format puts after a counter's name; Ray serves counters in it."""

METRIC = re.compile(r"\b(?:ray_)+[a-zA-Z0-9_]+\b|\bpager_ray[a-zA-Z0-9_]*\b")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')

Change = Callable[[dict[str, Any]], object]


def served(name: str) -> str:
    """A metric's name as Prometheus knows it."""
    suffix = SUFFIX if METRICS[name].kind == "counter" and not name.endswith(SUFFIX) else ""
    return f"{PREFIX}{name}{suffix}"


SERVED = {served(name): metric for name, metric in METRICS.items()}


def read_dashboard() -> dict[str, Any]:
    return json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def faults(dashboard: dict[str, Any]) -> Iterator[str]:
    """What is wrong between a dashboard and the metrics."""
    drawn = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expr = target["expr"]
            names = set(METRIC.findall(expr))
            drawn |= names
            yield from (f"{name}: nobody serves it" for name in names - SERVED.keys())
            known = [SERVED[name] for name in names & SERVED.keys()]
            labels = {label.strip() for group in GROUPING.findall(expr) for label in group.split(",")}
            labels |= set(MATCHER.findall(expr))
            for metric in known:
                # A label that only one side of a division has would empty the other.
                shared = labels if len(known) == 1 else labels & {OUTPUT}
                yield from (f"{expr}: no label {label}" for label in shared - {OUTPUT, *metric.labels})
            every = {OUTPUT, *(label for metric in known for label in metric.labels)}
            yield from (f"{expr}: no label {label}" for label in labels - every)
            shown = set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))
            yield from (f"{panel['title']}: the legend names {label}" for label in shown - labels)
            for name in names & SERVED.keys():
                counter = SERVED[name].kind == "counter"
                rated = re.search(rf"\b(?:rate|increase)\({name}\{{[^}}]*\}}\[", expr)
                if counter and not rated and panel["type"] == "timeseries":
                    yield f"{name}: a counter is drawn as it stands"
                if not counter and rated:
                    yield f"{name}: a gauge has no rate"
            if expr.count(f'{OUTPUT}="$output"') != len(METRIC.findall(expr)):
                yield f"{expr}: draws other jobs too"
            if target["datasource"]["uid"] != "${datasource}":
                yield f"{panel['title']}: draws from a data source of its own"
        if not panel.get("description"):
            yield f"{panel['title']}: says nothing"
    yield from (f"{name}: is drawn nowhere" for name in SERVED.keys() - drawn)
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    if variables.get("datasource", {}).get("query") != "prometheus":
        yield "no choice of data source"
    query = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables.get("output", {}).get("definition", ""))
    if not query or query[1] not in SERVED or query[2] != OUTPUT:
        yield "no choice of output"


def test_dashboard_draws_every_metric_and_no_other() -> None:
    """Every expression names metrics and labels that a job serves, and every metric is drawn."""
    assert list(faults(read_dashboard())) == []


def replace_in(panel: int, old: str, new: str) -> Change:
    def change(dashboard: dict[str, Any]) -> None:
        target = dashboard["panels"][panel]["targets"][0]
        assert old in target["expr"]
        target["expr"] = target["expr"].replace(old, new)

    return change


def panel_of(metric: str) -> int:
    return next(i for i, expr in enumerate(expressions(read_dashboard())) if served(metric) in expr)


@pytest.mark.parametrize("spell", [lambda name: f"{name}x", lambda name: name.removeprefix(PREFIX)])
def test_misspelt_metrics_are_found(spell: Callable[[str], str]) -> None:
    """A dashboard with a metric misspelt, or without Ray's prefix, fails."""
    dashboard, name = read_dashboard(), next(iter(METRICS))
    replace_in(panel_of(name), served(name), spell(served(name)))(dashboard)
    assert any("nobody serves it" in fault for fault in faults(dashboard))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d["panels"].pop(panel_of("pager_ray_stage_queue")),
        replace_in(panel_of("pager_ray_stage_queue"), "by (stage)", "by (stages)"),
        replace_in(panel_of("pager_ray_stage_queue"), 'output="$output"', 'job="$output"'),
        replace_in(panel_of("pager_ray_stage_queue"), '{output="$output"}', ""),
        replace_in(panel_of("pager_ray_bytes_written"), "_total", ""),
        lambda d: d["panels"][0]["targets"][0].update(legendFormat="{{device}}"),
        lambda d: d["templating"]["list"].pop(),
        lambda d: d["templating"]["list"][1].update(definition="label_values(ray_pager_ray_panoramas_left, run)"),
    ],
)
def test_dashboards_that_draw_something_else_are_found(spoil: Change) -> None:
    """A lost panel, an unknown label, an unfiltered series or a variable without values fails."""
    dashboard = copy.deepcopy(read_dashboard())
    spoil(dashboard)
    assert list(faults(dashboard))


def test_panels_lie_beside_each_other() -> None:
    """Panels fill the grid's 24 columns without overlapping, and their ids differ."""
    panels = read_dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))


def test_counters_are_served_with_their_suffix() -> None:
    """Names in the dashboard are those that Ray's own recorder serves for a counter and a gauge of these names."""
    client = pytest.importorskip("prometheus_client", reason="needs Ray's extra 'default'")
    recorder_module = pytest.importorskip("ray._private.telemetry.open_telemetry_metric_recorder")
    recorder = recorder_module.OpenTelemetryMetricRecorder(gauge_metric_ttl_seconds=60.0)
    for name, metric in METRICS.items():
        register = recorder.register_counter_metric if metric.kind == "counter" else recorder.register_gauge_metric
        register(name, metric.description)
        recorder.set_metric_value(name, {OUTPUT: "out", **dict.fromkeys(metric.labels, "x")}, 1.0)
    lines = client.generate_latest(client.REGISTRY).decode().splitlines()
    assert SERVED.keys() <= {line.split("{")[0] for line in lines if not line.startswith("#")}


def test_prometheus_reads_rays_own_list_of_nodes() -> None:
    """Prometheus finds nodes in the file that Ray keeps, in the folder that launcher clusters share with the head."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    [job] = config["scrape_configs"]
    [discovery] = job["file_sd_configs"]
    assert discovery["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]
    for name in ("aws.yaml", "gcp.yaml"):
        launcher = yaml.safe_load((ROOT / "cluster" / name).read_text(encoding="utf-8"))
        assert "--volume /tmp/ray:/tmp/ray" in launcher["docker"]["run_options"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_pod_monitor_finds_every_pod(name: str) -> None:
    """The PodMonitor selects every pod of the manifests, by a port that each opens where Ray serves its metrics."""
    monitor = yaml.safe_load((MONITORING / "podmonitor.yaml").read_text(encoding="utf-8"))
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    for group in groups_of(read_manifest(name)).values():
        assert wanted <= group["template"]["metadata"]["labels"].items()
        ports = {port["name"]: port["containerPort"] for port in container_of(group)["ports"]}
        assert ports[endpoint["port"]] == int(group["rayStartParams"]["metrics-export-port"])
