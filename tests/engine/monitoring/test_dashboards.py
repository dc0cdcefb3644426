"""compose.yaml, the alerts and the dashboard, tried with a real Prometheus and a real service."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from mlrelease import files
from mlrelease.serving import app as serving_app
from tests.engine.conftest import GENERATED

ROOT = GENERATED
FOLDER = ROOT / "monitoring"
SCRAPES = 5  # for a rate
DASHBOARD = files.read_json(FOLDER / "grafana" / "dashboards" / "model.json")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
PROMETHEUS = shutil.which("prometheus") and shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    not PROMETHEUS, reason="Prometheus is not installed: apt-get install prometheus"
)
EXPRESSIONS = [
    (panel["title"], target["expr"].replace("$__rate_interval", "1m"))
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@needs_prometheus
def test_the_configuration_and_the_rules_are_valid() -> None:
    assert promtool("check", "config", str(FOLDER / "prometheus.yml")) == ""


@needs_prometheus
def test_each_alert_fires_where_it_should_and_only_there() -> None:
    assert promtool("test", "rules", str(Path(__file__).with_name("alerts.yml"))) == ""


def test_no_alert_is_without_a_test() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    played = yaml.safe_load(Path(__file__).with_name("alerts.yml").read_text())["tests"]
    cases = [case for test in played for case in test["alert_rule_test"]]
    for fires in (True, False):
        names = {case["alertname"] for case in cases if bool(case.get("exp_alerts")) is fires}
        assert names == {rule["alert"] for rule in rules}


def test_compose_is_valid_and_pins_what_it_runs() -> None:
    schema = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    command = [sys.executable, *schema, str(ROOT / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    images = {name: service["image"] for name, service in COMPOSE["services"].items()}
    assert images.pop("model") == "${MODEL_IMAGE:-model:candidate}"
    for image in images.values():
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image)


def test_compose_gives_a_service_no_more_than_it_needs() -> None:
    for service in COMPOSE["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists()
    model = COMPOSE["services"]["model"]
    assert model["read_only"]


def test_the_dashboard_reads_the_provisioned_data_source() -> None:
    folder = FOLDER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    asked = [panel["datasource"] for panel in DASHBOARD["panels"]]
    asked += [target["datasource"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in asked)
    (provider,) = yaml.safe_load((folder / "dashboards" / "model.yaml").read_text())["providers"]
    mounts = COMPOSE["services"]["grafana"]["volumes"]
    assert f"./monitoring/grafana/dashboards:{provider['options']['path']}:ro" in mounts
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.fixture(scope="module")
def scraped(first_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus, with the shipped settings, that scraped a service in use."""
    folder, model = tmp_path_factory.mktemp("prometheus"), first_release / "project/candidate/model"
    port, web = free_port(), free_port()
    settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    shutil.copy(FOLDER / "alerts.yml", folder)
    service = subprocess.Popen(
        [
            *(sys.executable, "-m", serving_app.__name__, "--directory", str(model)),
            *("--version", "1", "--port", str(port), "--log", str(folder / "predictions.jsonl")),
        ],
        cwd=ROOT,
    )
    prometheus = subprocess.Popen(
        [
            *("prometheus", f"--config.file={folder / 'prometheus.yml'}"),
            *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{web}"),
        ],
        stderr=(folder / "log").open("w"),
    )
    try:
        use(f"http://127.0.0.1:{port}", model, f"http://127.0.0.1:{web}")
        yield f"http://127.0.0.1:{web}"
    finally:
        for process in (service, prometheus):
            process.terminate()
            process.wait(30)


def use(url: str, model: Path, prometheus: str) -> None:
    """Requests, good and bad, until Prometheus has scraped a few times."""
    row = files.read_json(model / "golden.json")[0]["row"]
    end, client = time.monotonic() + 60, httpx.Client(base_url=url, trust_env=False)
    scrapes = 0
    while scrapes < SCRAPES:
        assert time.monotonic() < end, f"{scrapes} scrapes"
        with contextlib.suppress(httpx.TransportError):  # until both have started
            assert client.post("/predict", json=row).status_code == 200
            assert client.post("/predict", json=row | {next(iter(row)): "x"}).status_code == 422
            found = ask(prometheus, "query", query='count_over_time(up{job="model"}[1m])')["result"]
            scrapes = int(found[0]["value"][1]) if found else 0
        time.sleep(0.1)


def ask(url: str, path: str, **parameters: str) -> Any:
    answer = httpx.get(f"{url}/api/v1/{path}", params=parameters, trust_env=False).json()
    assert answer["status"] == "success", answer
    return answer["data"]


@pytest.mark.slow
@needs_prometheus
class TestScraped:
    def test_it_is_up_and_the_only_alert_is_about_what_it_refused(self, scraped: str) -> None:
        (target,) = ask(scraped, "targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        end, pending = time.monotonic() + 30, set[str]()
        while pending != {"ModelRejectsRows"}:
            assert time.monotonic() < end, pending
            time.sleep(0.5)
            alerts = ask(scraped, "alerts")["alerts"]
            pending = {alert["labels"]["alertname"] for alert in alerts}

    @pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
    def test_each_panel_shows_something(self, scraped: str, title: str, expression: str) -> None:
        """So it parses, and names only metrics and labels that there are."""
        end = time.monotonic() + 30
        while not ask(scraped, "query", query=expression)["result"]:
            assert time.monotonic() < end, f"{title}: {expression}"
            time.sleep(1)

    def test_every_series_tells_which_model(self, scraped: str) -> None:
        series = ask(scraped, "series", **{"match[]": '{__name__=~"model_.*"}'})
        assert len(series) > 20
        assert {one.get("digest") for one in series} == {series[0]["digest"]}
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", series[0]["digest"])

    def test_every_metric_that_a_rule_names_is_there(self, scraped: str) -> None:
        names = set(ask(scraped, "label/__name__/values"))
        rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
        named = {name for rule in rules for name in re.findall(r"\bmodel_\w+", rule["expr"])}
        assert named <= names
