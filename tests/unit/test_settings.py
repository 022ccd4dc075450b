"""Settings from the environment."""

from __future__ import annotations

import pytest

from kubetune.settings import Settings, SettingsError


def test_defaults_without_any_variable() -> None:
    assert Settings.from_env({}) == Settings()


def test_every_kind_of_value() -> None:
    settings = Settings.from_env(
        {
            "KUBETUNE_TRAINER_IMAGE": "registry/trainer:1",
            "KUBETUNE_STORE_ENDPOINT": "http://store:7070",
            "KUBETUNE_NAMESPACES": " a, b,",
            "KUBETUNE_WORKERS": "4",
            "KUBETUNE_POLL_SECONDS": "2.5",
            "KUBETUNE_HTTP_PORT": "",
            "PATH": "/bin",
        }
    )
    assert settings.trainer_image == "registry/trainer:1"
    assert settings.store_endpoint == "http://store:7070"
    assert settings.namespaces == ("a", "b")
    assert (settings.workers, settings.poll_seconds, settings.http_port) == (4, 2.5, 8080)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORKERS", "many", "is 'many', which is no number"),
        ("WORKERS", "0", "must be from 1 to 256"),
        ("POLL_SECONDS", "-1", "must be from 0.1"),
        ("IMAGE_PULL_POLICY", "Sometimes", "use one of"),
        ("LOG_LEVEL", "LOUD", "use one of"),
        ("TRACKING_URI", "https://me:secret@mlflow:5000", "name it in KUBETUNE_TRACKING_SECRET"),
    ],
)
def test_names_the_wrong_variable(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        Settings.from_env({f"KUBETUNE_{name}": value})
    assert f"KUBETUNE_{name}" in str(caught.value)
