# Reports. In: everything. Out: index.html (one self-contained page to read), report.zip (Snakemake's own report, as provenance).
# Beside them config.yaml, the complete config of the last run, is written when a run starts.

PAGE_FILES = jobs.page_files(user_study=False)
CAPTIONS = sorted(str(file) for file in Path("reports/captions").glob("*.rst"))


rule report:
    input:
        "<results>/index.html",
        "<results>/report.zip",


rule index:
    input:
        remade("<results>/index.html", "<results>/config.yaml"),
        rules.scores.input,
        rules.statistics.input,
        rules.tables.input,
        rules.figures.input,
        rules.analyses.input,
        rules.claims.input,
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
        config=CONFIG,
        settings=CONFIG_HASH,
        results=subpath(output[0], parent=True),
        content=content_of(config["reported"], *PAGE_FILES),
        code=code_of("study.report"),
    message:
        "Index of results: {output}"
    shell:
        "python scripts/index.py --config {params.config:q} --root {params.results:q} --reported {input.reported:q}"
        " --out {output:q} > {log:q} 2>&1"


rule archive:
    input:
        remade("<results>/report.zip"),
        index="<results>/index.html",
        captions=CAPTIONS,
    output:
        "<results>/report.zip",
    log:
        "<results>/logs/archive.log",
    conda:
        "../envs/workflow.yaml"
    params:
        config=CONFIG,
        content=content_of(*CAPTIONS),
    message:
        "Archive of Snakemake's report: {output}"
    shell:
        "python -m snakemake index --configfile {params.config:q} --nolock --quiet --report {output:q} > {log:q} 2>&1"
