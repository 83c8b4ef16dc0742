"""The verbs of fer_training: ``python -m fer_training VERB``, or ``ros2 run fer_training VERB``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from fer_perception.errors import FerError
from fer_perception.models.bundle import MANIFEST, Precision
from fer_training.datasets import SPLITS

if TYPE_CHECKING:
    from fer_training.evaluation.attention.landmark_fraction import AttentionMeter
    from fer_training.evaluation.attention.meter import ExplanationMeter
    from fer_training.runs.config import TrainConfig


def take_config(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verbs that make a run."""
    parser.add_argument("config", type=Path, help="YAML file, see src/fer_training/configs")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a value of the file")


def config_of(arguments: argparse.Namespace) -> TrainConfig:
    """The configuration that :func:`take_config`'s arguments name."""
    from fer_training.runs.config import load_config

    return load_config(arguments.config, arguments.overrides)


def add_train(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``train``."""
    parser.description = "Train a network, or go on with an interrupted run."
    parser.epilog = (
        "example: python -m fer_training train src/fer_training/configs/baseline.yaml data=fer2013:~/data/fer2013 "
        "epochs=30 network.options.width=0.5"
    )
    take_config(parser)

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.supervised import train

        print(train(config_of(arguments)))

    return run


def add_adapt(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``adapt``."""
    parser.description = "Adapt a trained network to unlabelled pictures of another domain, or go on with that."
    parser.epilog = (
        "example: python -m fer_training adapt src/fer_training/configs/dual_adaptive.yaml data=ferplus:~/data/fer2013 "
        "adaptation.start=runs/hybrid_attention_lite0_ferplus adaptation.target=manifest:~/data/robot"
    )
    take_config(parser)

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.domain_adaptation import adapt

        print(adapt(config_of(arguments)))

    return run


def add_prune(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``prune``."""
    parser.description = (
        "Remove the channels of a trained network that do least for its answers, by default as seen in the regions of "
        "eyes, brows and mouth, and train what is left; or go on with that."
    )
    parser.epilog = (
        "example: python -m fer_training prune src/fer_training/configs/landmark_compressed.yaml "
        "data=fer2013:~/data/fer2013 pruning.start=runs/hybrid_attention_lite0_robust pruning.macs=0.35"
    )
    take_config(parser)
    parser.add_argument(
        "--compare",
        action="store_true",
        help="instead prune once by each criterion, fine-tune for pruning.step_epochs, and write a table",
    )

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.pruning import compare_criteria, prune

        work = compare_criteria if arguments.compare else prune
        print(work(config_of(arguments)))

    return run


def add_interpolate(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``interpolate``."""
    parser.description = "Interpolate between the weights of a run and those of the run that it started from."
    parser.epilog = (
        "example: python -m fer_training interpolate --start runs/hybrid_attention_lite0_long "
        "--tuned runs/hybrid_attention_lite0_bad_light --data fer2013:~/data/fer2013 "
        "--out runs/hybrid_attention_lite0_robust"
    )
    parser.add_argument("--start", type=Path, required=True, help="run folder")
    parser.add_argument("--tuned", type=Path, required=True, help="folder of a run that was trained on from it")
    parser.add_argument("--share", type=float, default=0.5, help="of the tuned weights (default 0.5)")
    parser.add_argument("--data", required=True, metavar="NAME:PATH", help="what the runs were trained on")
    parser.add_argument("--out", type=Path, required=True, help="the new run's folder")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.interpolation import interpolate

        print(interpolate(arguments.start, arguments.tuned, arguments.share, arguments.data, arguments.out))

    return run


def stress(arguments: argparse.Namespace) -> None:
    """``evaluate --stress``: models on corrupted pictures."""
    from fer_training.evaluation.robustness import evaluate_stress, format_stress

    for option in ("record", "calibrate", "flip", "attention", "groups", "without_duplicates_of"):
        given = getattr(arguments, option)
        if given or (option == "attention" and given is not None):
            raise FerError(f"--stress: is measured on its own, without --{option.replace('_', '-')}")
    if len(arguments.dataset) > 1:
        raise FerError("--stress: takes one --dataset")
    models = [*([arguments.baseline] if arguments.baseline else []), *arguments.model]
    result, samples = evaluate_stress(
        models,
        arguments.dataset[0],
        arguments.split,
        arguments.stress,
        arguments.precision,
        arguments.threads,
        images=arguments.images or 0,
    )
    print(format_stress(result))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.plots:
        from fer_training.evaluation.robustness.pictures import plot_examples, plot_stress

        print(plot_stress(result, arguments.plots))
        print(plot_examples(result, samples, arguments.plots))


def conclude_risk_coverage(arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    """Print and draw what abstaining buys."""
    from fer_training.evaluation.risk_coverage import format_risk_coverage, plot_risk_coverage

    for dataset, values in result["datasets"].items():
        print(format_risk_coverage(dataset, values["risk_coverage"]))
        if arguments.plots:
            name = f"{dataset.replace(':', '_')}_{result['split']}_risk_coverage.png"
            title = f"{Path(result['model']).name} on {dataset}, {result['split']} split"
            print(plot_risk_coverage(values["risk_coverage"], title, arguments.plots / name))


def add_evaluate(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``evaluate``."""
    parser.description = (
        "Accuracy, macro-F1, AUROC, calibration error and confusion matrix of a bundle or a training run, with 95% "
        "bootstrap intervals."
    )
    parser.epilog = (
        "example: python -m fer_training evaluate --model src/fer_perception/models/baseline "
        "--dataset fer2013:~/data/fer2013 --split test --json result.json --plots out/baseline"
    )
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        required=True,
        help="folder of a bundle or of a training run; with --stress it may be given again",
    )
    parser.add_argument("--dataset", action="append", required=True, metavar="NAME:PATH", help="may be given again")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32", help="of a bundle (default fp32)")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime (default 1)")
    parser.add_argument("--flip", action="store_true", help="also with the mean over image and mirror image")
    parser.add_argument(
        "--without-duplicates-of",
        metavar="NAME:PATH",
        default="",
        help="also without the pictures that have a near-duplicate in this dataset's training split",
    )
    parser.add_argument(
        "--attention",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="of a training run: how much attention rests on eyes, brows and mouth; with a folder also whether "
        "the maps can be believed, with pictures and JSON there (docs/attention.md)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="first fit the temperature on this dataset and write it into the bundle's manifest; with --split val",
    )
    parser.add_argument(
        "--risk-coverage",
        action="store_true",
        help="also what abstaining on unsure faces buys; with --record --split val, the threshold at which 80%% are "
        "answered is written into the bundle's manifest",
    )
    parser.add_argument(
        "--groups", nargs="+", metavar="COLUMN", default=(), help="compare the groups that these columns name"
    )
    parser.add_argument(
        "--stress",
        nargs="*",
        metavar="CORRUPTION",
        help="instead, accuracy under these corruptions (all without a name) at five severities; with --plots, curves "
        "and a sheet of examples",
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="MODEL", help="what --stress compares to (default: the first --model)"
    )
    parser.add_argument(
        "--images",
        type=int,
        help="so many of each dataset, always the same: for --stress (default: all) and --attention FOLDER (210)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument(
        "--plots",
        type=Path,
        metavar="FOLDER",
        help="draw confusion matrix and reliability diagram of each dataset, and attention",
    )
    parser.add_argument("--record", action="store_true", help="write the metrics into the bundle's manifest")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.evaluation.evaluate import calibrate, evaluate, format_calibration, format_result, record

        if arguments.stress is not None:
            stress(arguments)
            return
        if len(arguments.model) > 1 or arguments.baseline:
            raise FerError("--model: is given once, and no --baseline, but with --stress")
        (arguments.model,) = arguments.model
        if arguments.risk_coverage and arguments.record and arguments.split == "val" and len(arguments.dataset) > 1:
            raise FerError("--risk-coverage --record: the threshold is chosen on one --dataset")
        for option in ("record", "calibrate"):
            if getattr(arguments, option) and not (arguments.model / MANIFEST).exists():
                raise FerError(f"--{option}: {arguments.model} is no bundle")
        if arguments.calibrate and (arguments.split != "val" or len(arguments.dataset) > 1):
            raise FerError("--calibrate: takes --split val, as the test split must stay unseen, and one --dataset")
        model, precision, threads = arguments.model, arguments.precision, arguments.threads
        fitted = calibrate(model, arguments.dataset[0], precision, threads) if arguments.calibrate else None
        meter: AttentionMeter | ExplanationMeter | None = None
        if arguments.attention == "":
            from fer_training.evaluation.attention.landmark_fraction import AttentionMeter

            meter = AttentionMeter(model, arguments.plots)
        elif arguments.attention:
            from fer_training.evaluation.attention.meter import CHECKED, ExplanationMeter

            images = CHECKED if arguments.images is None else arguments.images
            meter = ExplanationMeter(model, Path(arguments.attention), images, arguments.plots)
        result = evaluate(
            model,
            arguments.dataset,
            arguments.split,
            precision,
            threads,
            arguments.flip,
            meter,
            arguments.without_duplicates_of,
            arguments.groups,
            arguments.risk_coverage,
        )
        if fitted:
            result["calibration"] = fitted
            print(format_calibration(fitted))
        print(format_result(result))
        if arguments.risk_coverage:
            conclude_risk_coverage(arguments, result)
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        if arguments.plots:
            from fer_training.reporting.plots import plot_result

            for file in plot_result(result, arguments.plots):
                print(file)
            if arguments.groups:
                from fer_training.evaluation.fairness_plots import plot_groups

                for file in plot_groups(result, arguments.plots):
                    print(file)
        for file in meter.files if meter else []:
            print(file)
        if arguments.record:
            record(model, result)
            if arguments.risk_coverage and arguments.split == "val":
                from fer_training.evaluation.risk_coverage import choose_threshold

                ((dataset, measured),) = result["datasets"].items()
                print(choose_threshold(model, dataset, measured["risk_coverage"]))

    return run


def add_export(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``export``."""
    parser.description = "Make a model bundle from a training run, or add the attention map to a bundle."
    parser.epilog = "example: python -m fer_training export --run runs/baseline --out src/fer_perception/models"
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="the run's folder")
    source.add_argument(
        "--bundle", type=Path, help="instead, cut attention.onnx out of this bundle's fp32.onnx; its records are kept"
    )
    parser.add_argument("--out", type=Path, help="with --run: the bundle becomes the folder OUT/NAME")
    parser.add_argument(
        "--attention",
        type=Path,
        metavar="FILE",
        help="also write an ONNX file that gives logits and all attention maps",
    )

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.export.attention import add_attention
        from fer_training.export.onnx import export, export_attention

        if (arguments.out is None) != (arguments.run is None):
            raise FerError("--out: goes with --run, where it is the folder that gets the bundle's folder")
        if arguments.bundle:
            if arguments.attention:
                raise FerError("--attention: takes a --run, as the file of a --bundle has one map only")
            print(add_attention(arguments.bundle))
            return
        print(export(arguments.run, arguments.out))
        if arguments.attention:
            export_attention(arguments.run, arguments.attention)
            print(arguments.attention)

    return run


def add_quantize(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``quantize``."""
    parser.description = (
        "Add fp16.onnx and int8.onnx to a bundle, for ONNX Runtime and TensorRT. Blocks that lose most in int8 are "
        "found on the validation split and stay in floating point."
    )
    parser.epilog = (
        "example: python -m fer_training quantize --bundle src/fer_perception/models/baseline "
        "--data fer2013:~/data/fer2013; then: evaluate --model src/fer_perception/models/baseline --precision int8 "
        "--dataset fer2013:~/data/fer2013 --record"
    )
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--data", required=True, metavar="NAME:PATH", help="what the model was trained on")
    parser.add_argument(
        "--images", type=int, default=1024, help="of the training split, for calibration (default 1024)"
    )
    parser.add_argument(
        "--agreement",
        type=float,
        default=0.99,
        help="share of validation images to which int8 gives the same label as float32 (default 0.99)",
    )

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.export.quantization import quantize

        if arguments.images < 1:
            raise FerError("--images: must be at least 1, and should be at least 500")
        facts = quantize(arguments.bundle, arguments.data, arguments.images, arguments.agreement)
        print(json.dumps(facts, indent=2))

    return run


def add_teach(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``teach``."""
    parser.description = (
        "Cache what an ensemble of training runs, or FER+'s annotators, say about training data, for distillation."
    )
    parser.epilog = (
        "example: python -m fer_training teach --run runs/a --run runs/b --data fer2013:~/data/fer2013 --out "
        "runs/teachers.safetensors; then: train CONFIG distillation.answers=runs/teachers.safetensors"
    )
    teachers = parser.add_mutually_exclusive_group(required=True)
    teachers.add_argument("--run", type=Path, action="append", help="a teacher's folder; may be given again")
    teachers.add_argument("--annotators", action="store_true", help="FER+'s votes on the pictures of fer2013")
    parser.add_argument("--data", required=True, metavar="NAME:PATH", help="the student's training data")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .safetensors file")

    def run(arguments: argparse.Namespace) -> None:
        from fer_training.training.soft_targets import teach, teach_by_annotators

        if arguments.annotators:
            share = teach_by_annotators(arguments.data, arguments.out)
            print(f"{arguments.out}: the votes tell {share:.1%} of the validation split's labels")
        else:
            teach(arguments.run, arguments.data, arguments.out)

    return run


def add_report(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Arguments of ``report``."""
    parser.description = (
        "Write a model card into every bundle (README.md), and a table and a picture of all of them (results.md, "
        "accuracy.png), from their manifests alone: what is not recorded there is 'not measured'. With --measured also "
        "the paper's claims beside our own figures (claims.md, claims.html)."
    )
    parser.epilog = (
        "example: python -m fer_training report --bundles src/fer_perception/models --measured docs/results/measured "
        "--out docs/results"
    )
    parser.add_argument("--bundles", type=Path, help="the folder that holds the bundles' folders")
    parser.add_argument("--out", type=Path, help="folder for what is written beside the model cards")
    parser.add_argument(
        "--speed", type=Path, metavar="FILE", help="result of fer_perception's benchmark --engines: speed.md, speed.png"
    )
    parser.add_argument(
        "--measured", type=Path, metavar="FOLDER", help="what --commands measured: claims.md, claims.html"
    )
    parser.add_argument(
        "--commands",
        action="store_true",
        help="instead print, as a bash script, the commands that fill --measured, without those that are done",
    )

    def run(arguments: argparse.Namespace) -> None:
        if arguments.commands:
            from fer_training.reporting.paper import measuring_script

            if not arguments.measured:
                raise FerError("--commands: which folder are they to fill? Give --measured FOLDER")
            print(measuring_script(arguments.measured), end="")
            return
        if not arguments.out or not (arguments.bundles or arguments.measured):
            raise FerError("give --out FOLDER, and --bundles FOLDER, --measured FOLDER or both")
        if arguments.speed and not arguments.bundles:
            raise FerError("--speed: give --bundles, too")
        files: list[Path] = []
        if arguments.bundles:
            from fer_training.reporting import report

            files += report(arguments.bundles, arguments.out, arguments.speed)
        if arguments.measured:
            from fer_training.reporting.paper import report_claims

            files += report_claims(arguments.measured, arguments.out)
        for file in files:
            print(file)

    return run


VERBS = {
    "train": add_train,
    "teach": add_teach,
    "adapt": add_adapt,
    "interpolate": add_interpolate,
    "prune": add_prune,
    "evaluate": add_evaluate,
    "export": add_export,
    "quantize": add_quantize,
    "report": add_report,
}


def main(arguments: list[str] | None = None) -> None:
    """Command line. A user's error ends in one line, not a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="fer_training", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, add in VERBS.items():
        subparser = verbs.add_parser(name)
        subparser.set_defaults(execute=add(subparser))
    parsed = parser.parse_args(arguments)
    try:
        parsed.execute(parsed)
    except (FerError, OSError) as error:
        sys.exit(f"{parsed.verb}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def executable() -> None:
    """Entry point of all that ``ros2 run fer_training`` starts; the started file's name is the verb."""
    main([Path(sys.argv[0]).name, *sys.argv[1:]])


if __name__ == "__main__":
    main()
