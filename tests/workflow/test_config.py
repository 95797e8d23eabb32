"""Configs: what is accepted, how files change each other, and the one message for what is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from editfrontier.base.errors import UserError
from editfrontier.study.config.schema import SCHEMA
from editfrontier.study.config.study import load_study, merge, read_yaml, resolve_study

STUDIES = ("micro", "smoke", "paper")


def changed(tmp_path: Path, root: Path, path: list[Any], value: Any) -> Path:
    """Write micro.yaml with one value set (or the key removed, for `...`) and return the file."""
    config = read_yaml(root / "config/micro.yaml")
    node = config
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


@pytest.mark.parametrize("name", STUDIES)
def test_shipped_configs_are_valid(root: Path, name: str) -> None:
    study = load_study([root / f"config/{name}.yaml"])
    assert study.config["results"] == f"results/{name}"
    assert "extends" not in study.config
    for task, variants in study.variants.items():
        for variant in variants:
            assert study.edit_spec(task, variant)["variant"] == variant


def test_schema_is_a_valid_schema_and_describes_every_key() -> None:
    schema = read_yaml(SCHEMA)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False

    def undescribed(node: Any, path: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        properties = node.get("properties", {})
        found = [f"{path}.{key}" for key, entry in properties.items() if not {"description", "$ref"} & entry.keys()]
        for key, entry in [*properties.items(), *((key, node.get(key)) for key in ("items", "additionalProperties"))]:
            found += undescribed(entry, f"{path}.{key}")
        return found

    assert undescribed(schema, "") == []
    assert [name for name, entry in schema["$defs"].items() if "description" not in entry] == []
    assert [found for name, entry in schema["$defs"].items() for found in undescribed(entry, name)] == []


def test_schema_refuses_unknown_keys_everywhere() -> None:
    def objects(node: Any, path: str) -> list[str]:
        if isinstance(node, list):
            return [found for item in node for found in objects(item, path)]
        if not isinstance(node, dict):
            return []
        open_here = node.get("type") == "object" and "properties" in node and "additionalProperties" not in node
        return [path] * open_here + [found for key, item in node.items() for found in objects(item, f"{path}.{key}")]

    assert objects(read_yaml(SCHEMA), "") == []


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        (["sed"], 1, ["key 'sed'", "unknown key", "'seed'"]),
        (["tasks", "portraits", "case"], 3, ["key 'tasks.portraits.case'", "unknown key", "'cases'"]),
        (
            ["tasks", "portraits", "cases"],
            "many",
            ["key 'tasks.portraits.cases'", "'many'", "a whole number at least 1"],
        ),
        (["tasks", "portraits", "cases"], 0, ["key 'tasks.portraits.cases'", "0", "at least 1"]),
        (["tasks", "portraits", "cases"], ..., ["key 'tasks.portraits.cases'", "missing"]),
        (["tasks", "portraits", "dataset"], "portrait", ["'portrait'", "no such dataset", "'portraits'"]),
        (["tasks", "Faces"], {"dataset": "portraits", "cases": 1, "shards": 1}, ["key 'tasks.Faces'", "small letters"]),
        (["language"], ..., ["key 'language'", "missing"]),
        (["reported"], ..., ["key 'reported'", "missing"]),
        (["compute", "dtype"], "float23", ["key 'compute.dtype'", "'float32'"]),
        (["editors", "sd_edit"], {}, ["key 'editors.sd_edit'", "no such editor", "'sdedit'", "editors/sd_edit.py"]),
        (["editors", "sdedit"], {"model": "text_to_imag"}, ["key 'editors.sdedit.model'", "'text_to_image'"]),
        (["editors", "sdedit"], {"params": {"strenght": 0.5}}, ["editors.sdedit", "'strenght'", "'strength'"]),
        (["editors", "sdedit"], {"params": {"strength": "half"}}, ["editors.sdedit", "'strength'", "float"]),
        (["editors", "sdedit"], {"params": {"strength": 2.0}}, ["editors.sdedit", "'strength'", "[0, 1]"]),
        (["experiments", "table1", "task"], "portrait", ["experiments.table1.task", "'portraits'"]),
        (["experiments", "table1", "metrics", 0], "fidd", ["experiments.table1.metrics[0]", "'fidd'", "'fid'"]),
        (["experiments", "table1", "rows", 0, "editor"], "sdedt", ["table1.rows[0].editor", "'sdedit'"]),
        (["experiments", "table3", "rows", 0, "params"], {"schedule": "cosin"}, ["table3.rows[0].params", "cosine"]),
        (["run", 0], "table5", ["key 'run[0]'", "no experiment", "'table"]),
        (["figures", "frontier", "table"], "tabel1", ["key 'figures.frontier.table'", "'table1'"]),
        (["figures", "fronteir"], {"table": "table1"}, ["key 'figures.fronteir'", "'frontier'", "figures/fronteir.py"]),
        (["figures", "frontier"], {}, ["key 'figures.frontier'", "names no table", "Add the key 'table'"]),
        (["figures", "validation"], {"table": "table1"}, ["key 'figures.validation'", "Remove the key 'table'"]),
        (["figures", "motion", "table"], "table4_sizes", ["key 'figures.motion.table'", "'table4_size'"]),
        (["experiments", "table4", "by"], ["sizes"], ["key 'experiments.table4.by[0]'", "kind, size", "'size'"]),
        (["experiments", "table2", "rows", 0, "control"], "yes", ["table2.rows[0].control", "true or false"]),
        (["statistics", "resample"], 10, ["key 'statistics.resample'", "'resamples'"]),
        (["statistics", "fidelity"], ["id_sim", "ssim_bgg"], ["key 'statistics.fidelity[1]'", "'ssim_bg'"]),
        (["statistics", "tasks", "drags", "fidelity", 0], "kid", ["statistics.tasks.drags.fidelity[0]", "of sets"]),
        (["statistics", "prenamed"], ["fid", "id_sims"], ["key 'statistics.prenamed[1]'", "'id_sim'"]),
        (["statistics", "fidelity_anchors"], ["random", "source"], ["fidelity_anchors[0]", "'random_image'"]),
        (
            ["evaluators", "attributes"],
            ...,
            ["table1.metrics[6]", "'success' needs the evaluator 'attributes'", "attributes: null"],
        ),
        (["experiments", "scenes", "by"], ["attribute"], ["scenes.by[0]", "no case of task 'scenes' has an attribute"]),
        (["experiments", "table1", "by"], ["size"], ["experiments.table1.by[0]", "has a size", "kind or attribute"]),
        (["analyse", 0], "drft", ["key 'analyse[0]'", "'drft' is no analysis", "'drift'"]),
        (
            ["models", "text_to_image"],
            {"registry": "flux_dev"},
            ["models.text_to_image", "is of kind flux"],
        ),
    ],
)
def test_wrong_config_gives_one_line_with_file_key_and_fix(
    tmp_path: Path, root: Path, path: list[Any], value: Any, parts: list[str]
) -> None:
    file = changed(tmp_path, root, path, value)
    with pytest.raises(UserError) as caught:
        load_study([file])
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    assert [part for part in parts if part not in message] == [], message


def test_unreadable_config_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("seed: 1\nrun: [\n")
    with pytest.raises(UserError, match=r"study\.yaml, line 3: not valid YAML"):
        load_study([file])
    with pytest.raises(UserError, match=r"absent\.yaml: no such config file"):
        load_study([tmp_path / "absent.yaml"])


def test_a_key_that_stands_twice_is_refused(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("seed: 1\ntasks:\n  a: { cases: 1 }\n  b: {}\n  a: { cases: 2 }\n")
    with pytest.raises(UserError, match=r"study\.yaml, line 5: not valid YAML \(the key 'a' is in line 3 already"):
        load_study([file])
    file.write_text("base: &base { x: 1, y: 2 }\nother: { <<: *base, x: 3 }\n")
    assert read_yaml(file)["other"] == {"x": 3, "y": 2}
    assert [len(read_yaml(path)) for path in sorted((root / "config").glob("*.yaml"))]


def test_message_names_the_file_that_holds_the_key(tmp_path: Path, root: Path) -> None:
    (tmp_path / "base.yaml").write_text((root / "config/micro.yaml").read_text())
    (tmp_path / "change.yaml").write_text("extends: base.yaml\nseed: -1\n")
    with pytest.raises(UserError, match=r"change\.yaml: key 'seed'"):
        load_study([tmp_path / "change.yaml"])
    (tmp_path / "base.yaml").write_text((root / "config/micro.yaml").read_text().replace("threads: 1", "threads: 0"))
    (tmp_path / "change.yaml").write_text("extends: base.yaml\nseed: 1\n")
    with pytest.raises(UserError, match=r"base\.yaml: key 'compute\.threads'"):
        load_study([tmp_path / "change.yaml"])


def test_configs_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(UserError, match="key 'extends'"):
        load_study([tmp_path / "a.yaml"])


def test_merge_joins_mappings_and_replaces_lists() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merge(base, {"a": {"y": [3]}, "c": 2}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_a_model_that_is_named_anew_replaces_the_one_before() -> None:
    base = {"models": {"flux": {"registry": "flux_dev", "size": 512}, "inpainting": {"path": "a", "size": 64}}}
    change = {"models": {"flux": {"path": "/mine"}, "inpainting": {"size": 128}}}
    assert merge(base, change) == {"models": {"flux": {"path": "/mine"}, "inpainting": {"path": "a", "size": 128}}}


def test_an_editor_and_its_model_are_of_one_kind(tmp_path: Path, root: Path) -> None:
    base = f"extends: {root / 'config/paper.yaml'}\n"
    (tmp_path / "study.yaml").write_text(base + "editors: { sdedit: { model: flux } }\n")
    with pytest.raises(UserError, match=r"key 'editors\.sdedit\.model': 'sdedit' runs a model of kind text_to_image"):
        load_study([tmp_path / "study.yaml"])


def test_anchors_may_be_variants_and_numbers(tmp_path: Path, root: Path) -> None:
    anchors = ["mask_guided+guidance_scale=3", 1]
    file = changed(tmp_path, root, ["statistics", "controllability_anchors"], anchors)
    assert load_study([file]).config["statistics"]["controllability_anchors"] == anchors


def test_default_values_name_no_new_variant(tmp_path: Path, root: Path) -> None:
    rows = [{"editor": "mask_guided", "params": {"guidance_scale": scale}} for scale in (7.5, 12, 12.0)]
    file = changed(tmp_path, root, ["experiments", "table3", "rows"], rows)
    names = [row["variant"] for row in load_study([file]).tables["table3"]["rows"]]
    assert names == ["mask_guided", "mask_guided+guidance_scale=12", "mask_guided+guidance_scale=12"]


def test_spec_holds_what_changes_images_and_nothing_else(tmp_path: Path, root: Path) -> None:
    study = load_study([root / "config/micro.yaml"])
    spec = study.edit_spec("portraits", "mask_guided+guidance_scale=3")
    assert spec["params"] == {"guidance_scale": 3.0}
    assert spec["model"] == "resources/micro/text-to-image"
    other = load_study([changed(tmp_path, root, ["compute", "batch_size"], 1)])
    assert other.edit_spec("portraits", "mask_guided+guidance_scale=3") == spec
    seeded = load_study([changed(tmp_path, root, ["seed"], 1)])
    assert seeded.edit_spec("portraits", "mask_guided+guidance_scale=3") != spec


def test_an_editor_takes_another_model_where_the_config_says_so(tmp_path: Path, root: Path) -> None:
    file = changed(tmp_path, root, ["editors", "sdedit"], {"model": "inpainting", "params": {"strength": 0.3}})
    study = load_study([file])
    variant = study.variants["portraits"]["sdedit+strength=0.3"]
    assert variant.model == "inpainting"
    assert dataclasses.asdict(variant)["params"] == {"strength": 0.3}


@pytest.mark.parametrize(
    ("page", "start", "tasks"),
    [("datasets_edits", "results: results/mine", {"own"}), ("paper_scale", "# config/first", {"faces"})],
)
def test_complete_configs_of_the_documents_are_valid(
    tmp_path: Path, root: Path, page: str, start: str, tasks: set[str]
) -> None:
    text = (root / f"docs/{page}.md").read_text()
    (example,) = [block.split("```", 1)[0] for block in text.split("```yaml\n")[1:] if block.startswith(start)]
    file = tmp_path / "study.yaml"
    file.write_text(example.replace("extends: ", f"extends: {root / 'config'}/"))
    assert {task for task, variants in load_study([file]).variants.items() if variants} == tasks


def test_what_is_not_run_has_no_figure(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"extends: {root / 'config/paper.yaml'}\nrun: [table1, table4]\nanalyse: []\n")
    study = load_study([file])
    assert list(study.config["figures"]) == ["frontier", "qualitative", "drag_panel", "motion"]
    assert set(study.variants) - {task for task, variants in study.variants.items() if variants} >= {"inversion"}


def test_a_split_adds_tables_of_the_same_rows_without_metrics_of_sets(tmp_path: Path, root: Path) -> None:
    file = changed(tmp_path, root, ["experiments", "table1", "by"], ["attribute", "kind"])
    tables = load_study([file]).tables
    assert "by" not in tables["table1"]
    split = tables["table1_kind"]
    assert (split["by"], split["parent"], split["name"]) == ("kind", "table1", "table1_kind")
    assert split["rows"] == tables["table1"]["rows"]
    assert {"fid", "kid"} & set(tables["table1"]["metrics"])
    assert set(tables["table1"]["metrics"]) - set(split["metrics"]) == {"fid", "kid"}
    assert "table1_attribute" in tables


def test_an_experiment_may_not_have_the_name_of_a_split(tmp_path: Path, root: Path) -> None:
    config = read_yaml(root / "config/micro.yaml")
    config["experiments"]["table4_kind"] = config["experiments"]["table3"]
    for run in (["table4", "table4_kind"], ["table4_kind", "table4"]):
        config["run"] = ["table1", "table2", "table3", *run]
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        with pytest.raises(UserError, match=r"experiments\.table4_kind.*'table4' split by kind.*Rename"):
            load_study([file])


def test_controls_are_known_by_their_editor_or_by_their_row(root: Path) -> None:
    study = load_study([root / "config/micro.yaml"])
    assert set(study.controls("portraits")) == {
        "autoencoder_round_trip",
        "flow_reconstruction+method=none",
        "random_image",
        "source",
        "true_edit",
    }
    assert "copy_paste" in study.controls("drags")
    assert "flow_reconstruction" not in study.controls("inversion")


def test_rows_without_a_label_are_called_by_what_differs_from_the_editors_entry(tmp_path: Path, root: Path) -> None:
    rows = [{"editor": "drag_flow"}, {"editor": "drag_flow", "params": {"transport_steps": 9}}, {"editor": "source"}]
    file = changed(tmp_path, root, ["experiments", "table4", "rows"], rows)
    labels = [row["label"] for row in load_study([file]).tables["table4"]["rows"]]
    assert labels == ["DragFlow", "DragFlow (transport_steps=9)", "Source, unedited"]


def test_composites_and_analyses_need_evaluators_too(tmp_path: Path, root: Path) -> None:
    config = read_yaml(root / "config/micro.yaml")
    del config["evaluators"]["attributes"]
    config |= {"run": ["sessions"], "analyse": [], "figures": {}, "user_study": {"experiment": "sessions"}}
    file = tmp_path / "study.yaml"
    config["experiments"]["sessions"]["metrics"] = ["clip_score"]
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    with pytest.raises(UserError, match=r"statistics\.controllability\[1\]': 'success' needs the evaluator"):
        load_study([file])
    config["statistics"] = {"fidelity": ["id_sim"], "controllability": ["clip_score"]}
    config["analyse"] = ["guidance"]
    config["run"] = ["sessions", "guidance"]
    config["experiments"]["guidance"]["metrics"] = ["clip_score"]
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    with pytest.raises(UserError, match=r"analyses\.guidance\.params\.metrics\[5\]': 'success' needs the evaluator"):
        load_study([file])


def test_an_evaluator_may_be_left_out_on_purpose(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"extends: {root / 'config/paper.yaml'}\nevaluators: {{ quality: null }}\n")
    study = load_study([file])
    assert "quality" not in study.config["evaluators"] and "clip" in study.config["evaluators"]
    assert "quality" in study.tables["table1"]["metrics"]
    assert all("quality" not in entry["evaluators"] for entry in study.analyses.values())
    # The report, Snakemake's own and `plan` read the config that the run wrote.
    assert resolve_study(study.as_written()) == study
    file.write_text(f"extends: {root / 'config/paper.yaml'}\nevaluators: {{ qualty: null }}\n")
    with pytest.raises(UserError, match=r"evaluators\.qualty': there is no such evaluator. Did you mean 'quality'"):
        load_study([file])


def test_own_pictures_have_no_attribute_and_no_size(tmp_path: Path, root: Path) -> None:
    """Known when the config is read, not only after every edit was scored."""
    rows = "[{ editor: sdedit }, { editor: ultraedit }]"
    text = (
        f"extends: {root / 'config/micro.yaml'}\nrun: [own]\nanalyse: []\nuser_study: {{ experiment: own }}\n"
        "tasks: { own: { dataset: own_images, cases: 4, shards: 1, options: { root: pictures } } }\n"
        f"experiments: {{ own: {{ title: Own, task: own, metrics: [clip_score], by: [BY], rows: {rows} }} }}\n"
    )
    for split in ("attribute", "size"):
        (tmp_path / "study.yaml").write_text(text.replace("BY", split))
        with pytest.raises(UserError, match=rf"experiments\.own\.by\[0\]': no case of task 'own' has an? {split}"):
            load_study([tmp_path / "study.yaml"])
    (tmp_path / "study.yaml").write_text(text.replace("BY", "kind"))
    assert "own_kind" in load_study([tmp_path / "study.yaml"]).tables
