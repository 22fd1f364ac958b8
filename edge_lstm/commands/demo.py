"""``edge-lstm demo``: the main job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from edge_lstm import run_files
from edge_lstm.backends import DEFAULT
from edge_lstm.commands.common import json_option, note, print_json, print_table, progress
from edge_lstm.errors import check_installed

DATA = "basic-motions"
CORES = ("cortex-m4", "cortex-m0plus")
NEEDED = ("aeon", "torch", "onnx", "onnxruntime", "jinja2", "ziglang", "unicorn", "elftools", "matplotlib")


@click.command(epilog="Example: edge-lstm demo --out demo-run")
@click.option("--out", default="demo-run", show_default=True, metavar="DIR", help="Folder to write.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other things, which are kept.")
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Trainings of each kind.")
@click.option("--epochs", type=click.IntRange(1), help="Of each training; by default what the recipe says.")
@json_option
def command(out: str, force: bool, seeds: int, epochs: int | None, as_json: bool) -> None:
    """Do the main job: real smart-watch recordings become a trained hard-gate LSTM, float ONNX, a fixed-point model
    whose integers are the same in all backends, firmware on an emulated Cortex-M, and a report."""
    from edge_lstm.codec import digest
    from edge_lstm.cost import simulate
    from edge_lstm.data import load, train_test
    from edge_lstm.files import check_output_folder, output_folder
    from edge_lstm.importer import import_own
    from edge_lstm.oracle import run_onnxruntime
    from edge_lstm.recipes import BASIC_MOTIONS
    from edge_lstm.report import write_report
    from edge_lstm.report.results import SimulateInfo, VerifyInfo
    from edge_lstm.run_writer import Run, results, write_models, write_results
    from edge_lstm.study import Progress, train_all
    from edge_lstm.verification import verify

    check_installed(*NEEDED, extra="all", purpose="for the demo")
    check_output_folder(out, force=force)
    training, test = train_test(load(DATA))
    recipe = replace(BASIC_MOTIONS, epochs=epochs or BASIC_MOTIONS.epochs)
    kinds = [replace(recipe, gates="hard"), replace(recipe, gates="soft", quantized_from=1.0)]
    recipes = [replace(kind, seed=seed) for kind in kinds for seed in range(seeds)]
    note(f"{DATA}: {len(training)} training and {len(test)} test windows; {len(recipes)} trainings")
    done = [0] * len(recipes)
    with progress("train") as update:

        def show(event: Progress) -> None:
            done[event.job] = event.epoch.number
            job = recipes[event.job]
            text = f"{job.gates} gates, seed {job.seed}, {event.epoch.phase}, loss {event.epoch.loss:.3f}"
            update(sum(done), len(recipes) * recipe.epochs, text)

        trained = train_all(training, recipes, on_progress=show)
    runs = [Run(recipe, result) for recipe, result in zip(recipes, trained, strict=True)]
    shipped = runs[0]
    model = shipped.trained.quantized
    with output_folder(out, force=force) as folder:
        write_models(folder, shipped, test)
        onnx_file = folder / run_files.ONNX
        if digest(import_own(onnx_file)) != digest(shipped.trained.float_model):
            raise click.ClickException("the float ONNX file does not hold the trained weights")
        backends = (*DEFAULT, "torch")
        with progress("verify") as update:
            count = iter(range(len(backends) + 1))
            verification = verify(
                model,
                test.x,
                backends=backends,
                trace="all",
                float_scores=lambda x: run_onnxruntime(onnx_file, x)["scores"],
                progress=lambda name: update(next(count), len(backends) + 1, f"verify {name}"),
            )
        costs = []
        for core in CORES:
            with progress(core) as update:
                costs.append(simulate(model, test.x, device=core, progress=update))
        title = f"{DATA}, {recipe.cell} of {recipe.hidden} units"
        found = results(
            title,
            training,
            test,
            runs,
            shipped,
            verify=VerifyInfo.model_validate(verification.to_json()),
            simulate=[SimulateInfo.model_validate(cost.to_json()) for cost in costs],
        )
        write_results(folder, found)
        write_report([folder], folder / run_files.REPORT)
    report = Path(out) / run_files.REPORT
    if as_json:
        print_json({"report": str(report), **found.model_dump(mode="json", exclude={"curves"})})
    else:
        rows = []
        for row in found.accuracy:
            values = list(row.by_seed.values())
            rows.append([row.model, f"{sum(values) / len(values):.1%}", f"{min(values):.1%} to {max(values):.1%}"])
        print_table(f"Test accuracy over {seeds} seeds", ["model", "mean", "range"], rows)
        equal = "equal" if verification.equal else "NOT EQUAL"
        print_table(
            "Shipped: hard gates, seed 0",
            ["", ""],
            [
                [f"{verification.compared:,} integers in {', '.join(verification.backends)}", equal],
                *([f"instructions per step on {c.core}", f"{c.instructions_per_step.mean:,.0f}"] for c in costs),
                *(
                    [f"flash and RAM on {c.core} [bytes]", f"{c.flash_bytes['total']:,} and {c.ram_bytes['total']:,}"]
                    for c in costs
                ),
            ],
        )
        click.echo(f"\nreport: {report}")
    if not (verification.equal and verification.within_bound):
        raise click.exceptions.Exit(1)
