"""The FineTuneJob as its users write and read it."""

from __future__ import annotations

from .finetunejob import FineTuneJob
from .hyperparameters import Hyperparameters, Lora, LrSchedulerType, Optimizer
from .reasons import Reason
from .spec import FineTuneJobSpec, FitPolicy, Preset
from .status_types import (
    ArtifactStatus,
    CostStatus,
    EffectiveSettings,
    EvaluationRef,
    FineTuneJobStatus,
    PreflightStatus,
    QueueStatus,
    TrainingProgress,
    TrainingResults,
)

__all__ = [
    "ArtifactStatus",
    "CostStatus",
    "EffectiveSettings",
    "EvaluationRef",
    "FineTuneJob",
    "FineTuneJobSpec",
    "FineTuneJobStatus",
    "FitPolicy",
    "Hyperparameters",
    "Lora",
    "LrSchedulerType",
    "Optimizer",
    "PreflightStatus",
    "Preset",
    "QueueStatus",
    "Reason",
    "TrainingProgress",
    "TrainingResults",
]
