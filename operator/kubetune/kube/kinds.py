"""The kinds the operator reads or writes and where the API server serves them."""

from __future__ import annotations

from typing import NamedTuple

from kubetune.common.meta import API_VERSION


class Resource(NamedTuple):
    """One served resource; all but nodes and runtime classes are namespaced."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]

    @property
    def base(self) -> str:
        """The path below which the resource's group and version are served."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """``namespace`` None addresses the collection over all namespaces."""
        parts = [self.base]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/".join(parts)


FINETUNEJOB = Resource(API_VERSION, "FineTuneJob", "finetunejobs")
EVALUATION = Resource(API_VERSION, "Evaluation", "evaluations")
MODELDEPLOYMENT = Resource(API_VERSION, "ModelDeployment", "modeldeployments")
JOB = Resource("batch/v1", "Job", "jobs")
POD = Resource("v1", "Pod", "pods")
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
SERVICE = Resource("v1", "Service", "services")
EVENT = Resource("v1", "Event", "events")
CLAIM = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
CONFIGMAP = Resource("v1", "ConfigMap", "configmaps")
SECRET = Resource("v1", "Secret", "secrets")
NODE = Resource("v1", "Node", "nodes")
RUNTIMECLASS = Resource("node.k8s.io/v1", "RuntimeClass", "runtimeclasses")
LEASE = Resource("coordination.k8s.io/v1", "Lease", "leases")

ALL = (
    FINETUNEJOB,
    EVALUATION,
    MODELDEPLOYMENT,
    JOB,
    POD,
    DEPLOYMENT,
    SERVICE,
    EVENT,
    CLAIM,
    CONFIGMAP,
    SECRET,
    NODE,
    RUNTIMECLASS,
    LEASE,
)
_BY_KIND = {(resource.api_version, resource.kind): resource for resource in ALL}


def resource_of(api_version: str, kind: str) -> Resource:
    """Raises KeyError for a kind this operator never touches."""
    return _BY_KIND[api_version, kind]
