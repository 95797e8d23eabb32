# Statistics, tables, figures. In: scores and set features. Out: statistics/<task>.parquet (with paired differences, Pareto
# membership and the same for parts of the cases beside it), tables/<table>.{csv,md,tex}, figures/<figure>.{pdf,svg,png},
# validation.csv.

# Metrics are validated on rendered portraits, which networks that are trained on photographs do not know.
VALIDATION = [f"<results>/validation.{form}" for form in ("csv", "points.parquet")] if "validation" in config else []
# Of the statistics of a task: all its cases, parts of them, paired differences, Pareto membership.
PARTS = ["", ".subsets", ".differences", ".frontier"]


rule statistics:
    input:
        collect("<results>/statistics/{task}{part}.parquet", task=EDITED_TASKS, part=PARTS),
        VALIDATION,


rule tables:
    input:
        collect("<results>/tables/{table}.{form}", table=STUDY.tables, form=["csv", "md", "tex"]),


rule figures:
    input:
        collect("<results>/figures/{figure}.{form}", figure=list(config["figures"]), form=["svg", "pdf", "png"]),


rule summarise:
    input:
        remade(*(f"<results>/statistics/{{task}}{part}.parquet" for part in PARTS)),
        scores=lambda wildcards: collect(
            "<results>/scores/{task}/{variant}.parquet", task=wildcards.task, variant=STUDY.variants[wildcards.task]
        ),
        features=lambda wildcards: collect(
            "<results>/features/{task}/{variant}.npz", task=wildcards.task, variant=STUDY.variants[wildcards.task]
        ),
        sources="<results>/scores/{task}/sources.npz",
        cases="<results>/data/{task}/cases.parquet",
    output:
        summary="<results>/statistics/{task}.parquet",
        subsets="<results>/statistics/{task}.subsets.parquet",
        differences="<results>/statistics/{task}.differences.parquet",
        frontier="<results>/statistics/{task}.frontier.parquet",
    log:
        "<results>/logs/summarise/{task}.log",
    benchmark:
        "<results>/benchmarks/summarise/{task}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=CONFIG,
        results=subpath(output.summary, ancestor=2),
        settings=of(lambda study, task: spec_hash([study.summary_settings(task), study.splits(task)]), "task"),
        code=code_of("statistics.task"),
    message:
        "Summary of {wildcards.task}"
    shell:
        "python scripts/summarise.py --config {params.config:q} --task {wildcards.task} --root {params.results:q}"
        " --out {output.summary:q} --subsets {output.subsets:q} --differences {output.differences:q}"
        " --frontier {output.frontier:q} > {log:q} 2>&1"


rule validation:
    input:
        remade(*VALIDATION),
    output:
        checks=report(
            "<results>/validation.csv",
            caption="../reports/captions/validation.rst",
            category="Validation of metrics",
            labels={"table": "checks", "form": "CSV"},
        ),
        points="<results>/validation.points.parquet",
    log:
        "<results>/logs/validation.log",
    benchmark:
        "<results>/benchmarks/validation.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPUS,
        device=config["compute"]["device"],
        mem_mb=4000,
        runtime=60,
    params:
        spec=canonical({**config.get("validation", {}), "seed": config["seed"]}),
        evaluators=jobs.references(config["evaluators"]),
        weights=of(lambda study: jobs.weights(study.config["evaluators"])),
        code=code_of("microworld.validation"),
    message:
        "Validation of the metrics against the renderer's truth"
    shell:
        "python scripts/validation.py --spec {params.spec:q} --evaluators {params.evaluators:q} --out {output.checks:q}"
        " --points {output.points:q} --device {resources.device} > {log:q} 2>&1"


rule table:
    input:
        remade(*(f"<results>/tables/{{table}}.{form}" for form in ("csv", "md", "tex"))),
        statistics=lambda wildcards: jobs.statistics_of(STUDY.tables[wildcards.table]),
        reported=config["reported"],
    output:
        csv=report(
            "<results>/tables/{table}.csv",
            caption="../reports/captions/table.rst",
            category="Tables",
            labels={"table": "{table}", "form": "CSV"},
        ),
        md="<results>/tables/{table}.md",
        tex="<results>/tables/{table}.tex",
    log:
        "<results>/logs/table/{table}.log",
    conda:
        "../envs/tables.yaml"
    params:
        config=CONFIG,
        entry=lambda wildcards: spec_hash(STUDY.tables[wildcards.table]),
        content=content_of(config["reported"]),
        code=code_of("study.results.tables"),
    message:
        "Table {wildcards.table}"
    shell:
        "python scripts/table.py --config {params.config:q} --table {wildcards.table} --statistics {input.statistics:q}"
        " --reported {input.reported:q} --csv {output.csv:q} --markdown {output.md:q} --latex {output.tex:q} > {log:q} 2>&1"


rule figure:
    input:
        remade(*(f"<results>/figures/{{figure}}.{form}" for form in ("svg", "pdf", "png"))),
        reported=config["reported"],
        data=of(jobs.figure_files, "figure"),
    output:
        pdf="<results>/figures/{figure}.pdf",
        svg=report(
            "<results>/figures/{figure}.svg",
            caption="../reports/captions/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        png="<results>/figures/{figure}.png",
    log:
        "<results>/logs/figure/{figure}.log",
    conda:
        "../envs/tables.yaml"
    params:
        config=CONFIG,
        table=lambda wildcards: spec_hash(STUDY.shown_by(wildcards.figure)),
        content=content_of(config["reported"]),
        results=subpath(output.svg, ancestor=2),
        caption=of(jobs.figure_caption, "figure"),
        code=of(jobs.figure_code, "figure"),
    message:
        "Figure {wildcards.figure}"
    shell:
        "python scripts/figure.py --config {params.config:q} --figure {wildcards.figure} --root {params.results:q}"
        " --reported {input.reported:q} --out {output.svg:q} > {log:q} 2>&1"
