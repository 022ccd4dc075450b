"""Exit codes and the failures that carry them from an image's code to the user's custom resource."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What a workload container's exit status means; the operator maps it to a Job policy and a condition reason.

    The numbers follow sysexits.h where it has one.
    """

    OK = 0
    BAD_CONFIG = 64
    """EX_USAGE: the configuration is wrong; running it again cannot help."""
    BAD_DATA = 65
    """EX_DATAERR: the dataset is wrong; the message names the line."""
    INPUT_NOT_FOUND = 66
    """EX_NOINPUT: a model, adapter, dataset, bucket or claim path does not exist."""
    UNAVAILABLE = 69
    """EX_UNAVAILABLE: the object store or the tracker does not answer; worth another try."""
    BUG = 70
    """EX_SOFTWARE: an error this project did not foresee."""
    PREEMPTED = 75
    """EX_TEMPFAIL: asked to stop before the end; resume or start again."""
    PERMISSION = 77
    """EX_NOPERM: credentials are missing, wrong or not allowed to read or write."""
    OUT_OF_MEMORY = 78
    """Memory did not suffice and there is nothing left to lower (the kernel's own killer shows as 137)."""
    DIVERGED = 79
    """The loss or the gradient was lost; the last good checkpoint was kept."""
    SUPERSEDED = 80
    """A newer pod of the same object has taken over; this one must not write any more."""
    CHANGED = 81
    """A folder does not hold what was admitted, but something else."""


PERMANENT = frozenset(
    {
        ExitCode.BAD_CONFIG,
        ExitCode.BAD_DATA,
        ExitCode.INPUT_NOT_FOUND,
        ExitCode.PERMISSION,
        ExitCode.OUT_OF_MEMORY,
        ExitCode.DIVERGED,
    }
)
"""Codes after which the same Job must not be tried again."""


class KubeTuneError(Exception):
    """A failure with an exit code, a CamelCase reason for the condition and a sentence for the user."""

    def __init__(self, code: ExitCode, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


class ContractError(KubeTuneError):
    """The configuration file does not follow the contract; ``path`` names the member."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(ExitCode.BAD_CONFIG, "InvalidConfig", f"configuration: {path} {problem}")
        self.path = path
