"""Trials on a Ray cluster: placed by need, never twice, back in the study when a node dies; a cluster on loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import time
from types import SimpleNamespace

import psutil
import pytest

from advisor.domain.quantity import Quantity
from advisor.domain.tuning import Budget
from advisor.errors import BadRequest, MissingExtra, UnknownName
from advisor.tuner.execution import ray_cluster as cluster
from advisor.tuner.execution import ray_runner as ray_runner
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.heartbeat import OWNER
from advisor.tuner.trial_cost import Prediction
from advisor.tuner.tune import LaunchOptions
from tests.tuner.studies import (
    begin,
    completed,
    ends_well,
    environment,
    no_settings_twice,
    resuming,
    states,
    toy_request,
    until,
)

HAS_RAY = importlib.util.find_spec("ray") is not None
with_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install 'advisor[ray]'")


def said(gib: float, limit: float = 16.0) -> Prediction:
    size = Quantity.around(gib * 2**30, 0.0, 0.0, "B", "modelled", "told")
    return Prediction(size, None, None, int(limit * 2**30))


def on_gpu(**fields):
    request, _ = toy_request(**fields)
    return request.model_copy(update={"hardware": SimpleNamespace(limit_bytes=16 * 2**30)})


def test_a_trial_on_a_cpu_asks_for_its_predicted_memory_and_its_threads():
    request, _ = toy_request(threads=3)
    wanted = cluster.needs(request, said(2.0))
    assert (wanted.cpus, wanted.gpus) == (3, 0)
    assert wanted.memory_bytes == 2 * 2**30 + cluster.START_BYTES
    unknown = cluster.needs(request, Prediction(None, None, None, 1))
    assert unknown.memory_bytes == cluster.START_BYTES


def test_a_gpu_is_a_trials_own_unless_the_study_shares_it():
    assert cluster.needs(on_gpu(), said(4.0)).gpus == 1.0
    shared = on_gpu(share_gpus=True)
    assert cluster.needs(shared, said(4.0)).gpus == 0.25
    assert cluster.needs(shared, said(5.34)).gpus == pytest.approx(0.334)
    assert cluster.needs(shared, said(15.99)).gpus == 1.0
    assert cluster.needs(shared, Prediction(None, None, None, 1)).gpus == 1.0


def test_room_is_what_the_nodes_hold_and_never_none():
    request, _ = toy_request(threads=2)
    node = {"Alive": True, "Resources": {"CPU": 5.0, "memory": 1e10}}
    dead = {"Alive": False, "Resources": {"CPU": 64.0, "memory": 1e10}}
    small = {"Alive": True, "Resources": {"CPU": 64.0, "memory": 1e3}}
    assert cluster.room([node, node, dead, small], request) == 4
    assert cluster.room([dead], request) == 1
    gpus = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 4.0, "memory": 1e10}}
    assert cluster.room([gpus, node], on_gpu()) == 4


def test_a_file_as_storage_is_refused_where_a_node_is_another_machine():
    here = {"Alive": True, "NodeManagerHostname": socket.gethostname()}
    there = {"Alive": True, "NodeManagerHostname": "elsewhere"}
    cluster.check_reach("sqlite:////x.db", [here, {**there, "Alive": False}])
    cluster.check_reach("postgresql+psycopg://u@db/x", [here, there])
    for url in ("sqlite:////x.db", "journal:/x"):
        with pytest.raises(BadRequest, match="elsewhere cannot open it"):
            cluster.check_reach(url, [here, there])


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ((0, "local", None), BadRequest, "--workers must be 1 or more"),
        ((None, "slurm", None), UnknownName, "unknown launcher"),
        ((None, "local", "head:6379"), BadRequest, "only the Ray launcher"),
    ],
)
def test_hands_that_make_no_sense_are_refused(given, kind, says):
    with pytest.raises(kind, match=says):
        LaunchOptions(*given)


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtra) as caught:
        cluster.connect(None)
    assert "advisor[ray]" in caught.value.hints[0]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Two nodes on loopback, of one core each beside the head, which has none."""
    if not HAS_RAY:
        pytest.skip("Ray is not installed: pip install 'advisor[ray]'")
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    # a trial's environment is its node's
    for name, value in environment(tmp_path_factory.mktemp("home"), steps="6", seconds="0.4").items():
        patch.setenv(name, value)
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1, memory=4 * 2**30, object_store_memory=100 * 2**20)
    yield made
    made.shutdown()
    patch.undo()


def on_nodes(folder, nodes):
    return resuming(folder, workers=0, launcher="ray", ray=nodes.address)


def owners(study):
    return {t.user_attrs[OWNER]["pid"] for t in completed(study)}


@with_ray
@pytest.mark.exhaustive
def test_trials_run_on_both_nodes_and_none_twice(tmp_path, nodes):
    study = begin(tmp_path, budget=Budget(trials=6), neighbours=3)
    out = ends_well(on_nodes(tmp_path, nodes), 200)
    assert "6 trials were asked for" in out
    assert len(completed(study)) == 6
    no_settings_twice(study)
    started = (tmp_path / "trials" / "started.txt").read_text().splitlines()
    assert len(started) == len(set(started)) == 6
    assert len(owners(study)) == 2, "one node did all the work"
    assert os.getpid() not in owners(study)
    assert (tmp_path / "best" / "adapter_model.safetensors").is_file()


@with_ray
@pytest.mark.exhaustive
def test_the_finals_run_on_the_nodes_too(tmp_path, nodes):
    begin(tmp_path, budget=Budget(trials=2), neighbours=1, finalists=2, final_seeds=2)
    one = on_nodes(tmp_path, nodes)
    owners_of_finals = set()

    def seen() -> bool:
        for process in psutil.process_iter(["cmdline", "ppid"]):
            if any("finals" in part and str(tmp_path) in part for part in process.info["cmdline"] or ()):
                owners_of_finals.add(process.info["ppid"])
        return len(owners_of_finals) >= 2 or one.poll() is not None

    until(seen, 200, "two finals begun")
    ends_well(one, 200)
    assert len(owners_of_finals) >= 2
    assert one.pid not in owners_of_finals
    results = sorted((tmp_path / "finals").glob("*-seed1/result.json"))
    assert [json.loads(path.read_text())["status"] for path in results] == ["complete"] * 2


@with_ray
def test_a_trial_that_no_node_can_hold_is_not_launched(tmp_path, nodes, monkeypatch):
    import ray

    begin(tmp_path, budget=Budget(trials=1), neighbours=0)
    ray_, ours = cluster.connect(nodes.address)
    sender = ray_runner.RayRunner(tmp_path, f"sqlite:///{tmp_path / 'study.db'}", 2, address=nodes.address)
    boss = ray_runner.Worker(tmp_path, sender.url)
    try:
        monkeypatch.setattr("advisor.tuner.execution.trial_worker.predict", lambda *_, **__: said(100.0, limit=1000.0))
        assert sender._begin(cluster.Cluster(ray_, None, None), boss)
        trial = boss.study.trials[0]
        assert ledger.infeasible(trial)
        assert "no node of the cluster has them" in trial.user_attrs[ledger.OUTCOME]["reason"]
        assert not sender._sent
    finally:
        if ours:
            ray.shutdown()


@with_ray
@pytest.mark.exhaustive
def test_ctrl_c_brings_every_trial_back_into_the_study_with_its_checkpoint(tmp_path, nodes):
    study = begin(tmp_path, budget=Budget(trials=3), neighbours=2)
    one = on_nodes(tmp_path, nodes)
    until(lambda: list((tmp_path / "trials").glob("*/checkpoints/*/COMMITTED.json")), 120, "a checkpoint")
    one.send_signal(signal.SIGINT)
    _, err = one.communicate(timeout=120)
    assert "KeyboardInterrupt" in err
    assert not states(study)["RUNNING"]
    done = {t.number: t.value for t in completed(study)}
    ends_well(on_nodes(tmp_path, nodes), 200)
    assert {t.number: t.value for t in completed(study) if t.number in done} == done
    assert len(completed(study)) == 3
    again = [t for t in completed(study) if "failed_trial" in t.system_attrs]
    assert any(t.user_attrs["advisor:outcome"]["resumed_from"] > 0 for t in again)
    no_settings_twice(study)


@with_ray
@pytest.mark.exhaustive
def test_the_trial_of_a_node_that_dies_is_run_on_another(tmp_path, nodes):
    study = begin(tmp_path, budget=Budget(trials=4), neighbours=3)
    extra = nodes.add_node(num_cpus=1, memory=4 * 2**30, object_store_memory=100 * 2**20)
    one = on_nodes(tmp_path, nodes)
    until(lambda: states(study)["RUNNING"] >= 3 and len(list((tmp_path / "trials").glob("*/progress.jsonl"))) >= 3, 120)
    nodes.remove_node(extra, allow_graceful=False)
    ends_well(one, 200)
    assert len(completed(study)) == 4
    assert states(study)["FAIL"] >= 1, "no trial was lost with the node"
    no_settings_twice(study)


@with_ray
@pytest.mark.exhaustive
def test_a_killed_driver_loses_no_trial(tmp_path, nodes):
    study = begin(tmp_path, budget=Budget(trials=4), neighbours=3)
    one = on_nodes(tmp_path, nodes)
    until(lambda: states(study)["COMPLETE"] >= 1, 300)
    one.kill()
    one.wait()
    done = {t.number: t.value for t in completed(study)}
    time.sleep(2)
    ends_well(on_nodes(tmp_path, nodes), 200)
    assert {t.number: t.value for t in completed(study) if t.number in done} == done
    assert len(completed(study)) == 4
    no_settings_twice(study)


@with_ray
def test_an_address_without_a_cluster_is_refused_with_the_command_that_starts_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(BadRequest, match=f"no Ray cluster answers at {nobody}") as caught:
        cluster.connect(nobody)
    assert "ray start --head" in caught.value.hints[0]
