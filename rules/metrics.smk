# Scores. In: cases, records of edits, evaluators. Out: scores/<task>/sources.npz (what depends on sources only, once a task),
# scores/<task>/<variant>.parquet (case, metric, value) and features/<task>/<variant>.npz (for FID and KID).
from editfrontier.scoring.metrics import modules_of_packages
from editfrontier.study.config.study import evaluators_of

SOURCE_EVALUATORS = jobs.evaluators_for_sources(STUDY)


rule scores:
    input:
        [
            f"<results>/{file}"
            for task in EDITED_TASKS
            for variant in STUDY.variants[task]
            for file in (f"scores/{task}/{variant}.parquet", f"features/{task}/{variant}.npz")
        ],
        collect("<results>/scores/{task}/sources.npz", task=EDITED_TASKS),


rule sources:
    input:
        remade("<results>/scores/{task}/sources.npz"),
        cases="<results>/data/{task}/cases.parquet",
        reference="<results>/data/reference.npz",
    output:
        "<results>/scores/{task}/sources.npz",
    log:
        "<results>/logs/sources/{task}.log",
    benchmark:
        "<results>/benchmarks/sources/{task}.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPUS,
        device=config["compute"]["device"],
        mem_mb=4000,
        runtime=120,
    params:
        evaluators=jobs.references(SOURCE_EVALUATORS),
        weights=of(lambda study: jobs.weights(SOURCE_EVALUATORS)),
        code=code_of("scoring.sources"),
    message:
        "Sources of {wildcards.task}"
    shell:
        "python scripts/sources.py --cases {input.cases:q} --reference {input.reference:q}"
        " --evaluators {params.evaluators:q} --out {output:q} --device {resources.device} > {log:q} 2>&1"


rule score:
    input:
        remade("<results>/scores/{task}/{variant}.parquet", "<results>/features/{task}/{variant}.npz"),
        cases="<results>/data/{task}/cases.parquet",
        sources="<results>/scores/{task}/sources.npz",
        records=lambda wildcards: collect(
            "<results>/edits/{task}/{variant}/shard-{shard}.parquet",
            task=wildcards.task,
            variant=wildcards.variant,
            shard=range(config["tasks"][wildcards.task]["shards"]),
        ),
    output:
        scores="<results>/scores/{task}/{variant}.parquet",
        features="<results>/features/{task}/{variant}.npz",
    log:
        "<results>/logs/score/{task}/{variant}.log",
    benchmark:
        "<results>/benchmarks/score/{task}/{variant}.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPUS,
        device=config["compute"]["device"],
        mem_mb=4000,
        runtime=120,
    params:
        evaluators=lambda wildcards: jobs.references(evaluators_of(STUDY, wildcards.task)),
        weights=of(lambda study, task: jobs.weights(evaluators_of(study, task)), "task"),
        code=lambda wildcards: code_hash("editfrontier.scoring.score", *modules_of_packages()),
    message:
        "Scores of {wildcards.variant} on {wildcards.task}"
    shell:
        "python scripts/score.py {input.records:q} --cases {input.cases:q} --sources {input.sources:q}"
        " --evaluators {params.evaluators:q} --out {output.scores:q} --features {output.features:q}"
        " --device {resources.device} > {log:q} 2>&1"
