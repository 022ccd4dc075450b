"""Things a user could do better, seen before the run. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kubetune_contract import Hyperparameters, Suggestion, TrainConfig

from .profile import Lengths, Plan, percentiles

MANY_TRUNCATED = 0.05
MANY_DUPLICATES = 0.01
MUCH_PADDING = 0.4
FEW_STEPS = 10


@dataclass(frozen=True)
class Seen:
    """What the advice is drawn from."""

    config: TrainConfig
    can_pack: bool
    """Whether the base keeps packed rows apart."""
    train: Lengths
    validation: Lengths | None
    plan: Plan
    duplicate_rows: int
    leaked_rows: int
    conditional_writes: bool
    tracker_problem: str | None
    disk_bytes: int
    free_bytes: int


def suggestions(seen: Seen) -> tuple[Suggestion, ...]:
    """The most costly first."""
    return tuple(Suggestion(reason, message) for reason, message in (*_about_rows(seen), *_about_settings(seen)))


def _about_rows(seen: Seen) -> Iterator[tuple[str, str]]:
    train, limit = seen.train, seen.train.limit
    rows = len(train.full)
    if seen.leaked_rows:
        yield (
            "LeakedRows",
            f"{seen.leaked_rows} validation rows are training rows too (but for case and spaces): their loss says "
            "nothing about new data; remove them from one side",
        )
    if train.truncated > MANY_TRUNCATED * rows:
        yield (
            "ManyTruncated",
            f"{train.truncated} of {rows} rows ({train.truncated / rows:.0%}) are cut at maxSequenceLength={limit}; "
            f"99 % fit into {percentiles(train.full)['p99']} tokens",
        )
    if train.dropped:
        yield (
            "NothingToLearn",
            f"{train.dropped} rows have nothing to learn within {limit} tokens and are left out",
        )
    if seen.duplicate_rows > MANY_DUPLICATES * rows:
        yield "DuplicateRows", f"{seen.duplicate_rows} of {rows} training rows repeat an earlier one exactly"
    if train.reasoning_left_out:
        yield (
            "ReasoningLeftOut",
            f"the chat template leaves out the reasoning of some answers of {train.reasoning_left_out} chats, mostly "
            "of all but the last: it is not learned; make a row of each answer to learn it",
        )


def _about_settings(seen: Seen) -> Iterator[tuple[str, str]]:
    hyper, plan = seen.config.hyperparameters, seen.plan
    if seen.disk_bytes > seen.free_bytes:
        yield (
            "DiskShort",
            f"the run needs about {seen.disk_bytes / 2**30:.1f} GiB of scratch space; this node has "
            f"{seen.free_bytes / 2**30:.1f} GiB left",
        )
    waste = 1 - seen.train.tokens * plan.micro_batches / max(1, plan.tokens * _batches(seen))
    if seen.can_pack and not hyper.packing and waste > MUCH_PADDING:
        yield "UsePacking", f"{waste:.0%} of what would be computed is padding; packing: true leaves it out"
    if plan.steps < FEW_STEPS:
        yield "FewSteps", f"only {plan.steps} optimizer steps are planned; {_more_steps(hyper)}"
    if seen.tracker_problem:
        yield (
            "TrackerUnreachable",
            f"the tracking server does not answer ({seen.tracker_problem}); metrics will be kept and sent later",
        )
    if not seen.conditional_writes:
        yield (
            "NoConditionalWrites",
            "the object store ignores conditional writes: two pods of one job could overwrite each other's run state",
        )


def _more_steps(hyper: Hyperparameters) -> str:
    if hyper.max_steps is not None:
        return f"raise maxSteps ({hyper.max_steps}), or leave it out and let numTrainEpochs decide"
    if hyper.gradient_accumulation_steps > 1:
        return f"lower gradientAccumulationSteps ({hyper.gradient_accumulation_steps}) or raise numTrainEpochs"
    return f"raise numTrainEpochs ({hyper.num_train_epochs:g}), or train on more rows"


def _batches(seen: Seen) -> float:
    """Micro-batches of one pass over the training rows."""
    return max(1.0, len(seen.train.kept) / seen.config.hyperparameters.per_device_train_batch_size)
