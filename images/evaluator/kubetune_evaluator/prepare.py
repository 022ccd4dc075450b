"""The init step: everything that can be found wrong before a model is loaded. Imports no torch."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

from kubetune_contract import EvalConfig, ExitCode, KubeTuneError, ModelRef, exit_when_asked, read_config
from kubetune_shared.contents import content_of
from kubetune_shared.intake.adapters import whole_weights
from kubetune_shared.intake.base import Use, check_files
from kubetune_shared.models import check_model, safetensors_header
from kubetune_shared.rowkeys import known
from kubetune_shared.rows import Row, digest, read
from kubetune_shared.rows.howread import how_read
from kubetune_shared.sources import LocalModel, resolve_file, resolve_model
from kubetune_shared.store import Store
from kubetune_shared.templates import chat_template
from kubetune_shared.torchless import without_torch

from .finished import finished
from .items import Item, Selection, select
from .plan import Plan, PlannedModel, config_sha256, inputs_dir, save
from .seen import seen_items
from .tokenizer import check_tools

log = logging.getLogger(__name__)


def prepare() -> ExitCode:
    """Raises KubeTuneError with the first thing that is wrong."""
    exit_when_asked()
    config = read_config(EvalConfig)
    check_names(config)
    store = Store(config.store)
    store.check_writable(config.output)
    if finished(store, config):
        log.info("an earlier attempt has published the report; nothing to prepare")
        return ExitCode.OK
    shutil.rmtree(inputs_dir(), ignore_errors=True)
    inputs_dir().mkdir(parents=True)
    file = read(resolve_file(config.dataset.uri, store, inputs_dir() / "data"), config.dataset)
    for said in how_read((file,)):
        log.warning("%s: %s", said.reason, said.message)
    rows = file.rows
    selection = select(rows, config.limit, config.seed)
    fetcher = Fetcher(store, inputs_dir() / "models")
    models = tuple(fetcher.fetch(ref, selection.items) for ref in (config.candidate, *config.baselines))
    check_templates(models[0], selection.items)
    without_torch()
    check_tools(models, selection.items)
    save(_plan(config, models, rows, selection), selection.items)
    log.info("prepared %d items of %d rows and %d models", len(selection.items), len(rows), len(models))
    return ExitCode.OK


def check_names(config: EvalConfig) -> None:
    """Raises KubeTuneError (BAD_CONFIG, DuplicateName): the report tells models apart by name."""
    names = [ref.name for ref in (config.candidate, *config.baselines)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "DuplicateName",
            f"several models are called {', '.join(twice)}; give every baseline a name of its own, "
            f"other than {config.candidate.name!r}",
        )


class Fetcher:
    """Brings models and adapters here, each URI once."""

    def __init__(self, store: Store, dest: Path) -> None:
        self._store, self._dest = store, dest
        self._here: dict[str, LocalModel] = {}
        self._contents: dict[str, str] = {}

    def fetch(self, ref: ModelRef, items: tuple[Item, ...]) -> PlannedModel:
        """Raises KubeTuneError when a part is missing, damaged or not what its manifest says."""
        model = self._folder(ref.uri)
        check_files(model.path, check_model(model.path, ref.uri), ref.uri, Use.EVALUATE)
        adapter = self._folder(ref.adapter_uri) if ref.adapter_uri else None
        if adapter and not (adapter.path / "adapter_config.json").is_file():
            raise KubeTuneError(
                ExitCode.INPUT_NOT_FOUND,
                "AdapterIncomplete",
                f"adapter {ref.adapter_uri} of {ref.name} has no adapter_config.json; it must be a folder saved by "
                "PEFT. Name a full model in uri instead",
            )
        if adapter:
            _check_adapter(adapter.path, ref)
        return PlannedModel(
            name=ref.name,
            uri=ref.uri,
            path=str(model.path),
            content=self._content(ref.uri),
            adapter_uri=ref.adapter_uri,
            adapter_path=str(adapter.path) if adapter else None,
            adapter_content=self._content(ref.adapter_uri) if ref.adapter_uri else None,
            trained_on=_trained_on(adapter or model),
            seen=seen_items(items, [known(part.path, part.manifest) for part in (model, adapter) if part]),
        )

    def _folder(self, uri: str) -> LocalModel:
        if uri not in self._here:
            name = hashlib.sha256(uri.encode()).hexdigest()[:16]
            self._here[uri] = resolve_model(uri, self._store, self._dest / name)
        return self._here[uri]

    def _content(self, uri: str) -> str:
        if uri not in self._contents:
            self._contents[uri] = content_of(uri, self._here[uri])
        return self._contents[uri]


def check_templates(candidate: PlannedModel, items: tuple[Item, ...]) -> None:
    """Raises KubeTuneError (BAD_DATA, NoChatTemplate) when items are chats and the candidate cannot write one."""
    chat = next((item for item in items if item.messages is not None), None)
    folders = [Path(path) for path in (candidate.adapter_path, candidate.path) if path]
    if chat is None or any(chat_template(folder) for folder in folders):
        return
    raise KubeTuneError(
        ExitCode.BAD_DATA,
        "NoChatTemplate",
        f"the dataset holds chat messages (line {chat.line}), but the candidate {candidate.uri} has no chat template; "
        "evaluate a model that has one, or write the rows as prompt and completion",
    )


def _check_adapter(folder: Path, ref: ModelRef) -> None:
    """Raises KubeTuneError (BAD_CONFIG, AdapterNotSupported) for weights that would stay in the base for the others."""
    weights = folder / "adapter_model.safetensors"
    whole = whole_weights(safetensors_header(weights, ref.adapter_uri or "")) if weights.is_file() else []
    if whole:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "AdapterNotSupported",
            f"adapter {ref.adapter_uri} of {ref.name} holds whole weights beside its own ({', '.join(whole[:3])}), "
            "which would replace those of the base it is compared with; merge it into its base and evaluate the result",
        )


def _trained_on(model: LocalModel) -> str | None:
    return model.manifest.dataset_sha256 if model.manifest else None


def _plan(config: EvalConfig, models: tuple[PlannedModel, ...], rows: list[Row], selection: Selection) -> Plan:
    return Plan(config_sha256(config), models, digest(rows), selection.rows, selection.duplicates)
