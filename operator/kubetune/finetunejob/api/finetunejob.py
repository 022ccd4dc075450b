"""The FineTuneJob resource: one training run, from a base model and data to an adapter or a model."""

from __future__ import annotations

from typing import ClassVar

from kubetune.common.meta import AGE, Column, KindInfo, Resource

from .spec import FineTuneJobSpec
from .status_types import FineTuneJobStatus


class FineTuneJob(Resource):
    """One training run: a base model and data become an adapter (lora, qlora) or a model (full) in the object store."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="FineTuneJob",
        plural="finetunejobs",
        short="ftj",
        columns=(
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progress.display"),
            Column("Loss", ".status.progress.loss", "number"),
            Column("ETA", ".status.progress.eta"),
            Column("Reason", '.status.conditions[?(@.type=="Succeeded")].reason'),
            Column("Attempts", ".status.attempts", "integer", wide=True),
            Column("GPU", ".spec.resources.gpu", "integer", wide=True),
            Column("Cost", ".status.cost.display", wide=True),
            Column("Tokens/s", ".status.progress.tokensPerSecond", "number", wide=True),
            Column("Fit", ".status.preflight.fit", wide=True),
            Column("Queue", ".status.queue.position", "integer", wide=True),
            Column("GPU-Resource", ".spec.resources.gpuResourceName", wide=True),
            Column("Method", ".spec.method", wide=True),
            Column("Base", ".spec.baseModel.uri", wide=True),
            AGE,
        ),
    )

    spec: FineTuneJobSpec
    """What to train. Nothing but `suspend` can be changed after creation."""
    status: FineTuneJobStatus = FineTuneJobStatus()
    """What was measured."""
