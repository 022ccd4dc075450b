"""Renders the presets for docs/api.md."""

from __future__ import annotations

from typing import Any

from kubetune.finetunejob.api.presets import PRESETS
from kubetune.finetunejob.job.effective import DEFAULT_HYPERPARAMETERS, DEFAULT_LORA

_INTRO = """## Presets of FineTuneJobs

`spec.preset` stands under `spec.lora` and `spec.hyperparameters`: whatever is written there wins, and
`status.effective` shows the outcome. They are starting points for models of 1 to 8 billion parameters and some hundred
to some ten thousand rows. An empty cell means what the number of rows decides, or the default. With method full,
adapters are left out and learning rates are a tenth of these.
"""


def render_presets() -> str:
    """A section of Markdown."""
    whys = [f"- `{name}`: {values.why}" for name, values in PRESETS.items()]
    defaults = _settings(DEFAULT_LORA.to_dict(), DEFAULT_HYPERPARAMETERS.to_dict())
    chosen = [_settings(values.lora.to_dict(), values.hyperparameters.to_dict()) for values in PRESETS.values()]
    lines = [
        f"| field | default | {' | '.join(f'`{name}`' for name in PRESETS)} |",
        f"|{'---|' * (len(PRESETS) + 2)}",
        *(
            f"| `{field}` | {_cell(defaults.get(field))} | {' | '.join(_cell(one.get(field)) for one in chosen)} |"
            for field in dict.fromkeys([*defaults, *(field for one in chosen for field in one)])
            if any(field in one for one in chosen)
        ),
    ]
    return "\n".join([_INTRO, *whys, "", *lines, ""])


def _settings(lora: dict[str, Any], hyperparameters: dict[str, Any]) -> dict[str, Any]:
    return {f"lora.{key}": value for key, value in lora.items()} | {
        f"hyperparameters.{key}": value for key, value in hyperparameters.items()
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value:g}`"
