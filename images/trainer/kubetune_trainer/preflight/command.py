"""The preflight command: gathers what the pure modules of this package judge, and leaves the summary."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from kubetune_contract import (
    ExitCode,
    Fit,
    PreflightSummary,
    RowSettings,
    Suggestion,
    TrainConfig,
    exit_when_asked,
    read_config,
    write_termination,
)
from kubetune_contract.paths import SCHEMA
from kubetune_shared.base_identity import name_content
from kubetune_shared.cpus import cpu_limit, memory_limit
from kubetune_shared.intake.base import check_class, check_complete, check_files, check_fits
from kubetune_shared.intake.loading import compare, on_meta
from kubetune_shared.intake.quantisation import quantisation_of
from kubetune_shared.outlines import Outline, outline_model
from kubetune_shared.rows import Row, Rows, digest
from kubetune_shared.rows.howread import columns_confidence, how_read, unused_members
from kubetune_shared.store import Store
from kubetune_trainer.data.isolation import isolates, not_packed, unpacked_where_rows_would_leak
from kubetune_trainer.exports.exportable import check_exports, missing
from kubetune_trainer.identity import Identity, identify
from kubetune_trainer.model.capability import WHEEL_ARCHITECTURES, check_capability, check_quantisation, parse
from kubetune_trainer.prepare import check_chat_template, divided, read_files, use_of
from kubetune_trainer.processes.place import processes
from kubetune_trainer.publishing.fitting import fitting
from kubetune_trainer.publishing.index import find_result
from kubetune_trainer.reporting.advice import adapter_not_servable, dora_not_servable, end_of_turn_not_learned
from kubetune_trainer.validate import validate
from kubetune_trainer.workspace import work_dir

from . import surroundings, tokens
from .aboutbase import beyond_positions, check_takes, dated_template, no_end_token, quantised_base
from .advice import Seen, suggestions
from .byrows import by_rows
from .costs import Costs, Cpu, Task, on_cpu, on_gpus, startup, work
from .disk import checkpoint_bytes, disk_bytes
from .estimate import recipe
from .fit import Verdict, verdict
from .mainmemory import check_memory
from .profile import Lengths, Plan, duplicates, histogram, leaks, percentiles, plan
from .shapes import ModelShape, ShapeError
from .summary import fitted, rounded, table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The rows, and what they are in tokens."""

    files: tuple[Rows, ...]
    """As they were read."""
    train: list[Row]
    validation: list[Row]
    train_lengths: Lengths
    validation_lengths: Lengths | None
    told: tuple[Suggestion | None, ...]
    """Of the rows as this base's tokenizer and template write them."""

    @property
    def sha256(self) -> str:
        """Names the rows."""
        return digest([*self.train, *self.validation])

    @property
    def longest(self) -> int:
        """Tokens of the longest row after truncation."""
        held = self.validation_lengths.kept if self.validation_lengths else []
        return max([*self.train_lengths.kept, *held])


def preflight() -> ExitCode:
    """Raises KubeTuneError with the first thing that is wrong."""
    exit_when_asked()
    started = time.monotonic()
    config = read_config(TrainConfig)
    validate(config)
    check_memory(memory_limit())
    store = Store(config.store)
    output = surroundings.try_output(store, config.output)
    folder = work_dir() / "preflight"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    outline = outline_model(config.base_model, store, folder / "model")
    check_files(outline.path, outline.config, config.base_model, use_of(config))
    check_class(outline.config, config.base_model, use_of(config))
    unpacked, packing = not_packed(config, outline.config), config.hyperparameters.packing
    config = unpacked_where_rows_would_leak(config, outline.config)
    check_exports(config, outline.path)
    check_gpus(config)
    data = read_data(config, store, outline, folder / "data")
    config, settings = settle(config, data.train_lengths)
    found = find_result(store, config, lambda: identity(config, store, data, packing=packing), settings)
    if found.summary and not missing(config, found.summary):
        write_termination(fitting(found.summary))
        return ExitCode.OK
    check_weights(config, outline)
    earlier = (*((unpacked,) if unpacked else ()), *found.told)
    summary = summarise(config, outline, data, output, settings=settings, earlier=earlier)
    log.info(
        "preflight of %s in %.1f s:\n%s",
        config.owner.name,
        time.monotonic() - started,
        table(summary, config.placement.currency),
    )
    write_termination(summary)
    return ExitCode.OK


def identity(config: TrainConfig, store: Store, data: Data, *, packing: bool) -> Identity:
    """What the training will be. It is known by the ``packing`` that was asked for, whatever the base allows."""
    asked = dataclasses.replace(config.hyperparameters, packing=packing)
    config = dataclasses.replace(config, hyperparameters=asked)
    return identify(config, data.sha256, name_content(config.base_model, store), len(data.validation))


def check_weights(config: TrainConfig, outline: Outline) -> None:
    """Raises KubeTuneError (INPUT_NOT_FOUND, ModelIncomplete) when the files do not hold the whole model.

    Those of quantised weights have names and shapes that only their library knows.
    """
    if quantisation_of(outline.config):
        return
    from kubetune_trainer.data.tokenizer import unreadable  # noqa: PLC0415 (takes seconds)

    try:
        model = on_meta(outline.path)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise unreadable(config.base_model, "model", error) from error
    check_complete(compare(model, outline.tensors), outline.tensors, config.base_model)


def check_gpus(config: TrainConfig) -> None:
    """Raises KubeTuneError (BAD_CONFIG, GPUTooOld or GPUTooNew) when the run may land on a GPU it cannot use."""
    for card in config.placement.accelerators if config.gpus else ():
        if card.compute_capability is None:
            continue
        capability = parse(card.compute_capability)
        # Asking torch for what it was built for would take longer than all else here.
        if "+" not in importlib.metadata.version("torch"):
            check_capability(card.name, capability, WHEEL_ARCHITECTURES)
        check_quantisation(capability, config)


def read_data(config: TrainConfig, store: Store, outline: Outline, folder: Path) -> Data:
    """Every row checked and tokenised. Raises KubeTuneError (BAD_DATA) naming lines."""
    files = read_files(config.dataset, store, folder)
    train, validation = divided(files, config.dataset)
    check_chat_template(outline.path, config.base_model, [*train, *validation])
    tokenizer = tokens.load(outline.path, config.base_model)
    encoder = tokens.encoder(tokenizer, config.hyperparameters)
    check_takes(encoder, [*train, *validation])
    limit = config.hyperparameters.max_sequence_length
    train_lengths, sample = tokens.measure(encoder, train, limit)
    if not train_lengths.kept:
        # Raises what the training would, in the same words.
        encoder.encode(train, "training")
    validation_lengths = tokens.measure(encoder, validation, limit)[0] if validation else None
    if validation_lengths and not validation_lengths.kept:
        encoder.encode(validation, "validation")
    parts = [train_lengths, *([validation_lengths] if validation_lengths else [])]
    longest, highest = max(max(part.kept) for part in parts), max(part.highest_id for part in parts)
    check_fits(outline.config, outline.tensors, longest, highest, config.base_model)
    told = (
        end_of_turn_not_learned(sample, tokens.end_ids(tokenizer)),
        beyond_positions(outline, longest),
        dated_template(encoder, any(row.messages is not None for row in train)),
        no_end_token(tokenizer),
        quantised_base(config, outline),
    )
    return Data(files, train, validation, train_lengths, validation_lengths, told)


def summarise(  # noqa: PLR0913 (all that is known)
    config: TrainConfig,
    outline: Outline,
    data: Data,
    output: surroundings.Output,
    *,
    settings: RowSettings | None,
    earlier: tuple[Suggestion, ...],
) -> PreflightSummary:
    """Everything that was found out; ``config`` is the one with ``settings``, and ``earlier`` is told of results that
    are there already."""
    lengths, held = data.train_lengths, data.validation_lengths
    planned = plan(lengths.kept, config.hyperparameters, processes(config))
    shape, problem = shape_of(config, outline)
    found = judge(config, shape, data.longest) if shape else Verdict(Fit.UNKNOWN, problem)
    costs = cost(config, task_of(config, outline, shape, data, planned), found) if shape else Costs()
    seen = Seen(
        config=config,
        can_pack=isolates(outline.config),
        train=lengths,
        validation=held,
        plan=planned,
        duplicate_rows=duplicates(data.train),
        leaked_rows=leaks(data.train, data.validation),
        conditional_writes=output.conditional,
        tracker_problem=surroundings.tracker_problem(config.tracking),
        disk_bytes=disk_bytes(config, shape, outline.download_bytes) if shape else outline.download_bytes,
        free_bytes=surroundings.free_bytes(work_dir()),
    )
    on_experts = bool(shape and shape.adapts_experts)
    unserved = adapter_not_servable(config, outline.config, on_experts=on_experts)
    told = (*earlier, *how_read(data.files), *data.told, dora_not_servable(config), unserved)
    parts = [lengths, *([held] if held else [])]
    return fitted(
        PreflightSummary(
            schema=SCHEMA,
            fit=found.fit,
            fit_message=found.message,
            train_rows=len(data.train),
            validation_rows=len(data.validation),
            dataset_sha256=data.sha256,
            steps=planned.steps,
            tokens_per_epoch=lengths.tokens,
            token_lengths=percentiles(lengths.full),
            histogram=histogram(lengths.full),
            truncated_rows=sum(part.truncated for part in parts),
            dropped_rows=sum(part.dropped for part in parts),
            masked_share=round(lengths.masked_share, 4),
            duplicate_rows=seen.duplicate_rows,
            leaked_rows=seen.leaked_rows,
            missing_rows=sum(file.missing for file in data.files),
            unused_members=unused_members(data.files),
            columns=data.files[0].columns,
            columns_confidence=columns_confidence(data.files),
            memory=found.memory,
            disk_bytes=seen.disk_bytes,
            seconds=rounded(costs.seconds),
            cost=rounded(costs.cost),
            kwh=rounded(costs.kwh),
            checkpoint_bytes=checkpoint_bytes(config, shape) if shape else 0,
            upload_bytes_per_second=round(output.bytes_per_second),
            suggestions=tuple(one for one in (*told, *suggestions(seen)) if one),
            settings=settings,
        )
    )


def settle(config: TrainConfig, lengths: Lengths) -> tuple[TrainConfig, RowSettings | None]:
    """``config`` with what the number of rows decides where nobody else has."""
    hyper, count = config.hyperparameters, processes(config)
    sequences = plan(lengths.kept, hyper, count).sequences
    chosen, settings = by_rows(sequences, hyper, config.unset_hyperparameters or (), count)
    return dataclasses.replace(config, hyperparameters=chosen, unset_hyperparameters=None), settings


def shape_of(config: TrainConfig, outline: Outline) -> tuple[ModelShape | None, str]:
    """The model's dimensions, or why they cannot be told.

    Raises KubeTuneError (BAD_CONFIG), as the training would, for an adapter that cannot be put on the model.
    """
    from .counting import count  # noqa: PLC0415 (torch and transformers: four seconds, once all else is right)

    try:
        return count(config, outline.path), ""
    except ShapeError as error:
        return None, f"the size of {config.base_model} cannot be told: {error}"


def judge(config: TrainConfig, shape: ModelShape, longest: int) -> Verdict:
    """For the rows as they are: a limit that no row comes near costs no memory."""
    hyper = config.hyperparameters
    if hyper.packing:
        return verdict(config, shape, memory_limit())
    real = dataclasses.replace(hyper, max_sequence_length=min(longest, hyper.max_sequence_length))
    return verdict(dataclasses.replace(config, hyperparameters=real), shape, memory_limit())


def cost(config: TrainConfig, task: Task, found: Verdict) -> Costs:
    """Of the whole run, on what the verdict lets it land on."""
    if config.gpus:
        return on_gpus(task, config, filter(found.lands_on, config.placement.accelerators))
    cpu = Cpu(surroundings.core_tflops(), cpu_limit(), len(os.sched_getaffinity(0)))
    return on_cpu(task, config, cpu)


def task_of(config: TrainConfig, outline: Outline, shape: ModelShape, data: Data, planned: Plan) -> Task:
    """The run from its pod's start."""
    run = recipe(config)
    held = data.validation_lengths.kept if data.validation_lengths else []
    before = startup(outline.weight_bytes, outline.download_bytes)
    return Task(shape, run, work(planned, held, config, run), before)
