# The SparseMM experiment: probe images -> visual scores -> budgets -> compressed evaluation, efficiency -> tables, figures.
from snakemake.utils import min_version

min_version("9.27.1")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


# `snakemake figures` with every result file there takes the files as they are; see cached_only() in common.smk.
if not CACHED_ONLY:

    include: "workflow/rules/probe.smk"
    include: "workflow/rules/scores.smk"
    include: "workflow/rules/budget.smk"
    include: "workflow/rules/evaluate.smk"
    include: "workflow/rules/efficiency.smk"
    include: "workflow/rules/train.smk"


include: "workflow/rules/paper.smk"
include: "workflow/rules/tables.smk"


# The whole experiment. Stages by name: probe, scores, budget, evaluate, efficiency, figures, paper.
rule all:
    default_target: True
    input:
        SCORES,
        KEEP,
        PREDICTIONS,
        MASKS,
        ATTENTION_MAPS,
        EFFICIENCY,
        PROFILE,
        PAPER,


# The OCR images, one file a model family.
rule probe:
    input:
        PROBES,


# The visual score of every attention head.
rule scores:
    input:
        SCORES,


# Tokens to keep per layer and KV head, for every policy that needs no data.
rule budget:
    input:
        KEEP,


# Predictions of all cells, the masked runs, the attention maps.
rule evaluate:
    input:
        PREDICTIONS,
        MASKS,
        ATTENTION_MAPS,


# Latency and memory, one process a cell.
rule efficiency:
    input:
        EFFICIENCY,
        PROFILE,


# Tables and figures only; from cached results no model runs and torch need not be installed.
rule figures:
    input:
        TABLES,
        FIGURES,


# Tables, figures and the page that shows them.
rule paper:
    input:
        PAPER,
