"""What `doctor` finds, on constructed places with known faults."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from editfrontier.base.errors import UserError
from editfrontier.running.doctor import Check, doctor_text, gres, here, slurm
from editfrontier.running.planning.costs import Stage
from editfrontier.running.planning.needs import Need
from editfrontier.study.config.study import read_yaml


@pytest.fixture
def profile(root: Path) -> slurm.Profile:
    return slurm.read_profile(root / "profiles/slurm-a100")


def outputs(monkeypatch: pytest.MonkeyPatch, **found: str) -> None:
    """Let commands of SLURM print what is given for their words, joined by "_"; others fail."""
    monkeypatch.setattr(
        slurm, "_output", lambda *command: found.get("_".join(word for word in command if word.isalnum()), "")
    )


def test_shipped_profile_says_what_the_doctor_needs(profile: slurm.Profile, root: Path) -> None:
    assert (profile.executor, profile.gres, profile.prefix) == ("slurm", "gpu:a100:1", "editfrontier")
    assert set(profile.partitions) == {"gpu", "cpu"}
    content = read_yaml(root / "profiles/slurm-a100/profile.yaml")
    assert content["slurm-status-command"] == "squeue"
    assert content["scheduler"] == "greedy"
    assert not {"slurm-array-jobs", "group-components", "groups"} & set(content)
    for rule, asked in content["set-resources"].items():
        assert "attempt" in str(asked["runtime"]) and "attempt" in str(asked["mem_mb"]), rule
        assert "gres" not in asked or asked["gpu"] == 0, f"{rule} asks for gpu and gres, which SLURM refuses"


def test_every_rule_that_asks_for_a_gpu_has_its_gres(root: Path) -> None:
    rules: dict[str, bool] = {}
    for file in (root / "rules").glob("*.smk"):
        parts = re.split(r"^ *(?:use rule \w+ as|rule) (\w+)", file.read_text(), flags=re.MULTILINE)
        rules |= {name: "gpu=" in block for name, block in zip(parts[1::2], parts[2::2], strict=True)}
    asked = read_yaml(root / "profiles/slurm-a100/profile.yaml")["set-resources"]
    assert {rule for rule, gpu in rules.items() if gpu} == {rule for rule, wanted in asked.items() if "gres" in wanted}
    assert set(asked) <= set(rules)


def test_missing_or_unclear_profiles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such profile"):
        slurm.read_profile(tmp_path)
    (tmp_path / "profile.yaml").write_text("executor: slurm\npartitions: [gpu]\n")
    with pytest.raises(UserError, match="key 'partitions'"):
        slurm.read_profile(tmp_path)
    (tmp_path / "profile.yaml").write_text("set-resources:\n  a: { gres: 'gpu:1' }\n  b: { gres: 'gpu:a100:1' }\n")
    with pytest.raises(UserError, match=r"gpu:1 and gpu:a100:1|gpu:a100:1 and gpu:1"):
        slurm.read_profile(tmp_path)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("1-00:00:00", 1440),
        ("2-12", 3600),
        ("04:30:00", 270),
        ("90", 90),
        ("30:30", 30.5),
        ("1d", 1440),
        ("12h", 720),
        ("UNLIMITED", float("inf")),
        ("0", 0),
    ],
)
def test_times_in_minutes(text: str, minutes: float) -> None:
    assert slurm.minutes_of(text) == minutes


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("partitions.gpu.max_gpu", "partitions: { gpu: { max_gpu: four } }"),
        ("slurm-init-seconds-before-status-checks", "slurm-init-seconds-before-status-checks: soon"),
    ],
)
def test_a_number_that_is_none_is_named_with_its_key(tmp_path: Path, key: str, line: str) -> None:
    (tmp_path / "profile.yaml").write_text(line + "\n")
    with pytest.raises(UserError, match=f"profile.yaml: key '{key}': .*expected a whole number"):
        slurm.read_profile(tmp_path)


@pytest.mark.parametrize(
    ("asked", "fix"),
    [
        ("gpu:rtx-6000:1", "Set `site.gpu` in p.yaml to gpu:1; where a partition has several kinds of GPU, choose by"),
        ("gpu:1g.10gb+me:2", "to gpu:2; where"),
        ("gpu:a100:1,nvme:1", "Set `site.gpu` in p.yaml to gpu:a100:1."),
        ("gpu:a100", "Set `site.gpu` in p.yaml to gpu:a100:1."),
        ("'gpu:1'", "Correct `site.gpu` in p.yaml."),
    ],
)
def test_gpus_that_the_plugin_refuses_are_named_with_a_request_that_it_takes(asked: str, fix: str) -> None:
    found = gres.check_gres(asked, {"gpu": {"max_gpu": 4}}, Path("p.yaml"))
    assert (found.state, fix in found.text) == ("wrong", True), found
    assert f"refuses jobs that ask for {asked}: " in found.text
    assert not gres.accepted(asked) or not gres.refusal(gres.accepted(asked))


@pytest.mark.parametrize("asked", ["gpu:a100:1", "gpu:a100_1g.5gb:1", "gpu:1", "gpu"])
def test_gpus_that_the_plugin_takes(asked: str) -> None:
    assert gres.refusal(asked) == ""
    assert gres.check_gres(asked, {}, Path("p.yaml")).state == "ok"


@pytest.mark.parametrize(
    ("limits", "state", "words"),
    [
        ({"max_gpu": 4, "available_gpu_models": ["a100"]}, "wrong", "ask for h100, but `available_gpu_models` of gpu"),
        ({"max_gpu": 4, "available_gpu_models": ["a100", "h100"]}, "ok", "gpu:h100:2"),
        ({"max_gpu": 4}, "ok", "gpu:h100:2"),
        ({"max_gpu": 1}, "wrong", "no partition of p.yaml has 2 GPUs"),
        ({}, "wrong", "go to the default partition"),
    ],
)
def test_the_plugin_knows_a_partition_for_jobs_with_a_gpu(limits: dict[str, Any], state: str, words: str) -> None:
    found = gres.check_gres("gpu:h100:2", {"gpu": limits}, Path("p.yaml"))
    assert (found.state, words in found.text) == (state, True), found


def test_a_refused_gpu_is_said_where_there_is_no_slurm(profile: slurm.Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    asking = replace(profile, gres="gpu:rtx-6000:1")
    assert {check.name: check.state for check in slurm.check_cluster(asking)} == {
        "plugin": "ok",
        "gres": "wrong",
        "SLURM": "wrong",
    }


UP = "PartitionName=gpu\n MaxTime=1-00:00:00 State=UP TotalNodes=4"


@pytest.mark.parametrize(
    ("shown", "gres", "state", "words"),
    [
        (UP, "gpu:a100:4", "ok", "4 nodes with gpu:a100:4"),
        (UP, "gpu:v100:2,gpu:a100:4(S:0)", "ok", "a100"),
        (UP, "gpu:h100:4", "wrong", "have gpu:h100:4, jobs ask for gpu:a100:1"),
        (UP, "gpu:a100_80:4", "wrong", "Correct `site.gpu`"),
        (UP, "(null)", "wrong", "its nodes have no GPU, jobs ask for gpu:a100:1"),
        (UP.replace("UP", "DOWN"), "gpu:a100:4", "wrong", "it is DOWN"),
        (UP.replace("1-00", "0-04"), "gpu:a100:4", "wrong", "240 minutes, the profile says 1440"),
        ("", "", "wrong", "none of this name, but batch, big"),
    ],
)
def test_partitions(
    profile: slurm.Profile, monkeypatch: pytest.MonkeyPatch, shown: str, gres: str, state: str, words: str
) -> None:
    outputs(
        monkeypatch,
        scontrol_show_partition_gpu=shown,
        sinfo_gpu=gres,
        scontrol_show_partition="PartitionName=batch\nPartitionName=big\n",
    )
    found = slurm.check_partition("gpu", profile.partitions["gpu"], profile)
    assert (found.state, words in found.text) == (state, True), found


def test_a_partition_with_gpus_that_the_plugin_refuses_is_wrong(
    profile: slurm.Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs(monkeypatch, scontrol_show_partition_gpu=UP, sinfo_gpu="gpu:rtx-6000:4")
    asking = replace(profile, gres="gpu:rtx-6000:1")
    found = slurm.check_partition("gpu", profile.partitions["gpu"], asking)
    assert (found.state, "the plugin refuses to ask for gpu:rtx-6000:1" in found.text) == ("wrong", True), found


@pytest.mark.parametrize(
    ("config", "state"),
    [
        ("MinJobAge = 300 sec", "ok"),
        ("MinJobAge = 60 sec\nAccountingStorageType = accounting_storage/none", "wrong"),
        ("MinJobAge = 60 sec\nAccountingStorageType = accounting_storage/slurmdbd", "note"),
        ("", "wrong"),
    ],
)
def test_finished_jobs_must_be_remembered(profile: slurm.Profile, config: str, state: str) -> None:
    assert slurm.check_memory_of_jobs(config, profile).state == state


def test_no_slurm_here_ends_the_checks(profile: slurm.Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    checks = list(slurm.check_cluster(profile))
    assert (checks[-1].name, checks[-1].state) == ("SLURM", "wrong")
    assert "login node" in checks[-1].text


def test_probes_go_where_jobs_with_and_without_a_gpu_go(profile: slurm.Profile) -> None:
    assert slurm.probe_kinds(profile) == [("gpu", "gpu:a100:1"), ("cpu", "")]


FOUND = {"host": "g1", "python": "3.11.7", "torch": "2.15.0", "visible": "0"}


def test_a_probe_that_sees_no_gpu_is_wrong_only_where_it_asked_for_one() -> None:
    assert slurm.judge_probe("probe", {**FOUND, "gpus": ["NVIDIA A100"]}, True).state == "ok"
    blind = slurm.judge_probe("probe", {**FOUND, "gpus": []}, True)
    assert blind.state == "wrong"
    assert "CUDA_VISIBLE_DEVICES=0, but torch sees no GPU" in blind.text
    assert slurm.judge_probe("probe", {**FOUND, "gpus": []}, False).state == "ok"


def test_orphans_are_jobs_of_this_folder_whose_snakemake_is_gone(
    profile: slurm.Profile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slurm, "_running", lambda folder: [])
    assert [check.state for check in slurm.check_orphans(profile, tmp_path)] == ["ok"]
    lines = [f"7|RUNNING|editfrontier_ab|{tmp_path}", f"8|PENDING|editfrontier_ab|{tmp_path}"]
    others = [f"9|RUNNING|mine|{tmp_path}", "10|RUNNING|editfrontier_cd|/another/folder"]
    monkeypatch.setattr(slurm, "_output", lambda *command: "\n".join([*lines, *others]))
    (found,) = slurm.check_orphans(profile, tmp_path)
    assert found.state == "wrong"
    assert found.text.endswith("scancel 7 8")
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    assert [check.name for check in slurm.check_orphans(profile, tmp_path)] == ["orphans", "lock"]
    monkeypatch.setattr(slurm, "_running", lambda folder: [123])
    (found,) = slurm.check_orphans(profile, tmp_path)
    assert (found.state, "123" in found.text) == ("note", True)


def test_packages_are_compared_with_the_lock(tmp_path: Path) -> None:
    from importlib.metadata import version

    lock = tmp_path / "some.lock"
    lock.write_text(f'numpy=={version("numpy")}  # via us\nneverheard==1.0 ; sys_platform == "linux"\n')
    found = here.check_packages(lock)
    assert found.state == "wrong"
    assert "neverheard missing instead of 1.0" in found.text
    assert "numpy" not in found.text
    lock.write_text(f"numpy=={version('numpy')}\n")
    assert here.check_packages(lock).state == "ok"
    assert here.check_packages(tmp_path / "gone.lock").state == "note"


def test_a_full_disk_and_missing_things_are_wrong(tmp_path: Path) -> None:
    stage = Stage("edits", 1, 1, 1.0, 0.0, 1.0, 1e18)
    absent = Need("data", "Their data", False, 10.0, "", "Put it there.")
    weights = Need("weights", "A model", False, 1e18, "", "Fetch it.")
    checks = [*here.check_disk(tmp_path / "results", [stage], [absent, weights]), *here.check_needs([absent, weights])]
    assert {check.name: check.state for check in checks} == {
        "disk": "wrong",
        "cache": "wrong",
        "data": "wrong",
        "weights": "wrong",
    }
    assert "Their data is missing. Put it there." in doctor_text(checks)
    assert [check.state for check in here.check_disk(tmp_path, [], [])] == ["ok"]


def test_one_remedy_is_said_once() -> None:
    models = [Need("weights", f"model {number}", False, 1.0, "", "Fetch them.") for number in range(15)]
    data = [Need("data", "theirs", False, 0.0, "", "Put it there."), Need("data", "ours", True)]
    checks = list(here.check_needs([*models, *data]))
    assert [(check.name, check.state) for check in checks] == [("weights", "wrong"), ("data", "wrong"), ("there", "ok")]
    assert checks[0].text.startswith("15 models are missing: model 0; model 1;")
    assert doctor_text(checks).count("Fetch them.") == 1


def test_torch_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    states = {device: here.check_torch(device, False).state for device in ("cpu", "auto", "cuda")}
    assert states == {"cpu": "ok", "auto": "note", "cuda": "wrong"}
    assert here.check_torch("cuda", True).state == "ok"


def test_an_environment_without_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of a login node (envs/workflow.yaml) has none."""
    monkeypatch.setitem(sys.modules, "torch", None)
    found = here.check_torch("cuda", True)
    assert (found.state, "make setup" in found.text) == ("wrong", True)


def test_the_last_line_counts() -> None:
    good = Check("a", "ok", "fine")
    assert doctor_text([good]).splitlines()[-1] == "Ready."
    assert doctor_text([good, Check("b", "wrong", "bad")]).splitlines()[-1] == "Not ready: 1 of 2 checks failed."
