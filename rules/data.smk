# Cases. In: the config and the language. Out: data/<task>/cases.parquet beside its images, and the reference images of FID.

from editfrontier.models.registry import segmenters_of

SEGMENTERS = segmenters_of(config)


rule data:
    input:
        collect("<results>/data/{task}/cases.parquet", task=TASKS),
        "<results>/data/reference.npz",


rule cases:
    input:
        remade("<results>/data/{task}/cases.parquet"),
        language=config["language"],
    output:
        "<results>/data/{task}/cases.parquet",
    log:
        "<results>/logs/cases/{task}.log",
    benchmark:
        "<results>/benchmarks/cases/{task}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        # Others are read from files, which may have to be unpacked.
        mem_mb=lambda wildcards: 2000 if jobs.is_rendered(STUDY, wildcards.task) else 8000,
        runtime=lambda wildcards: 30 if jobs.is_rendered(STUDY, wildcards.task) else 240,
    params:
        spec=of(jobs.cases_spec, "task"),
        content=content_of(config["language"]),
        code=of(jobs.cases_code, "task"),
    message:
        "Cases of {wildcards.task}"
    shell:
        "python scripts/cases.py --spec {params.spec:q} --language {input.language:q} --out {output:q} > {log:q} 2>&1"


if SEGMENTERS:

    # A rule of its own, so that a profile may ask for its GPU as for that of any other.
    ruleorder: segmented_cases > cases

    use rule cases as segmented_cases with:
        wildcard_constraints:
            task="|".join(SEGMENTERS),
        resources:
            gpu=GPUS,
            mem_mb=8000,
            runtime=240,
        message:
            "Cases of {wildcards.task}, with masks by a segmenter"


rule reference:
    input:
        remade("<results>/data/reference.npz"),
    output:
        "<results>/data/reference.npz",
    log:
        "<results>/logs/reference.log",
    benchmark:
        "<results>/benchmarks/reference.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=4000 if "dataset" in config["reference"] else 2000,
        runtime=120 if "dataset" in config["reference"] else 30,
    params:
        spec=of(jobs.reference_spec),
        code=of(jobs.reference_code),
    message:
        "Reference images"
    shell:
        "python scripts/reference.py --spec {params.spec:q} --out {output:q} > {log:q} 2>&1"
