# Tables and figures from result files, and a page of them. Nothing here imports torch.


rule figure2:
    input:
        scores=SCORES,
        samples=SAMPLES,
    output:
        pdf=f"{OUT}/paper/figure2.pdf",
        png=report(f"{OUT}/paper/figure2.png", caption="../report/figure2.rst", category="Figures"),
    log:
        f"{OUT}/logs/paper/figure2.log",
    benchmark:
        f"{OUT}/benchmarks/paper/figure2.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        code=code_digest("reporting/figures/heatmap.py"),
    script:
        "../scripts/draw_figure.py"


use rule figure2 as figure4 with:
    input:
        predictions=PREDICTIONS,
    output:
        pdf=f"{OUT}/paper/figure4.pdf",
        png=report(f"{OUT}/paper/figure4.png", caption="../report/figure4.rst", category="Figures"),
    log:
        f"{OUT}/logs/paper/figure4.log",
    benchmark:
        f"{OUT}/benchmarks/paper/figure4.tsv"
    params:
        code=code_digest("reporting/figures/accuracy.py"),


use rule figure2 as figure6 with:
    input:
        efficiency=EFFICIENCY,
    output:
        pdf=f"{OUT}/paper/figure6.pdf",
        png=report(f"{OUT}/paper/figure6.png", caption="../report/figure6.rst", category="Figures"),
    log:
        f"{OUT}/logs/paper/figure6.log",
    benchmark:
        f"{OUT}/benchmarks/paper/figure6.tsv"
    params:
        code=code_digest("reporting/figures/efficiency.py"),


use rule figure2 as figure7 with:
    input:
        masks=MASKS,
    output:
        pdf=f"{OUT}/paper/figure7.pdf",
        png=report(f"{OUT}/paper/figure7.png", caption="../report/figure7.rst", category="Figures"),
    log:
        f"{OUT}/logs/paper/figure7.log",
    benchmark:
        f"{OUT}/benchmarks/paper/figure7.tsv"
    params:
        code=code_digest("reporting/figures/masking.py"),


use rule figure2 as figure10 with:
    input:
        maps=ATTENTION_MAPS,
    output:
        pdf=f"{OUT}/paper/figure10.pdf",
        png=report(f"{OUT}/paper/figure10.png", caption="../report/figure10.rst", category="Figures"),
    log:
        f"{OUT}/logs/paper/figure10.log",
    benchmark:
        f"{OUT}/benchmarks/paper/figure10.tsv"
    params:
        code=code_digest("reporting/figures/maps.py"),


use rule figure2 as figure_audit with:
    input:
        predictions=PREDICTIONS,
    output:
        pdf=f"{OUT}/paper/figure_audit.pdf",
        png=report(f"{OUT}/paper/figure_audit.png", caption="../report/figure_audit.rst", category="Figures"),
    log:
        f"{OUT}/logs/paper/figure_audit.log",
    benchmark:
        f"{OUT}/benchmarks/paper/figure_audit.tsv"
    params:
        code=code_digest("reporting/figures/audit.py"),


rule report_page:
    input:
        TABLE_CSV,
        FIGURE_PNG,
    output:
        page=f"{OUT}/paper/report.html",
    log:
        f"{OUT}/logs/paper/report.log",
    benchmark:
        f"{OUT}/benchmarks/paper/report.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        captions=captions(),
        facts=report_facts(),
        code=code_digest("reporting/page.py"),
    script:
        "../scripts/write_report.py"
