# Tables from result files: csv for reading on, markdown, LaTeX. Nothing here imports torch.


rule table1:
    input:
        predictions=PREDICTIONS,
    output:
        csv=report(f"{OUT}/paper/table1.csv", caption="../report/table1.rst", category="Tables"),
        md=f"{OUT}/paper/table1.md",
        tex=f"{OUT}/paper/table1.tex",
    log:
        f"{OUT}/logs/paper/table1.log",
    benchmark:
        f"{OUT}/benchmarks/paper/table1.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        code=code_digest("tables/__init__.py"),
    script:
        "../scripts/make_table.py"


use rule table1 as table2 with:
    input:
        predictions=PREDICTIONS,
        efficiency=EFFICIENCY,
    output:
        csv=report(f"{OUT}/paper/table2.csv", caption="../report/table2.rst", category="Tables"),
        md=f"{OUT}/paper/table2.md",
        tex=f"{OUT}/paper/table2.tex",
    log:
        f"{OUT}/logs/paper/table2.log",
    benchmark:
        f"{OUT}/benchmarks/paper/table2.tsv"
    params:
        code=code_digest("tables/__init__.py"),


use rule table1 as table3 with:
    input:
        predictions=PREDICTIONS,
    output:
        csv=report(f"{OUT}/paper/table3.csv", caption="../report/table3.rst", category="Tables"),
        md=f"{OUT}/paper/table3.md",
        tex=f"{OUT}/paper/table3.tex",
    log:
        f"{OUT}/logs/paper/table3.log",
    benchmark:
        f"{OUT}/benchmarks/paper/table3.tsv"
    params:
        code=code_digest("tables/__init__.py"),


use rule table1 as table4 with:
    input:
        predictions=PREDICTIONS,
    output:
        csv=report(f"{OUT}/paper/table4.csv", caption="../report/table4.rst", category="Tables"),
        md=f"{OUT}/paper/table4.md",
        tex=f"{OUT}/paper/table4.tex",
    log:
        f"{OUT}/logs/paper/table4.log",
    benchmark:
        f"{OUT}/benchmarks/paper/table4.tsv"
    params:
        code=code_digest("tables/__init__.py"),


use rule table1 as table5 with:
    input:
        predictions=PREDICTIONS,
    output:
        csv=report(f"{OUT}/paper/table5.csv", caption="../report/table5.rst", category="Tables"),
        md=f"{OUT}/paper/table5.md",
        tex=f"{OUT}/paper/table5.tex",
    log:
        f"{OUT}/logs/paper/table5.log",
    benchmark:
        f"{OUT}/benchmarks/paper/table5.tsv"
    params:
        code=code_digest("tables/__init__.py"),
