"""The layers an adapter is to be put on: are they there, and if not, what was probably meant. Pure.

Preflight and training both ask with the names in the model itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

from kubetune_contract import ExitCode, KubeTuneError

ALL_LINEAR = ("all-linear",)
CLOSE = 0.5
"""Similarity (difflib) from which on a layer is proposed in place of a name that is not there."""
_NOT_ADAPTED = frozenset({"lm_head", "embed_out"})


def missing_targets(wanted: Sequence[str], modules: Iterable[str]) -> list[str]:
    """Those of ``wanted`` that no module's name ends with, as peft looks for them.

    peft itself passes over a name that it does not find as long as it finds another.
    """
    if tuple(wanted) == ALL_LINEAR:
        return []
    known = [f".{module}" for module in modules]
    return [target for target in wanted if not any(module.endswith(f".{target}") for module in known)]


def unknown_targets(missing: Sequence[str], base_model: str, layers: Iterable[str]) -> KubeTuneError:
    """The refusal (BAD_CONFIG, UnknownTargetModules): each wrong name with the nearest there is, and all there are."""
    names = sorted({layer.rpartition(".")[2] for layer in layers} - _NOT_ADAPTED)
    guesses = {target: _nearest(target, names) for target in missing}
    meant = [f"{guess} for {target}" for target, guess in guesses.items() if guess]
    asked = f". Did you mean {', '.join(meant)}?" if meant else "."
    return KubeTuneError(
        ExitCode.BAD_CONFIG,
        "UnknownTargetModules",
        f"lora.targetModules: {base_model} has no layer {' or '.join(missing)} that an adapter can be put on{asked} It "
        f"has {', '.join(names)} (or use all-linear)",
    )


def _nearest(target: str, names: Collection[str]) -> str | None:
    found = difflib.get_close_matches(target.rpartition(".")[2], names, n=1, cutoff=CLOSE)
    return found[0] if found else None
