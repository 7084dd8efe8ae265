# Tables and figures from result files, and a page of them. Nothing here imports torch.
# To add one: a function in TABLES or FIGURES of sparsemm.reporting, an entry here, and its caption in workflow/report.

# By name: the function's inputs, the file it is in, and further arguments.
TABLES = {
    "findings": {
        "inputs": {"predictions": PREDICTIONS, "masks": MASKS, "efficiency": EFFICIENCY, "scores": SCORES},
        "code": "reporting/tables/findings.py",
    },
    "table1": {"inputs": {"predictions": PREDICTIONS}, "code": "reporting/tables/accuracy.py"},
    "table2": {
        "inputs": {"predictions": PREDICTIONS, "efficiency": EFFICIENCY},
        "code": "reporting/tables/accuracy.py",
    },
    "table3": {
        "inputs": {"predictions": PREDICTIONS},
        "code": "reporting/tables/ablations.py",
        "options": {key: config["ablations"].get("rho", {}).get(key) for key in ("benchmark", "budget")},
    },
    "table4": {
        "inputs": {"predictions": PREDICTIONS},
        "code": "reporting/tables/ablations.py",
        "options": {"benchmark": config["ablations"].get("parts", {}).get("benchmark")},
    },
    "table5": {"inputs": {"predictions": PREDICTIONS}, "code": "reporting/tables/accuracy.py"},
    "table_audit": {"inputs": {"predictions": PREDICTIONS}, "code": "reporting/tables/ablations.py"},
    "table_profile": {"inputs": {"profile": PROFILE}, "code": "reporting/tables/profile.py"},
    "comparison": {
        "inputs": {"predictions": PREDICTIONS, "paper": "data/paper/accuracy.csv"},
        "code": "reporting/tables/comparison.py",
    },
}
FIGURES = {
    "figure_patches": {
        "inputs": {"patches": PATCHES, "probe": PROBES},
        "code": "reporting/figures/patches.py",
    },
    "figure2": {"inputs": {"scores": SCORES, "samples": SAMPLES}, "code": "reporting/figures/heatmap.py"},
    "figure4": {"inputs": {"predictions": PREDICTIONS}, "code": "reporting/figures/accuracy.py"},
    "figure6": {"inputs": {"efficiency": EFFICIENCY}, "code": "reporting/figures/efficiency.py"},
    "figure7": {"inputs": {"masks": MASKS}, "code": "reporting/figures/masking.py"},
    "figure10": {"inputs": {"maps": ATTENTION_MAPS}, "code": "reporting/figures/maps.py"},
    "figure_audit": {"inputs": {"predictions": PREDICTIONS}, "code": "reporting/figures/audit.py"},
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
        mem_mb=1500,
        runtime=10,
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
        mem_mb=1500,
        runtime=10,
    params:
        caption=lambda wildcards: CAPTIONS[wildcards.figure],
        code=lambda wildcards: code_digest(FIGURES[wildcards.figure]["code"]),
    script:
        "../scripts/draw_figure.py"


rule report_page:
    input:
        expand("<results>/paper/{table}.csv", table=TABLES),
        expand("<results>/paper/{figure}.png", figure=FIGURES),
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
        mem_mb=1000,
        runtime=10,
    params:
        captions=CAPTIONS,
        facts=report_facts(),
        code=code_digest("reporting/page.py"),
    script:
        "../scripts/write_report.py"
