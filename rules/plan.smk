# What a run would take and what it lacks. In: the config. Out: nothing but what it prints. Nothing is submitted or fetched.


localrules:
    plan,


rule plan:
    log:
        "<results>/logs/plan.log",
    conda:
        "../envs/workflow.yaml"
    params:
        config=complete_config,
    message:
        "Plan of this run"
    shell:
        "python -m editfrontier plan --study {params.config:q} 2> {log:q}"
