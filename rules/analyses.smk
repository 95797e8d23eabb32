# Analyses. In: what their entry in the config names (scores and features of variants, cases, models by their hash, files).
# Out: analyses/<analysis>.parquet, the same as .csv, and its figure.

ANALYSES = list(STUDY.analyses)
FINDINGS = ["parquet", "csv", "svg", "pdf", "png"]


rule analyses:
    input:
        collect("<results>/analyses/{analysis}.{form}", analysis=ANALYSES, form=FINDINGS),


rule analyse:
    input:
        remade(*(f"<results>/analyses/{{analysis}}.{form}" for form in FINDINGS)),
        unpack(of(jobs.analysis_files, "analysis")),
    output:
        findings="<results>/analyses/{analysis}.parquet",
        csv=report(
            "<results>/analyses/{analysis}.csv",
            caption="../reports/captions/analysis.rst",
            category="Analyses",
            labels={"analysis": "{analysis}", "form": "CSV"},
        ),
        svg=report(
            "<results>/analyses/{analysis}.svg",
            caption="../reports/captions/analysis.rst",
            category="Analyses",
            labels={"analysis": "{analysis}", "form": "figure"},
        ),
        pdf="<results>/analyses/{analysis}.pdf",
        png="<results>/analyses/{analysis}.png",
    log:
        "<results>/logs/analyse/{analysis}.log",
    benchmark:
        "<results>/benchmarks/analyse/{analysis}.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPUS,
        device=config["compute"]["device"],
        mem_mb=lambda wildcards, attempt: jobs.analysis_memory(STUDY, wildcards.analysis) * attempt,
        runtime=240 if GPUS else 120,
    params:
        config=CONFIG,
        entry=lambda wildcards: spec_hash(STUDY.analyses[wildcards.analysis]),
        content=lambda wildcards: content_hash(*STUDY.analyses[wildcards.analysis]["files"]),
        weights=of(jobs.analysis_weights, "analysis"),
        results=subpath(output.findings, ancestor=2),
        code=of(jobs.analysis_code, "analysis"),
    message:
        "Analysis {wildcards.analysis}"
    shell:
        "python scripts/analyse.py --config {params.config:q} --analysis {wildcards.analysis} --root {params.results:q}"
        " --out {output.findings:q} --device {resources.device} > {log:q} 2>&1"
