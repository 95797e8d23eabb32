# Reports. In: everything. Out: index.html (one self-contained page to read), report.zip (Snakemake's own report, as provenance),
# config.yaml (the complete config of this run).


rule report:
    input:
        "<results>/index.html",
        "<results>/report.zip",


rule config:
    input:
        remade("<results>/config.yaml"),
    output:
        "<results>/config.yaml",
    log:
        "<results>/logs/config.log",
    conda:
        "../envs/workflow.yaml"
    params:
        config=complete_config,
    message:
        "Complete config of this run"
    shell:
        "python -m editfrontier config --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule index:
    input:
        remade("<results>/index.html"),
        rules.scores.input,
        rules.statistics.input,
        rules.tables.input,
        rules.figures.input,
        rules.analyses.input,
        rules.claims.input,
        config="<results>/config.yaml",
        reported=config["reported"],
        page=PAGE_FILES,
        cases=collect("<results>/data/{task}/cases.parquet", task=TASKS),
    output:
        report(
            "<results>/index.html",
            caption="../reports/captions/index.rst",
            category="Page of results",
            labels={"page": "index"},
        ),
    log:
        "<results>/logs/index.log",
    conda:
        "../envs/tables.yaml"
    params:
        results=subpath(output[0], parent=True),
        content=content_of(config["reported"], *PAGE_FILES),
        code=code_of("study.report"),
    message:
        "The report: {output}"
    shell:
        "python -m editfrontier report --root {params.results:q} --config {input.config:q} --reported {input.reported:q}"
        " --out {output:q} > {log:q} 2>&1"


rule archive:
    input:
        remade("<results>/report.zip"),
        index="<results>/index.html",
        config="<results>/config.yaml",
        captions=CAPTIONS,
    output:
        "<results>/report.zip",
    log:
        "<results>/logs/archive.log",
    conda:
        "../envs/workflow.yaml"
    params:
        content=content_of(*CAPTIONS),
    message:
        "Snakemake's report: {output}"
    shell:
        "python -m snakemake index --configfile {input.config:q} --nolock --quiet --report {output:q} > {log:q} 2>&1"
