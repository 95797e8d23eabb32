# Claims of the paper. In: statistics, scores, cases, findings of analyses, and the list of claims. Out: claims.csv.
from editfrontier.study.judging.ledger import read_claims

# A study without the key `claims` has no ledger.
LEDGER = ["<results>/claims.csv"] if "claims" in config else []
CLAIM_CODE = sorted(f"study.claims.{file.stem}" for file in Path("src/editfrontier/study/claims").glob("[a-z]*.py"))
if LEDGER:
    try:
        read_claims(Path(config["claims"]))
    except UserError as error:
        sys.exit(f"error: {error}")


rule claims:
    input:
        LEDGER,


rule judge:
    input:
        remade(*LEDGER),
        rules.scores.input,
        rules.statistics.input,
        rules.analyses.input,
        reported=config["reported"],
        claims=config.get("claims", []),
        cases=collect("<results>/data/{task}/cases.parquet", task=EDITED_TASKS),
    output:
        report(
            "<results>/claims.csv",
            caption="../reports/captions/claims.rst",
            category="Claims",
            labels={"table": "claims", "form": "CSV"},
        ),
    log:
        "<results>/logs/judge.log",
    conda:
        "../envs/tables.yaml"
    params:
        config=CONFIG,
        settings=CONFIG_HASH,
        results=subpath(output[0], parent=True),
        content=content_of(config["reported"], *filter(None, [config.get("claims")])),
        code=code_of("study.judging.ledger", *CLAIM_CODE),
    message:
        "Judgement of the paper's claims"
    shell:
        "python scripts/judge.py --config {params.config:q} --root {params.results:q} --claims {input.claims:q}"
        " --reported {input.reported:q} --out {output:q} > {log:q} 2>&1"
