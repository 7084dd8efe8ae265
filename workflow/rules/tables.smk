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
        options={},
        code=code_digest("reporting/tables/accuracy.py"),
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
        options={},
        code=code_digest("reporting/tables/accuracy.py"),


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
        options={key: config["ablations"]["rho"][key] for key in ("benchmark", "budget")},
        code=code_digest("reporting/tables/ablations.py"),


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
        options={"benchmark": config["ablations"]["parts"]["benchmark"]},
        code=code_digest("reporting/tables/ablations.py"),


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
        options={},
        code=code_digest("reporting/tables/accuracy.py"),


use rule table1 as table_audit with:
    input:
        predictions=PREDICTIONS,
    output:
        csv=report(f"{OUT}/paper/table_audit.csv", caption="../report/table_audit.rst", category="Tables"),
        md=f"{OUT}/paper/table_audit.md",
        tex=f"{OUT}/paper/table_audit.tex",
    log:
        f"{OUT}/logs/paper/table_audit.log",
    benchmark:
        f"{OUT}/benchmarks/paper/table_audit.tsv"
    params:
        options={},
        code=code_digest("reporting/tables/ablations.py"),


use rule table1 as table_profile with:
    input:
        profile=PROFILE,
    output:
        csv=report(f"{OUT}/paper/table_profile.csv", caption="../report/table_profile.rst", category="Tables"),
        md=f"{OUT}/paper/table_profile.md",
        tex=f"{OUT}/paper/table_profile.tex",
    log:
        f"{OUT}/logs/paper/table_profile.log",
    benchmark:
        f"{OUT}/benchmarks/paper/table_profile.tsv"
    params:
        options={},
        code=code_digest("reporting/tables/profile.py"),


use rule table1 as comparison with:
    input:
        predictions=PREDICTIONS,
        paper="data/paper/accuracy.csv",
    output:
        csv=report(f"{OUT}/paper/comparison.csv", caption="../report/comparison.rst", category="Tables"),
        md=f"{OUT}/paper/comparison.md",
        tex=f"{OUT}/paper/comparison.tex",
    log:
        f"{OUT}/logs/paper/comparison.log",
    benchmark:
        f"{OUT}/benchmarks/paper/comparison.tsv"
    params:
        options={},
        code=code_digest("reporting/tables/comparison.py"),


use rule table1 as findings with:
    input:
        predictions=PREDICTIONS,
        masks=MASKS,
        efficiency=EFFICIENCY,
        scores=SCORES,
    output:
        csv=report(f"{OUT}/paper/findings.csv", caption="../report/findings.rst", category="Tables"),
        md=f"{OUT}/paper/findings.md",
        tex=f"{OUT}/paper/findings.tex",
    log:
        f"{OUT}/logs/paper/findings.log",
    benchmark:
        f"{OUT}/benchmarks/paper/findings.tsv"
    params:
        options={},
        code=code_digest("reporting/tables/findings.py"),
