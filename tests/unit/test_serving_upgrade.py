"""An upgrade of the operator, or other settings of it, leave the pods that serve as they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune.modeldeployment.ledger import LEDGER_ANNOTATION, read_ledger
from kubetune.modeldeployment.rollout import LOAD_ATTEMPTS
from kubetune.settings import Settings
from tests.support.models import deployment
from tests.support.serving import World, condition, crashed

Object = dict[str, Any]

NEXT = Settings(
    server_image="kubetune/server:next",
    server_cpu_image="kubetune/server-cpu:next",
    image_pull_policy="Always",
    log_level="DEBUG",
    store_endpoint="http://elsewhere:7070",
    store_region="eu-central-1",
    store_secret="other-keys",
    runtime_class="nvidia",
)
SETTINGS = [
    {"log_level": "DEBUG"},
    {"image_pull_policy": "Always"},
    {"store_region": "eu-central-1"},
    {"store_endpoint": "http://elsewhere:7070"},
    {"store_secret": "other-keys"},
    {"server_image": "kubetune/server:next", "server_cpu_image": "kubetune/server-cpu:next"},
    {"runtime_class": "nvidia"},
]


def template(world: World) -> Object:
    assert world.seen.deployment is not None
    found: Object = copy.deepcopy(world.seen.deployment["spec"]["template"])
    return found


def image(world: World) -> str:
    found: str = template(world)["spec"]["containers"][0]["image"]
    return found


def serving(**spec: Any) -> World:
    world = World(deployment(**spec))
    world.step()
    assert world.serving().phase == "Ready"
    return world


@pytest.mark.parametrize("gpu", [0, 1])
@pytest.mark.parametrize("changes", SETTINGS, ids=[next(iter(one)) for one in SETTINGS])
@pytest.mark.law("L6", "F2")
def test_settings_of_the_operator_leave_the_pods_alone(changes: Any, gpu: int) -> None:
    world = serving(resources={"gpu": gpu})
    before = copy.deepcopy(world.seen.deployment)
    world.settings = replace(world.settings, **changes)
    status = world.step()
    assert world.seen.deployment == before
    assert (status.phase, world.decision.events) == ("Ready", ())


def test_a_newer_image_is_told_and_taken_on_request() -> None:
    world = serving()
    world.settings = NEXT
    status = world.step()
    assert (image(world), status.available_image) == ("kubetune/server-cpu:latest", NEXT.server_cpu_image)
    assert status.versions[0].image == "kubetune/server-cpu:latest"
    world.spec(revision="2")
    status = world.step()
    assert (image(world), status.available_image) == (NEXT.server_cpu_image, None)


MOVES: list[Object] = [
    {"engine": {"maxModelLen": 512}},
    {"resources": {"memory": "8Gi"}},
    {"drainSeconds": 5},
    {"model": {"uri": "s3://models/other"}},
]


@pytest.mark.parametrize("changes", MOVES, ids=[next(iter(one)) for one in MOVES])
def test_whatever_has_pods_made_anew_takes_what_the_operator_has_now(changes: Object) -> None:
    world = serving()
    world.settings = NEXT
    world.spec(**changes)
    world.step()
    assert image(world) == NEXT.server_cpu_image


@pytest.mark.parametrize("changes", [{"replicas": 3}, {"rollout": "Recreate"}])
def test_what_is_no_matter_of_the_pods_moves_nothing(changes: Object) -> None:
    world = serving()
    before = template(world)
    world.settings = NEXT
    world.spec(**changes)
    world.step()
    assert template(world) == before


def test_where_nothing_serves_the_present_settings_are_taken() -> None:
    """Nothing is stopped by it, and an address that has moved is what keeps pods from coming up."""
    stopped = serving()
    stopped.spec(replicas=0)
    stopped.observe(pods=())
    stopped.step()
    stopped.settings = NEXT
    stopped.step()
    assert image(stopped) == NEXT.server_cpu_image


UNPULLED: Object = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
STUCK: list[tuple[str, Object, bool]] = [
    ("no store, twice", {"init": crashed(69, "no answer", restarts=LOAD_ATTEMPTS - 1)}, False),
    ("no store, for long", {"init": crashed(69, "no answer", restarts=LOAD_ATTEMPTS)}, True),
    ("no image", {"init": UNPULLED}, True),
    ("a dead engine after a long life", crashed(1, "boom", restarts=LOAD_ATTEMPTS), False),
    ("not ready for a moment", {"started": True, "state": {"running": {}}, "restartCount": 9}, False),
]


@pytest.mark.parametrize(("situation", "pod", "moves"), STUCK, ids=[row[0] for row in STUCK])
def test_pods_that_cannot_come_up_as_they_are_take_the_present_settings(
    situation: str, pod: Object, moves: bool
) -> None:
    world = serving()
    world.observe(pods=(world.pod("demo-2", **pod),))
    world.settings = NEXT
    world.step()
    assert (image(world) == NEXT.server_cpu_image) is moves, situation


def test_a_version_that_loads_for_the_first_time_is_not_begun_anew() -> None:
    world = World(deployment())
    world.step()
    world.observe(pods=(world.pod(state={"running": {}}),))
    world.step()
    before = template(world)
    world.settings = NEXT
    world.step()
    assert template(world) == before


# What an older operator has left: a ledger without pods.


def _as_of_an_older_operator(world: World) -> None:
    """The same children with the ledger that it kept, and with what the API server adds to a template."""
    for kind in ("deployment", "service"):
        live = copy.deepcopy(getattr(world.seen, kind))
        ledger = json.loads(live["metadata"]["annotations"][LEDGER_ANNOTATION])
        for release in ("active", "previous"):
            ledger.get(release, {}).pop("pods", None)
        live["metadata"]["annotations"][LEDGER_ANNOTATION] = json.dumps(ledger)
        if kind == "deployment":
            live["spec"]["template"]["metadata"]["creationTimestamp"] = None
            live["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
            live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1000m"
        world.observe(**{kind: live})


@pytest.mark.law("L6", "F2")
def test_an_upgrade_from_an_operator_that_kept_no_pods_adopts_what_runs() -> None:
    world = serving(resources={"gpu": 1})
    _as_of_an_older_operator(world)
    before = template(world)
    del before["metadata"]["creationTimestamp"]
    world.settings = NEXT
    status = world.step()
    assert template(world) == before
    assert (status.phase, status.available_image) == ("Ready", NEXT.server_image)
    ledger = read_ledger(world.seen.deployment)
    assert ledger is not None
    assert ledger.active.pods is not None
    assert ledger.active.pods.template == before
    world.settings = replace(NEXT, log_level="ERROR")
    world.step()
    assert template(world) == before


def test_a_spec_that_was_changed_while_no_operator_ran_is_carried_out() -> None:
    world = serving()
    _as_of_an_older_operator(world)
    world.settings = NEXT
    world.spec(engine={"maxModelLen": 512})
    meta = world.obj.metadata.model_copy(update={"generation": 2})
    world.obj = world.obj.model_copy(update={"metadata": meta})
    world.step()
    assert image(world) == NEXT.server_cpu_image
    assert '"maxModelLen":512' in template(world)["metadata"]["annotations"]["kubetune.io/config"]


def test_an_older_ledger_without_a_deployment_makes_the_pods_anew() -> None:
    world = serving()
    _as_of_an_older_operator(world)
    world.observe(deployment=None, pods=())
    world.settings = NEXT
    world.step()
    assert image(world) == NEXT.server_cpu_image


# The way back, for the pair of model and pods.


def _never_loads(world: World, name: str = "demo-2") -> None:
    world.observe(pods=(world.pod(name, **crashed(1, "no kernel image", restarts=LOAD_ATTEMPTS)),))


@pytest.mark.law("L6")
def test_an_image_that_cannot_load_the_model_gives_way_to_the_one_that_could() -> None:
    world = serving(rollout="Recreate")
    before = template(world)
    world.settings = NEXT
    world.spec(revision="2")
    world.step()
    assert image(world) == NEXT.server_cpu_image
    _never_loads(world)
    world.step()
    assert template(world) == before
    status = world.serving()
    assert (status.phase, status.ready) == ("ServingPrevious", "1/1")
    assert condition(status, "Ready")[:2] == ("False", "EngineFailed")
    assert status.failure is not None
    assert "the pods before were brought back" in status.failure.message
    assert "no kernel image" in status.failure.message


@pytest.mark.law("L6")
def test_what_was_given_up_is_tried_again_when_its_user_says_so_and_not_by_an_upgrade() -> None:
    world = serving(rollout="Recreate")
    world.spec(revision="2", engine={"maxModelLen": 512})
    world.step()
    _never_loads(world)
    world.step()
    world.serving()
    before = template(world)
    world.settings = NEXT
    world.step()
    assert template(world) == before
    world.spec(revision="3", engine={"maxModelLen": 512})
    status = world.step()
    assert image(world) == NEXT.server_cpu_image
    assert (status.phase, status.failure) == ("ServingPrevious", None) or status.phase == "Loading"


def test_a_spec_that_goes_back_to_what_serves_is_ready_again() -> None:
    world = serving(rollout="Recreate")
    world.spec(engine={"maxModelLen": 512})
    world.step()
    _never_loads(world)
    world.step()
    world.serving()
    world.spec(engine={})
    status = world.serving()
    assert (status.phase, status.failure) == ("Ready", None)


def test_a_model_and_the_image_before_come_back_together() -> None:
    world = serving(rollout="Recreate")
    before = template(world)
    world.settings = NEXT
    world.spec(model={"uri": "s3://models/broken"})
    world.step()
    assert image(world) == NEXT.server_cpu_image
    _never_loads(world)
    world.step()
    assert template(world) == before


# Whatever happens in whichever order.

OPERATORS = (Settings(), NEXT, replace(NEXT, log_level="ERROR"))
FATES = ("answers", "loads", "starts", "fails", "store away", "refused")


def _fate(world: World, name: str) -> Object:
    made: dict[str, Callable[[], Object]] = {
        "answers": lambda: world.pod(ready=True, state={"running": {}}),
        "loads": lambda: world.pod(state={"running": {}}),
        "starts": world.pod,
        "fails": lambda: world.pod(**crashed(1, "boom", restarts=LOAD_ATTEMPTS)),
        "store away": lambda: world.pod(init=crashed(69, "no answer", restarts=LOAD_ATTEMPTS)),
        "refused": lambda: world.pod(init=crashed(81, "another model", restarts=LOAD_ATTEMPTS)),
    }
    return made[name]()


@pytest.mark.law("L6")
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(OPERATORS), st.sampled_from(FATES)), min_size=1, max_size=8),
    st.sampled_from(["Recreate", "RollingUpdate"]),
)
def test_no_operator_ever_stops_a_pod_that_answers(history: list[tuple[Settings, str]], rollout: str) -> None:
    world = World(deployment(rollout=rollout))
    world.step()
    for operator, fate in history:
        world.settings = operator
        before = template(world)
        world.observe(pods=(_fate(world, fate),))
        world.step()
        # Pods that cannot come up may change, and ones that never load give way to those that did.
        if fate in {"answers", "loads", "starts"}:
            assert template(world) == before
