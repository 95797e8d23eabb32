# The user study. In: cases and edits of the experiment that the config names. Out: user_study/index.html (the page that
# participants open) and user_study/design.json (what it shows to whom), with copies beside the responses: while there are
# any, the design that they answer is kept. The analysis user_study reads the responses.
from editfrontier.study.userstudy.settings import StudySettings

if "user_study" in config:
    JUDGED = STUDY.tables[config["user_study"]["experiment"]]
    RESPONSES = Path(StudySettings.of(config["user_study"]).responses)

    STUDY_FILES = jobs.page_files(user_study=True)

    localrules:
        user_study,

    USER_STUDY = ["<results>/user_study/index.html", "<results>/user_study/design.json"]

    rule user_study:
        input:
            remade(*USER_STUDY),
            records=[
                f"<results>/edits/{JUDGED['task']}/{row['variant']}/shard-{shard}.parquet"
                for row in JUDGED["rows"]
                if row["variant"] not in STUDY.controls(JUDGED["task"])
                for shard in range(config["tasks"][JUDGED["task"]]["shards"])
            ],
            cases=f"<results>/data/{JUDGED['task']}/cases.parquet",
            page=STUDY_FILES,
            responses=sorted(str(file) for file in RESPONSES.glob("*.json")),
        output:
            # As long as there are responses, the design that they answer is kept.
            page=update("<results>/user_study/index.html"),
            design=update("<results>/user_study/design.json"),
        log:
            "<results>/logs/user_study.log",
        conda:
            "../envs/tables.yaml"
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            config=CONFIG,
            entry=spec_hash([JUDGED, config["user_study"]]),
            results=subpath(output.page, ancestor=2),
            content=content_of(*STUDY_FILES),
            code=code_of("study.userstudy.page"),
        message:
            "Page of the user study: {output.page}"
        shell:
            "python scripts/user_study.py --config {params.config:q} --root {params.results:q} --out {output.page:q}"
            " --design {output.design:q} 2>&1 | tee {log:q}"
