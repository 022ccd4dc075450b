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
    GateRule,
    Generation,
    MetricName,
    MetricResult,
    Verdict,
)
from .phases import Phase, stopping
from .preflight import UNUSED_LIMIT, Fit, MemoryEstimate, PreflightSummary, Range
from .runtime import FailureSummary, exit_when_asked, read_config, run, write_termination
from .serve import Engine, FetchSummary, ServeConfig
from .train import (
    Accelerator,
    Export,
    Hyperparameters,
    Lora,
    Method,
    Placement,
    Recovery,
    Tracking,
    TrainConfig,
)
from .train_results import FoundResult, RecoveryStep, RowSettings, Suggestion, TrainProgress, TrainSummary
from .types import COLUMNS, GROUP, Artifact, Contents, Dataset, Missing, ModelRef, ObjectStore, Owner, RowFormat
from .uris import Uri, UriError

__all__ = [
    "COLUMNS",
    "GROUP",
    "PERMANENT",
    "UNUSED_LIMIT",
    "Accelerator",
    "Artifact",
    "Contents",
    "ContractError",
    "Dataset",
    "Engine",
    "EvalConfig",
    "EvalProgress",
    "EvalSummary",
    "ExitCode",
    "Export",
    "FailureSummary",
    "FetchSummary",
    "Fit",
    "FoundResult",
    "Gate",
    "GateRule",
    "Generation",
    "Hyperparameters",
    "KubeTuneError",
    "Lora",
    "MemoryEstimate",
    "Method",
    "MetricName",
    "MetricResult",
    "Missing",
    "ModelRef",
    "ObjectStore",
    "Owner",
    "Phase",
    "Placement",
    "PreflightSummary",
    "Range",
    "Recovery",
    "RecoveryStep",
    "RowFormat",
    "RowSettings",
    "ServeConfig",
    "Suggestion",
    "Tracking",
    "TrainConfig",
    "TrainProgress",
    "TrainSummary",
    "Uri",
    "UriError",
    "Verdict",
    "dumps",
    "exit_when_asked",
    "from_json",
    "read_config",
    "run",
    "stopping",
    "to_json",
    "write_termination",
]
