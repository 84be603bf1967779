"""What is wrong with Kubernetes manifests: against the API's schemas, and against each other."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from scripts.launch.environment import OPTIONS, PREFIX, variable

Document = dict[str, Any]

# The oldest that the chart promises (kubeVersion in Chart.yaml) and the newest with a schema.
VERSIONS = ("1.27", kubernetes_validate.latest_version())


def read(text: str) -> list[Document]:
    # By libyaml: a controller's definition has 30,000 lines.
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def faults(documents: list[Document], version: str) -> list[str]:
    """One line for each fault; none for manifests that the API server would take as they are.

    Unknown keys, which it would drop in silence, are faults.
    """
    return [*schema_faults(documents, version), *reference_faults(documents)]


def schema_faults(documents: list[Document], version: str) -> Iterator[str]:
    for document in documents:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (
            kubernetes_validate.ValidationError,
            kubernetes_validate.SchemaNotFoundError,
        ) as error:
            yield f"{document['kind']}: {error}"


def reference_faults(documents: list[Document]) -> Iterator[str]:
    """Names that nothing has: no schema knows them."""
    (deployment,) = of_kind(documents, "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    ports = {port["name"] for port in container["ports"]}
    volumes = {volume["name"] for volume in spec["volumes"]}

    for document in documents:
        kind, body = document["kind"], document["spec"]
        selector = body.get("podSelector", body.get("selector", {}))
        if (
            isinstance(selector, dict)
            and not selector.get("matchLabels", selector).items() <= labels
        ):
            yield f"{kind}: its selector {selector} does not match the pods"
        target = body.get("scaleTargetRef", {}).get("name")
        if target not in (None, deployment["metadata"]["name"]):
            yield f"{kind}: there is no Deployment {target}"
    for document in of_kind(documents, "Service"):
        for port in document["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"Service: no container has a port {port['targetPort']}"
    for document in of_kind(documents, "NetworkPolicy"):
        for rule in document["spec"]["ingress"]:
            for port in rule["ports"]:
                if port["port"] not in ports:
                    yield f"NetworkPolicy: no container has a port {port['port']}"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if port not in ports:
            yield f"{probe}: no container has a port {port}"
    for mount in container["volumeMounts"]:
        if mount["name"] not in volumes:
            yield f"volumeMounts: there is no volume {mount['name']}"
    yield from setting_faults(container)


def setting_faults(container: Document) -> Iterator[str]:
    """Variables that the service would refuse to start with."""
    settings = {variable(option) for option in OPTIONS}
    for entry in container["env"]:
        if entry["name"].startswith(PREFIX) and entry["name"] not in settings:
            yield f"{entry['name']} is no setting"


def custom_resource_faults(document: Document, definitions: Path) -> list[str]:
    """Against the CustomResourceDefinition of its version and kind in a folder of them."""
    for path in definitions.glob("*.yaml"):
        text = path.read_text("utf-8")
        if f"kind: {document['kind']}\n" not in text:
            continue
        for definition in read(text.replace("{{", "").replace("}}", "")):  # of Helm, in annotations
            if definition.get("kind") != "CustomResourceDefinition":
                continue
            spec = definition["spec"]
            for version in spec["versions"]:
                found = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                if found == (document["apiVersion"], document["kind"]):
                    schema = closed(copy.deepcopy(version["schema"]["openAPIV3Schema"]))
                    schema["properties"]["metadata"] = {"type": "object"}
                    validator = jsonschema.Draft202012Validator(schema)
                    return [
                        f"{error.json_path}: {error.message}"
                        for error in validator.iter_errors(document)
                    ]
    raise LookupError(f"no definition of {document['apiVersion']} {document['kind']}")


def closed(schema: Any) -> Any:
    """The schema, which then refuses the keys that it does not name."""
    if isinstance(schema, list):
        for part in schema:
            closed(part)
    elif isinstance(schema, dict):
        is_open = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get(
            "x-kubernetes-embedded-resource"
        )
        if isinstance(schema.get("properties"), dict) and not is_open:
            schema.setdefault("additionalProperties", False)
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("type", None)
        for part in schema.values():
            closed(part)
    return schema


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]
