"""The contract between the operator and the images: configurations in, progress and summaries out, exit codes.

Standard library only, so that every image and the operator can carry it. Import from here, not from the modules below.
"""

from .codec import dumps, from_json, to_json
from .errors import PERMANENT, ContractError, ExitCode, KubeTuneError
from .evaluate import (
    EvalConfig,
    EvalProgress,
    EvalSummary,
    Gate,
    Generation,
    MetricName,
    MetricResult,
    Verdict,
)
from .runtime import FailureSummary, read_config, run, write_termination
from .serve import Engine, FetchSummary, ServeConfig
from .train import Hyperparameters, Lora, Method, Tracking, TrainConfig, TrainProgress, TrainSummary
from .types import Artifact, Dataset, ModelRef, ObjectStore, Owner, RowFormat
from .uris import Uri, UriError

__all__ = [
    "PERMANENT",
    "Artifact",
    "ContractError",
    "Dataset",
    "Engine",
    "EvalConfig",
    "EvalProgress",
    "EvalSummary",
    "ExitCode",
    "FailureSummary",
    "FetchSummary",
    "Gate",
    "Generation",
    "Hyperparameters",
    "KubeTuneError",
    "Lora",
    "Method",
    "MetricName",
    "MetricResult",
    "ModelRef",
    "ObjectStore",
    "Owner",
    "RowFormat",
    "ServeConfig",
    "Tracking",
    "TrainConfig",
    "TrainProgress",
    "TrainSummary",
    "Uri",
    "UriError",
    "Verdict",
    "dumps",
    "from_json",
    "read_config",
    "run",
    "to_json",
    "write_termination",
]
