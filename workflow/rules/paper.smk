# Tables and figures from result files, and a page of them. Nothing here imports torch.
# To add one: a function in TABLES or FIGURES of sparsemm.reporting, an entry here, and its caption in workflow/report.

# What figures of scores read.
ANSWERED = {"predictions": PREDICTIONS, "run_scores": RUN_SCORES}
# What most tables of scores read; the visual scores for what is to be said of them.
SCORED = {**ANSWERED, "scores": SCORES}
# The paper's numbers, shown beside those of its models.
PAPER_NUMBERS = {
    "table1": "data/paper/table1_input_tokens.csv",
    "table2": "data/paper/table2_accuracy_speed.csv",
    "table3": "data/paper/table3_rho_ablation_ocrbench_budget256.csv",
    "table4": "data/paper/table4_component_ablation_mmbench_qwen2vl.csv",
    "tables5and6": "data/paper/accuracy.csv",
    "figure6": "data/paper/figure6_efficiency.csv",
}

# What is read of the emergence of visual heads.
READINGS = {
    "scores": SCORES,
    "samples": SAMPLES,
    "text_scores": TEXT_SCORES,
    "text_samples": TEXT_SAMPLES,
    "masks": READING_MASKS,
}
# Recipes of the head score, and the losses that they are to predict.
PREDICTED = {"recipes": RECIPES, "losses": HEAD_LOSSES}

# By name: the function's inputs, the file it is in, and further arguments.
TABLES = {
    "claims": {
        "inputs": {
            **SCORED,
            "samples": SAMPLES,
            "masks": MASKS,
            "efficiency": EFFICIENCY,
            "sets": SET_SCORES,
            "paper": list(PAPER_NUMBERS.values()),
        },
        "code": "reporting/tables/claims.py",
    },
    "findings": {
        "inputs": {**SCORED, "masks": MASKS, "efficiency": EFFICIENCY},
        "code": "reporting/tables/findings.py",
    },
    "repro": {
        "inputs": {**SCORED, "efficiency": EFFICIENCY, "paper": list(PAPER_NUMBERS.values())},
        "code": "reporting/tables/repro.py",
    },
    "table1": {
        "inputs": {"predictions": PREDICTIONS, "paper": PAPER_NUMBERS["table1"]},
        "code": "reporting/tables/tokens.py",
    },
    "table2": {
        "inputs": {**SCORED, "efficiency": EFFICIENCY, "paper": PAPER_NUMBERS["table2"]},
        "code": "reporting/tables/speed.py",
    },
    "table3": {
        "inputs": {**SCORED, "paper": PAPER_NUMBERS["table3"]},
        "code": "reporting/tables/ablations.py",
        "options": {key: config["ablations"].get("rho", {}).get(key) for key in ("benchmark", "budget")},
    },
    "table4": {
        "inputs": {**SCORED, "paper": PAPER_NUMBERS["table4"]},
        "code": "reporting/tables/ablations.py",
        "options": {"benchmark": config["ablations"].get("parts", {}).get("benchmark")},
    },
    "table5": {
        "inputs": {**SCORED, "paper": PAPER_NUMBERS["tables5and6"]},
        "code": "reporting/tables/accuracy.py",
    },
    "table6": {
        "inputs": {**SCORED, "paper": PAPER_NUMBERS["tables5and6"]},
        "code": "reporting/tables/accuracy.py",
    },
    "table_audit": {
        "inputs": {"predictions": PREDICTIONS, "scores": SCORES},
        "code": "reporting/tables/ablations.py",
    },
    "table_emergence": {"inputs": READINGS, "code": "reporting/tables/emergence.py"},
    "table_matrix": {"inputs": SCORED, "code": "reporting/tables/matrix.py"},
    "table_recipes": {"inputs": PREDICTED, "code": "reporting/tables/recipes.py"},
    "table_profile": {"inputs": {"profile": PROFILE}, "code": "reporting/tables/profile.py"},
    "comparison": {
        "inputs": {**SCORED, "paper": PAPER_NUMBERS["tables5and6"]},
        "code": "reporting/tables/comparison.py",
    },
    "rules": {
        "inputs": ANSWERED,
        "code": "reporting/tables/rules.py",
    },
}
CURVES = {**ANSWERED, "paper": PAPER_NUMBERS["tables5and6"]}
FIGURES = {
    "figure_claims": {
        "inputs": {"claims": "<results>/paper/claims.csv"},
        "code": "reporting/figures/claims.py",
    },
    "figure_patches": {
        "inputs": {"patches": PATCHES, "probe": PROBES},
        "code": "reporting/figures/patches.py",
    },
    "figure2": {"inputs": {"scores": SCORES, "samples": SAMPLES}, "code": "reporting/figures/heatmap.py"},
    "figure4": {"inputs": CURVES, "code": "reporting/figures/accuracy.py"},
    "figure5": {"inputs": CURVES, "code": "reporting/figures/accuracy.py"},
    "figure6": {
        "inputs": {"efficiency": EFFICIENCY, "paper": PAPER_NUMBERS["figure6"]},
        "code": "reporting/figures/efficiency.py",
    },
    "figure7": {
        "inputs": {"masks": MASKS, "predictions": PREDICTIONS},
        "code": "reporting/figures/masking.py",
    },
    "figure8": {
        "inputs": {
            "scores": SCORES,
            "samples": SAMPLES,
            "set_scores": SET_SCORES,
            "set_samples": SET_SAMPLES,
        },
        "code": "reporting/figures/probes.py",
    },
    "figure9": {
        "inputs": {"predictions": PREDICTIONS, "run_scores": RUN_SCORES, "set_scores": SET_SCORES},
        "code": "reporting/figures/probes.py",
    },
    "figure10": {"inputs": {"maps": ATTENTION_MAPS}, "code": "reporting/figures/maps.py"},
    "figure11": {"inputs": {"maps": SET_MAPS}, "code": "reporting/figures/maps.py"},
    "figure_audit": {"inputs": {"predictions": PREDICTIONS}, "code": "reporting/figures/audit.py"},
    "figure_emergence": {"inputs": READINGS, "code": "reporting/figures/emergence.py"},
    "figure_matrix": {"inputs": ANSWERED, "code": "reporting/figures/matrix.py"},
    "figure_recipes": {"inputs": PREDICTED, "code": "reporting/figures/recipes.py"},
    "figure_pareto": {"inputs": ANSWERED, "code": "reporting/figures/matrix.py"},
}
# The text under each table and figure, on the page and in Snakemake's report. A new one makes them again, which is cheap.
CAPTIONS = {
    name: (BASE / "workflow" / "report" / f"{name}.rst").read_text(encoding="utf-8")
    for name in [*TABLES, *FIGURES]
}
TABLE_FILES = expand("<results>/paper/{table}.{kind}", table=TABLES, kind=("csv", "md", "tex"))
FIGURE_FILES = expand("<results>/paper/{figure}.{kind}", figure=FIGURES, kind=("pdf", "png"))
PAPER = [*TABLE_FILES, *FIGURE_FILES, "<results>/paper/report.html"]


rule make_table:
    input:
        unpack(lambda wildcards: TABLES[wildcards.table]["inputs"]),
    output:
        csv=report("<results>/paper/{table}.csv", caption="../report/caption.rst", category="Tables"),
        md="<results>/paper/{table}.md",
        tex="<results>/paper/{table}.tex",
    log:
        "<results>/logs/paper/{table}.log",
    benchmark:
        "<results>/benchmarks/paper/{table}.tsv"
    wildcard_constraints:
        table="|".join(TABLES),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(6000),
        runtime=grows(60),
    params:
        caption=lambda wildcards: CAPTIONS[wildcards.table],
        options=lambda wildcards: TABLES[wildcards.table].get("options", {}),
        code=lambda wildcards: code_digest(TABLES[wildcards.table]["code"]),
    script:
        "../scripts/make_table.py"


rule draw_figure:
    input:
        unpack(lambda wildcards: FIGURES[wildcards.figure]["inputs"]),
    output:
        pdf="<results>/paper/{figure}.pdf",
        png=report("<results>/paper/{figure}.png", caption="../report/caption.rst", category="Figures"),
    log:
        "<results>/logs/paper/{figure}.log",
    benchmark:
        "<results>/benchmarks/paper/{figure}.tsv"
    wildcard_constraints:
        figure="|".join(FIGURES),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(6000),
        runtime=grows(60),
    params:
        caption=lambda wildcards: CAPTIONS[wildcards.figure],
        code=lambda wildcards: code_digest(FIGURES[wildcards.figure]["code"]),
    script:
        "../scripts/draw_figure.py"


rule report_page:
    input:
        shown=[
            *expand("<results>/paper/{table}.csv", table=TABLES),
            *expand("<results>/paper/{figure}.png", figure=FIGURES),
        ],
        notes=expand("<results>/paper/{table}.md", table=TABLES),
    output:
        page="<results>/paper/report.html",
    log:
        "<results>/logs/paper/report.log",
    benchmark:
        "<results>/benchmarks/paper/report.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        captions=CAPTIONS,
        facts=report_facts(),
        code=code_digest("reporting/page.py"),
    script:
        "../scripts/write_report.py"
