# Pretrained models. In: config/zoo.yaml. Out: model folders with weights, scores and checksums (provenance.json).
# The shipped micro models are in the repository; `snakemake zoo` trains them again from seeds.


include: "zoo.smk"
