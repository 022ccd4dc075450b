"""The init step: everything that can be found wrong in seconds, before a model is loaded. Imports no torch.

It checks the configuration, that the output can be written, every row of data, and the base model's files, and leaves
model and normalised rows in the work folder.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from pathlib import Path

from kubetune_contract import (
    Dataset,
    ExitCode,
    KubeTuneError,
    Method,
    Suggestion,
    TrainConfig,
    TrainSummary,
    exit_when_asked,
    read_config,
)
from kubetune_shared.artifacts import read_manifest
from kubetune_shared.intake.base import Use, check_files, check_finite
from kubetune_shared.models import check_model, weight_files
from kubetune_shared.rows import Row, Rows, digest, read, split, write_rows
from kubetune_shared.rows.howread import how_read
from kubetune_shared.sources import resolve_file
from kubetune_shared.store import Store
from kubetune_shared.templates import chat_template, template_names
from kubetune_trainer.checkpoints.runstate import Beginning, known_beginning
from kubetune_trainer.checkpoints.shelf import Folder, learned_from, noted_beginning
from kubetune_trainer.data.isolation import unpacked_where_rows_would_leak
from kubetune_trainer.data.rowkeys import keep_keys
from kubetune_trainer.data.unchanged import BASE_CHANGED, check_unchanged
from kubetune_trainer.exports.exportable import check_exports, missing
from kubetune_trainer.identity import identify, settings_sha256
from kubetune_trainer.publishing.card import base_license
from kubetune_trainer.publishing.index import Finding, find_result
from kubetune_trainer.publishing.results import artifact_uri, checkpoint_folder, published

from .base import fetch_base, name_base
from .validate import validate
from .workspace import (
    Inputs,
    config_sha256,
    inputs_dir,
    save_found,
    save_inputs,
    train_file,
    validation_file,
)

log = logging.getLogger(__name__)


def prepare() -> ExitCode:
    """Raises KubeTuneError with the first thing that is wrong."""
    exit_when_asked()
    config = read_config(TrainConfig)
    validate(config)
    store = Store(config.store)
    store.check_writable(config.output)
    earlier = published(store, config)
    if earlier and not missing(config, earlier):
        log.info("an earlier attempt has published the artifact; nothing to prepare")
        return ExitCode.OK
    shutil.rmtree(inputs_dir(), ignore_errors=True)
    inputs_dir().mkdir(parents=True)
    try:
        bring(config, store, earlier)
    except KubeTuneError as error:
        if earlier is None or error.reason != BASE_CHANGED:
            raise
        # The result is there; what is missing can only be made with the base that it was trained on.
        told = Suggestion(
            "ExportFailed", f"{' and '.join(missing(config, earlier))} cannot be made: {error.message}"[:600]
        )
        save_found(dataclasses.replace(earlier, suggestions=(*earlier.suggestions, told)))
    return ExitCode.OK


def bring(config: TrainConfig, store: Store, earlier: TrainSummary | None) -> None:
    """Rows and base, checked and on this machine; ``earlier`` is this run's published result, where only exports are
    left to make."""
    started = time.monotonic()
    train, validation = fetch_rows(config.dataset, store, inputs_dir() / "data")
    # What is published already was made of its own rows, whatever lies there now.
    rows = earlier.dataset_sha256 if earlier and earlier.dataset_sha256 else digest([*train, *validation])
    known = beginning(config, store, earlier)
    if not earlier:
        check_rows(config, known, rows)
    base = name_base(config.base_model, store, known)
    found = Finding() if earlier else find_result(store, config, lambda: identify(config, rows, base, len(validation)))
    if found.summary and not missing(config, found.summary):
        save_found(found.summary)
        return
    fetched = fetch_base(config.base_model, store, inputs_dir() / "model", base, known)
    model = fetched.model
    settings = check_model(model.path, config.base_model)
    check_files(model.path, settings, config.base_model, use_of(config))
    unpacked_where_rows_would_leak(config, settings)
    check_finite(weight_files(model.path, config.base_model), config.base_model)
    check_exports(config, model.path)
    check_chat_template(model.path, config.base_model, [*train, *validation])
    write_rows(train, train_file())
    if validation:
        write_rows(validation, validation_file())
    save_inputs(
        Inputs(
            config_sha256=config_sha256(config),
            model_path=str(model.path),
            dataset_sha256=rows,
            train_rows=len(train),
            validation_rows=len(validation),
            base=fetched.content,
            base_files=fetched.files,
            base_manifest_sha256=model.manifest_sha256,
            base_revision=model.revision,
            base_license=base_license(model.path),
            row_keys=keep_keys(train, model),
            suggestions=found.told,
            found=found.summary,
        )
    )
    log.info(
        "prepared %d training and %d validation rows in %.1f s", len(train), len(validation), time.monotonic() - started
    )


def fetch_rows(dataset: Dataset, store: Store, dest: Path) -> tuple[list[Row], list[Row]]:
    """Training and validation rows, every one checked; how they were read is logged."""
    files = read_files(dataset, store, dest)
    for said in how_read(files):
        log.warning("%s: %s", said.reason, said.message)
    return divided(files, dataset)


def read_files(dataset: Dataset, store: Store, dest: Path) -> tuple[Rows, ...]:
    """The file to train on, and the one of validation rows where there is one."""
    train = read(resolve_file(dataset.uri, store, dest / "train"), dataset)
    if not dataset.validation_uri:
        return (train,)
    return train, read(resolve_file(dataset.validation_uri, store, dest / "validation"), dataset)


def divided(files: tuple[Rows, ...], dataset: Dataset) -> tuple[list[Row], list[Row]]:
    """Training and validation rows."""
    rows, *held = files
    if held:
        return rows.rows, held[0].rows
    return split(rows.rows, dataset.validation_share) if dataset.validation_share else (rows.rows, [])


def use_of(config: TrainConfig) -> Use:
    """What the base is to be judged for."""
    return Use.TRAIN_FULLY if config.method is Method.FULL else Use.TRAIN


def check_chat_template(folder: Path, uri: str, rows: list[Row]) -> None:
    """Raises KubeTuneError (BAD_DATA, NoChatTemplate) when rows are chats and the tokenizer cannot write one."""
    chat = next((row for row in rows if row.messages is not None), None)
    if chat is None or chat_template(folder) is not None:
        return
    names = template_names(folder)
    lacks = (
        f"has several chat templates ({', '.join(names)}) and none called default" if names else "has no chat template"
    )
    raise KubeTuneError(
        ExitCode.BAD_DATA,
        "NoChatTemplate",
        f"the dataset holds chat messages (line {chat.line}), but the tokenizer of {uri} {lacks}; "
        "use a model with one (often called instruct or chat), or write the rows as prompt and completion",
    )


def beginning(config: TrainConfig, store: Store, earlier: TrainSummary | None) -> Beginning:
    """What this run has begun to learn from, or has: ``earlier`` is its published result.

    A run that another release began has noted some of it with its checkpoints only.
    """
    sha = settings_sha256(config)
    known = known_beginning(store, config.output, sha)
    if known.dataset_sha256 and known.base:
        return known
    found = read_manifest(store, artifact_uri(config)) if earlier else None
    noted = noted_beginning(found[0]) if found else learned_from(Folder(store, checkpoint_folder(config)), sha)
    return Beginning(known.dataset_sha256 or noted.dataset_sha256, known.base or noted.base, known.base_files)


def check_rows(config: TrainConfig, known: Beginning, rows: str) -> None:
    """Raises KubeTuneError (BAD_DATA, DataChanged) when they are not those of this run so far, else of the preflight.

    A run that has begun knows better than a preflight, which may have come after its beginning.
    """
    if known.dataset_sha256:
        check_unchanged(config.dataset, rows, known.dataset_sha256, "this run began to learn from them")
    else:
        check_unchanged(config.dataset, rows, config.dataset_sha256, "the preflight counted them")
