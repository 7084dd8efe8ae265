# What a run will need, said before its first hour. Never part of the default run.


localrules:
    preflight,


# Without output, and benchmark, which counts as one: what is free and what the hub allows change, so that it runs
# whenever it is asked for, and its report, <results>/preflight.md, stays where something is missing.
rule preflight:
    log:
        "<results>/logs/preflight.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(30),
    params:
        config=config,
        cells={benchmark: cells_of(benchmark) for benchmark in config["benchmarks"]},
        jobs={
            "probe": len(PROBES) + len(SET_PROBES),
            "patches": len(PATCHES) + len(SET_PATCHES),
            "scores": len(SCORES) + len(SET_SCORES),
            "budget": len(KEEP),
            "predictions": len(PREDICTIONS),
            "masks": len(MASKS),
            "attention maps": len(ATTENTION_MAPS) + len(SET_MAPS) + len(PAGE_KEEP),
            "efficiency": len(TIMED) * len(config["efficiency"]["tokens"]),
        },
        results=RUN_FOLDER,
        gpus=gpus_granted(),
        code=code_digest("preflight/check.py", "preflight/report.py", *BENCHMARKS_CODE),
    script:
        "../scripts/preflight.py"
