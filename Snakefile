# The SparseMM experiment: probe images -> visual scores -> budgets -> compressed evaluation, efficiency -> tables, figures.
from snakemake.utils import min_version

min_version("9.27.1")


configfile: "config/config.yaml"


# The text at the head of `snakemake --report report.html`.
report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/files.smk"


# `snakemake figures`, `claims` or `paper`, with every result file there, draws them as they are: results fetched from another machine are
# older than this checkout's code, and torch need not be installed. Without the rules that make them, the results are
# plain input files. --rerun-triggers mtime is not enough (a probe file that was touched would run the models again),
# nor is ancient() (it ignores the age of a rule's inputs, not of what those are made from).
if not cached_only():

    include: "workflow/rules/models.smk"
    include: "workflow/rules/probe.smk"
    include: "workflow/rules/patches.smk"
    include: "workflow/rules/scores.smk"
    include: "workflow/rules/budget.smk"
    include: "workflow/rules/evaluate.smk"
    include: "workflow/rules/efficiency.smk"
    include: "workflow/rules/emergence.smk"
    include: "workflow/rules/recipes.smk"
    include: "workflow/rules/train.smk"


include: "workflow/rules/paper.smk"
include: "workflow/rules/explorer.smk"
include: "workflow/rules/sources.smk"
include: "workflow/rules/preflight.smk"


# The numbers that matter and the page to open. They are an addition: whatever is wrong with them, the run has succeeded.
onsuccess:
    for line in last_lines():
        print(line, file=sys.stderr)


# The whole experiment. Stages by name: fetch, probe, patches, scores, budget, evaluate, efficiency, figures, paper.
rule all:
    default_target: True
    input:
        PATCHES,
        SET_PATCHES,
        SCORES,
        SET_SCORES,
        KEEP,
        PREDICTIONS,
        RUN_SCORES,
        MASKS,
        ATTENTION_MAPS,
        PAGE_KEEP,
        SET_MAPS,
        TEXT_SCORES,
        READING_MASKS,
        RECIPES,
        HEAD_LOSSES,
        EFFICIENCY,
        PROFILE,
        PAPER,
        EXPLORER,


# Models, data sets and probe set of the hub, checked against config/sources.lock.yaml; what it lacks is added to it.
rule fetch:
    input:
        fetched,


# The OCR images, one file a model family, and the images of the further probe sets.
rule probe:
    input:
        PROBES,
        SET_PROBES,


# The image tokens that cover each word of the probe images, one file a model.
rule patches:
    input:
        PATCHES,
        SET_PATCHES,


# The visual score of every attention head, from the probe set and from each further one.
rule scores:
    input:
        SCORES,
        SET_SCORES,


# Tokens to keep per layer and KV head, for every policy that does not look at the prompt's attention.
rule budget:
    input:
        KEEP,


# Predictions of all cells, scores of whole runs, the masked runs, the attention maps.
rule evaluate:
    input:
        PREDICTIONS,
        RUN_SCORES,
        MASKS,
        ATTENTION_MAPS,
        PAGE_KEEP,
        SET_MAPS,


# Where visual heads come from: pages read as text by each state of a model's language model; `emergence` asks for it.
rule emergence:
    input:
        TEXT_SCORES,
        READING_MASKS,
        expand("<results>/paper/table_emergence.{kind}", kind=("csv", "md", "tex")),
        expand("<results>/paper/figure_emergence.{kind}", kind=("pdf", "png")),


# Recipes of the head score against what masking heads costs; `recipes` asks for it.
rule recipes:
    input:
        expand("<results>/paper/table_recipes.{kind}", kind=("csv", "md", "tex")),
        expand("<results>/paper/figure_recipes.{kind}", kind=("pdf", "png")),


# Latency and memory, one process a cell.
rule efficiency:
    input:
        EFFICIENCY,
        PROFILE,


# Tables, figures and the explorer only; from cached results no model runs and torch need not be installed.
rule figures:
    input:
        TABLE_FILES,
        FIGURE_FILES,
        EXPLORER,


# The page in which a reader looks into the run, alone.
rule explorer:
    input:
        EXPLORER,


# The paper's claims, judged on this run's result files, and their figure; from cached results no model runs.
rule claims:
    input:
        expand("<results>/paper/claims.{kind}", kind=("csv", "md", "tex")),
        expand("<results>/paper/figure_claims.{kind}", kind=("pdf", "png")),


# Every allocator with every ranker, of a run whose `policies` name pairs: config/matrix.yaml.
rule matrix:
    input:
        expand("<results>/paper/table_matrix.{kind}", kind=("csv", "md", "tex")),
        expand("<results>/paper/figure_{name}.{kind}", name=("matrix", "pareto"), kind=("pdf", "png")),


# Tables, figures, the page that shows them, and the explorer.
rule paper:
    input:
        PAPER,
        EXPLORER,


# The adapters of the models around SmolLM2 again; never part of the default run. Each takes two cores for hours.
rule train_smol:
    input:
        expand("<results>/train/{adapter}/adapter.safetensors", adapter=ADAPTERS),
