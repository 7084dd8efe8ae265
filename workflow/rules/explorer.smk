# The explorer: one page in which a reader looks into the run, from result files. Nothing here imports torch.
EXPLORER = "<results>/paper/explorer.html"


rule explorer_page:
    input:
        scores=SCORES,
        keep=KEEP,
        pages=recorded(HEAD_PAGES),
        heads=recorded(HEAD_MAPS),
        ranks=recorded(TOKEN_RANKS),
        kept=recorded(PAGE_KEEP),
        predictions=PREDICTIONS,
        run_scores=RUN_SCORES,
        efficiency=EFFICIENCY,
    output:
        page="<results>/paper/explorer.html",
    log:
        "<results>/logs/paper/explorer.log",
    benchmark:
        "<results>/benchmarks/paper/explorer.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(3000),
        runtime=grows(20),
    params:
        facts=report_facts(),
        code=code_digest("reporting/explorer/page.py"),
        files=digest.files_digest(BASE / "src" / "sparsemm" / "reporting" / "explorer"),
    script:
        "../scripts/write_explorer.py"
