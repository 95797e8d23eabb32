# Pretrained models. In: config/zoo.yaml. Out: model folders with weights, scores and checksums (provenance.json).
# The shipped micro models are in the repository; `snakemake zoo` trains them again from seeds.
# Those of a hub are fetched by `snakemake weights`, on a node that reaches the network; jobs do not.


localrules:
    weights,


rule weights:
    log:
        "<results>/logs/weights.log",
    conda:
        "../envs/workflow.yaml"
    params:
        config=CONFIG,
    message:
        "Fetching models, see {log}"
    shell:
        "HF_HUB_OFFLINE=0 python -m editfrontier weights --config {params.config:q} 2>&1 | tee {log:q}"


include: "zoo.smk"
