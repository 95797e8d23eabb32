# The whole study. `snakemake --cores 2` runs all of it; the targets below stop at a stage.
from snakemake.utils import min_version

min_version("9.27")

if not workflow.overwrite_configfiles:

    configfile: "config/micro.yaml"


include: "rules/common.smk"


# For `--software-deployment-method apptainer`: an image of envs/editfrontier.def, which serves all rules.
container: "editfrontier.sif"


pathvars:
    results=config["results"],


report: "reports/captions/workflow.rst"


wildcard_constraints:
    task="[a-z][a-z0-9_]*",
    table="[a-z][a-z0-9_]*",
    analysis="[a-z][a-z0-9_]*",
    variant=r"[A-Za-z0-9_.+=,-]+",
    shard=r"\d+",


include: "rules/models.smk"
include: "rules/data.smk"
include: "rules/edits.smk"
include: "rules/metrics.smk"
include: "rules/statistics.smk"
include: "rules/userstudy.smk"
include: "rules/analyses.smk"
include: "rules/claims.smk"
include: "rules/report.smk"
include: "rules/plan.smk"


localrules:
    all,
    data,
    edits,
    scores,
    statistics,
    tables,
    figures,
    analyses,
    claims,
    report,
    # On a cluster these run where Snakemake runs: they take seconds, less than waiting for a place in the queue.
    table,
    figure,
    judge,
    index,
    archive,


rule all:
    default_target: True
    input:
        rules.data.input,
        rules.report.input,
