"""Files of 500 rows with faults in known places: each message names exactly those, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubetune_contract import Dataset, ExitCode, KubeTuneError
from kubetune_shared.rows import read_rows
from tests.support.malformed import CASES, Case


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_place_is_named(tmp_path: Path, case: Case) -> None:
    path = tmp_path / case.name
    path.write_bytes(case.content)
    with pytest.raises(KubeTuneError) as caught:
        list(read_rows(path, Dataset("s3://data/x")))
    assert caught.value.code is ExitCode.BAD_DATA
    case.check(caught.value.reason, caught.value.message)
