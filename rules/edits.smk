# Edits. In: data/<task>/cases.parquet and, by their hash, model weights. Out: edits/<task>/<variant>/shard-<i>.parquet, one
# row a case; the images beside it are the content of the shard and are kept when a job is killed, so that the next run goes
# on from there. A case that cannot be edited is a row with its reason, and so are all of them (`--may-fail`): the study goes on
# without them, and the end of the run says so.


rule edits:
    input:
        [
            f"<results>/edits/{task}/{variant}/shard-{shard}.parquet"
            for task in EDITED_TASKS
            for variant in STUDY.variants[task]
            for shard in range(config["tasks"][task]["shards"])
        ],


rule edit:
    input:
        remade("<results>/edits/{task}/{variant}/shard-{shard}.parquet"),
        cases="<results>/data/{task}/cases.parquet",
    output:
        "<results>/edits/{task}/{variant}/shard-{shard}.parquet",
    log:
        "<results>/logs/edit/{task}/{variant}/shard-{shard}.log",
    benchmark:
        "<results>/benchmarks/edit/{task}/{variant}/shard-{shard}.tsv"
    retries: 2 if GPUS else 0
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPUS,
        device=config["compute"]["device"],
        batch_size=lambda wildcards: config["tasks"][wildcards.task].get("batch_size", config["compute"]["batch_size"]),
        mem_mb=lambda wildcards, attempt: (64000 if GPUS else 3000) * attempt,
        runtime=240,
    params:
        spec=of(jobs.edit_spec, "task", "variant"),
        shards=lambda wildcards: config["tasks"][wildcards.task]["shards"],
        images=subpath(output[0], parent=True),
        results=subpath(output[0], ancestor=4),
    message:
        "Edits of {wildcards.task} by {wildcards.variant}, shard {wildcards.shard}"
    shell:
        "python scripts/edit.py --cases {input.cases:q} --shard {wildcards.shard} --shards {params.shards}"
        " --spec {params.spec:q} --record {output:q} --images {params.images:q}/images"
        " --inversions {params.results:q}/inversions"
        " --batch-size {resources.batch_size} --device {resources.device} --may-fail > {log:q} 2>&1"
