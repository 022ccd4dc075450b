"""A result that is in the store is found by the next object of its name: real trainings, a real preflight."""

from __future__ import annotations

import dataclasses

import pytest

from kubetune_contract import Export, Owner
from tests.support.points import Record
from tests.support.training import Jobs, Trainer, rows


def job(jobs: Jobs, uid: str, data: str, **changes: object) -> Trainer:
    """One of the same namespace and name as the others of its test."""
    made = jobs.job()
    folder = f"s3://out/{jobs.folder.name}"
    config = dataclasses.replace(
        made.config,
        owner=Owner("team", "demo", uid),
        output=f"{folder}/{uid}",
        results=f"{folder}/results",
        dataset=dataclasses.replace(made.config.dataset, uri=data),
    )
    return Trainer(dataclasses.replace(config, **changes), made.folder, made.environment)  # type: ignore[arg-type]


@pytest.mark.parametrize("by_rows", [False, True])
def test_a_preflight_finds_what_was_trained(jobs: Jobs, by_rows: bool, record_property: Record) -> None:
    """With the settings that the number of rows decides, which only a preflight knows."""
    data, first = jobs.data(rows()), job(jobs, "uid-1", "")
    first = job(jobs, "uid-1", data)
    unset = ("warmup_ratio", "logging_steps") if by_rows else None
    checked = dataclasses.replace(first.config, unset_hyperparameters=unset)
    settings = Trainer(checked, first.folder / "check", first.environment).succeed("preflight").get("settings")
    assert bool(settings) is by_rows
    if settings:
        hyper = dataclasses.replace(
            first.config.hyperparameters, warmup_ratio=settings["warmupRatio"], logging_steps=settings["loggingSteps"]
        )
        first.config = dataclasses.replace(first.config, hyperparameters=hyper)
    summary = first.both()
    assert "found" not in summary
    later = job(jobs, "uid-2", data, unset_hyperparameters=unset)
    found = later.succeed("preflight")
    assert found["found"]["uid"] == "uid-1"
    assert found["found"].get("settings") == settings
    assert {**found, "found": None} == {**summary, "found": None}
    assert [entry.path for entry in jobs.store.list(first.config.results or "")] == [f"{summary['runSha256']}.json"]
    record_property("point", f"preflight finds the trained result{' of settings by rows' * by_rows}")


def test_other_rows_and_other_settings_are_told_apart(jobs: Jobs) -> None:
    data = jobs.data(rows())
    job(jobs, "uid-1", data).both()
    told = job(jobs, "uid-2", jobs.data(rows(60))).succeed("preflight")["suggestions"]
    assert [one["message"] for one in told if one["reason"] == "TrainedBefore" and "other rows:" in one["message"]]
    again = job(jobs, "uid-3", data, rerun="2")
    assert "found" not in again.both()
    assert "TrainedBefore" in {one["reason"] for one in again.termination["suggestions"]}
    assert job(jobs, "uid-4", data, rerun="2").both()["found"]["uid"] == "uid-3"


def test_an_export_is_made_of_the_result_that_is_there(jobs: Jobs, record_property: Record) -> None:
    data = jobs.data(rows())
    trained = job(jobs, "uid-1", data).both()
    later = job(jobs, "uid-2", data, export=Export(merged=True))
    assert "fit" in later.succeed("preflight"), "there is something left to do"
    summary = later.both()
    assert summary["artifact"] == trained["artifact"]
    assert summary["found"]["uid"] == "uid-1"
    assert [one["kind"] for one in summary["exports"]] == ["merged"]
    third = job(jobs, "uid-3", data, export=Export(merged=True)).succeed("preflight")
    assert third["exports"] == summary["exports"]
    assert third["found"]["at"] == summary["found"]["at"], "the date of the training, not of the export"
    record_property("point", "a missing export is made of the found result, and nothing is trained")
