# Training of the micro zoo, reachable only through the target `zoo`. In: config/zoo.yaml, config/zoo_evaluators.yaml.
# Out: results/zoo/models/<model>, copied to resources/micro/<model> when trained and scored.
# No rule declares anything below resources/, so that the study takes the shipped files and never trains. The code is no
# parameter: hours of training rerun when their config changes, or with --forcerun. A stopped training goes on where it was.
_GENERATORS = read_yaml(Path("config/zoo.yaml"))
_EVALUATORS = read_yaml(Path("config/zoo_evaluators.yaml"))
ZOO_GENERATORS = ["autoencoder", "text-to-image", "inpainting", "instruct-pix2pix"]
ZOO_GENERATORS += ["flow-autoencoder", "t5", "flux", "ultraedit-freeform", "ultraedit-mask"]
ZOO_EVALUATORS = [name for name in _EVALUATORS if isinstance(_EVALUATORS[name], dict)]
ZOO_BASE = {
    "autoencoder": [],
    "text-to-image": ["autoencoder", "clip"],
    "inpainting": ["autoencoder", "text-to-image"],
    "instruct-pix2pix": ["autoencoder", "text-to-image"],
    "flow-autoencoder": [],
    "t5": [],
    "flux": ["flow-autoencoder", "clip", "t5"],
    "ultraedit-freeform": ["flow-autoencoder", "clip", "t5"],
    "ultraedit-mask": ["flow-autoencoder", "clip", "t5", "ultraedit-freeform"],
}


localrules:
    zoo,


rule zoo:
    input:
        collect("results/zoo/installed/{model}", model=ZOO_GENERATORS + ZOO_EVALUATORS),


rule train_generator:
    input:
        # Provenance of the models that a generator is trained on.
        lambda wildcards: [f"results/zoo/models/{name}/provenance.json" for name in ZOO_BASE[wildcards.generator]],
    output:
        "results/zoo/models/{generator}/provenance.json",
    log:
        "results/zoo/logs/train-{generator}.log",
    benchmark:
        "results/zoo/benchmarks/train-{generator}.tsv"
    wildcard_constraints:
        generator="|".join(ZOO_GENERATORS),
    conda:
        "../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=6000,
        runtime=480,
    params:
        settings=lambda wildcards: canonical([_GENERATORS["data"], _GENERATORS[wildcards.generator]]),
    message:
        "Training {wildcards.generator} (progress: {log})"
    shell:
        "python -m editfrontier.microworld.zoo train {wildcards.generator} --config config/zoo.yaml --threads {threads}"
        " --out results/zoo/models/{wildcards.generator} --work results/zoo/{wildcards.generator} > {log:q} 2>&1"


rule train_evaluator:
    output:
        "results/zoo/models/{evaluator}/provenance.json",
    log:
        "results/zoo/logs/train-{evaluator}.log",
    benchmark:
        "results/zoo/benchmarks/train-{evaluator}.tsv"
    wildcard_constraints:
        evaluator="|".join(ZOO_EVALUATORS),
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=240,
    params:
        settings=lambda wildcards: canonical(_EVALUATORS[wildcards.evaluator]),
    message:
        "Training {wildcards.evaluator} (progress: {log})"
    shell:
        "python -m editfrontier.microworld.zoo train {wildcards.evaluator} --config config/zoo_evaluators.yaml --threads {threads}"
        " --out results/zoo/models/{wildcards.evaluator} --work results/zoo/{wildcards.evaluator} > {log:q} 2>&1"


rule score_generator:
    input:
        "results/zoo/models/{generator}/provenance.json",
        "results/zoo/models/attributes/provenance.json",
    output:
        "results/zoo/scores/{generator}.json",
    log:
        "results/zoo/logs/score-{generator}.log",
    benchmark:
        "results/zoo/benchmarks/score-{generator}.tsv"
    wildcard_constraints:
        generator="|".join(ZOO_GENERATORS),
    conda:
        "../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        held_out=canonical(_GENERATORS["held_out"]),
    message:
        "Held-out scores of {wildcards.generator}"
    shell:
        "python -m editfrontier.microworld.zoo evaluate {wildcards.generator} --config config/zoo.yaml --threads {threads}"
        " --out results/zoo/models/{wildcards.generator} --scores {output:q} > {log:q} 2>&1"


rule install_generator:
    input:
        model="results/zoo/models/{generator}/provenance.json",
        scores="results/zoo/scores/{generator}.json",
    output:
        touch("results/zoo/installed/{generator}"),
    log:
        "results/zoo/logs/install-{generator}.log",
    wildcard_constraints:
        generator="|".join(ZOO_GENERATORS),
    conda:
        "../envs/models.yaml"
    message:
        "Installing {wildcards.generator} in resources/micro"
    shell:
        "python -m editfrontier.microworld.zoo install results/zoo/models/{wildcards.generator} resources/micro/{wildcards.generator}"
        " --scores {input.scores:q} > {log:q} 2>&1"


rule install_evaluator:
    input:
        "results/zoo/models/{evaluator}/provenance.json",
    output:
        touch("results/zoo/installed/{evaluator}"),
    log:
        "results/zoo/logs/install-{evaluator}.log",
    wildcard_constraints:
        evaluator="|".join(ZOO_EVALUATORS),
    conda:
        "../envs/models.yaml"
    message:
        "Installing {wildcards.evaluator} in resources/micro"
    shell:
        "python -m editfrontier.microworld.zoo install results/zoo/models/{wildcards.evaluator} resources/micro/{wildcards.evaluator}"
        " > {log:q} 2>&1"
