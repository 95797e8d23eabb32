# What a run would take and what it lacks. In: the config. Out: nothing but what it prints. Nothing is submitted or fetched.


localrules:
    plan,


rule plan:
    log:
        "<results>/logs/plan.log",
    conda:
        "../envs/workflow.yaml"
    params:
        config=CONFIG,
    message:
        "Plan of this run"
    shell:
        "python -m editfrontier plan --config {params.config:q} 2> {log:q}"
