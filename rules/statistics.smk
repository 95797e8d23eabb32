# Statistics, tables, figures. In: scores and set features. Out: statistics/<task>.parquet (with paired differences, Pareto
# membership and the same for parts of the cases beside it), tables/<table>.{csv,md,tex}, figures/<figure>.{pdf,svg,png},
# validation.csv.


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
        scores=of_variants("<results>/scores/{task}/{variant}.parquet"),
        features=of_variants("<results>/features/{task}/{variant}.npz"),
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
        settings=settings_of,
        splits=splits_of,
        code=code_of("statistics.task"),
    message:
        "Intervals of {wildcards.task}"
    shell:
        "python -m editfrontier statistics {input.scores:q} {input.features:q}"
        " --sources {input.sources:q} --settings {params.settings:q} --out {output.summary:q}"
        " --differences {output.differences:q} --frontier {output.frontier:q} --cases {input.cases:q}"
        " --splits {params.splits:q} --subsets {output.subsets:q} > {log:q} 2>&1"


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
        spec=spec_of({**config.get("validation", {}), "seed": config["seed"]}),
        evaluators=references_of(config["evaluators"]),
        weights=lambda wildcards: weights_of_all(config["evaluators"]),
        code=code_of("microworld.validation"),
    message:
        "Validation of the metrics against the renderer's truth"
    shell:
        "python -m editfrontier validate --spec {params.spec:q} --evaluators {params.evaluators:q} --out {output.checks:q}"
        " --points {output.points:q} --device {resources.device} > {log:q} 2>&1"


rule table:
    input:
        remade(*(f"<results>/tables/{{table}}.{form}" for form in ("csv", "md", "tex"))),
        statistics=statistics_of_table,
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
        table=table_entry,
        content=content_of(config["reported"]),
        code=code_of("study.results.tables"),
    message:
        "Table {wildcards.table}"
    shell:
        "python -m editfrontier tables --table {params.table:q} --statistics {input.statistics:q}"
        " --reported {input.reported:q} --csv {output.csv:q} --markdown {output.md:q} --latex {output.tex:q} > {log:q} 2>&1"


rule figure:
    input:
        remade(*(f"<results>/figures/{{figure}}.{form}" for form in ("svg", "pdf", "png"))),
        reported=config["reported"],
        data=data_of_figure,
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
        table=entry_of_figure,
        content=content_of(config["reported"]),
        results=subpath(output.svg, ancestor=2),
        caption=caption_of_figure,
        code=code_of_figure,
    message:
        "Figure {wildcards.figure}"
    shell:
        "python -m editfrontier figures --figure {wildcards.figure} --table {params.table:q} --root {params.results:q}"
        " --reported {input.reported:q} --out {output.svg:q} > {log:q} 2>&1"
