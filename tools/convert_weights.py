"""`python -m tools.convert_weights`: convert published weights to safetensors with a card.

The supported detectors are Action Genome's `faster_rcnn_ag.pth` (jwyang), detectron2's `.pkl` and
`.pth` files, and torchvision's `.pth` files. The supported relation predictors are STTran's `.tar`
files. Code inside a file is never run (`weights_only=True` or a restricted unpickler). The weights
may be nested, have prefixes such as `module.`, and be stored beside other values. The layout
is inferred from the tensor names, and the sizes from the tensor shapes. The optimiser state is not
converted, and the tensors of a detector are renamed. The tensors must match the parameters of the
network exactly.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from detection.build import build_detector
from detection.layouts import LAYOUTS, measure_network, recognise_layout, shift_norm_epsilon
from pipeline.datasets.vocabulary import Vocabulary, load_vocabulary
from pipeline.errors import UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from pipeline.runtime.files import file_sha256
from pipeline.weights.cards import save_carded
from pipeline.weights.checkpoints import read_checkpoint
from pipeline.weights.class_names import match_names
from pipeline.weights.detector_card import DetectorCard
from pipeline.weights.loading import load_state
from pipeline.weights.predictor_card import PredictorCard
from pipeline.weights.published import Published, check_name
from relations.measure import is_predictor, measure_predictor
from relations.sttran import STTran

EXAMPLE = "python -m tools.convert_weights faster_rcnn_ag.pth detector.safetensors"
NORM_EPSILON = 1e-5
State = dict[str, torch.Tensor]


def main(argv: list[str]) -> int:
    """Run the conversion and return the exit code."""
    prog = "python -m tools.convert_weights"
    parser = common_parser(prog, __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument("checkpoint", type=Path, help="FILE.pth, FILE.pkl or FILE.tar to convert")
    parser.add_argument("out", type=Path, help="FILE.safetensors to write; the card is FILE.json")
    parser.add_argument(
        "--vocabulary", default="action_genome", help="vocabulary with the class names in order"
    )
    parser.add_argument(
        "--classes",
        type=Path,
        help="text file of class names, one per line, in any spelling; a first line "
        "__background__ is skipped",
    )
    parser.add_argument(
        "--norm-epsilon",
        type=float,
        help="epsilon of batch normalisation (default: that of a known file, or 1e-5)",
    )
    parser.add_argument(
        "--heads", type=int, default=8, help="attention heads of a relation predictor"
    )
    args, _ = parse_words(parser, argv)
    if args.out.suffix != ".safetensors":
        raise UsageError(f"OUT: a name that ends in .safetensors expected, got {args.out.name}")
    beside = args.out.with_suffix(".json")
    if args.out.is_dir() or beside.is_dir():
        raise UsageError(f"OUT: a file expected, but {args.out} or {beside} is a folder")
    if args.norm_epsilon is not None and not 0 <= args.norm_epsilon < 1:
        raise UsageError(f"--norm-epsilon: 0 to 1 expected, got {args.norm_epsilon}")
    args.known = check_name(args.checkpoint) if args.checkpoint.is_file() else None
    state = read_checkpoint(args.checkpoint)
    origin = {"file": args.checkpoint.name, "sha256": file_sha256(args.checkpoint)}
    try:
        describe = _describe_predictor if is_predictor(state) else _describe_detector
        card, converted, told = describe(state, args)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        sha256 = save_carded(args.out, converted, replace(card, details={"source": origin}))
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        raise UsageError(
            f"{args.checkpoint}: weights of {_kind(state)} expected: {error}"
        ) from error
    except OSError as error:
        raise UsageError(f"OUT: cannot write {args.out}: {error}") from error
    told |= {"sha256": sha256, "tensors": len(converted), "out": str(args.out)}
    print(json.dumps(told, indent=2))
    return EXIT_OK


def _kind(state: State) -> str:
    if is_predictor(state):
        return "STTran"
    known = any(layout.mark in state for layout in LAYOUTS)
    return "a Faster R-CNN" if known else "a Faster R-CNN or of STTran"


def _describe_detector(state: State, args: Any) -> tuple[DetectorCard, State, dict[str, Any]]:
    known: Published | None = args.known
    classes = _classes(args.classes, args.vocabulary)
    if known is not None and args.classes is None:
        classes = known.classes
    epsilon = args.norm_epsilon
    if epsilon is None:
        epsilon = NORM_EPSILON if known is None else known.norm_epsilon
    card, converted = convert(state, classes, epsilon)
    told = {"preset": card.preset, "depth": card.depth, "classes": len(classes)}
    return card, converted, told


def _describe_predictor(state: State, args: Any) -> tuple[PredictorCard, State, dict[str, Any]]:
    if args.classes is not None:
        raise UsageError(
            f"--classes: a detector expected, but {args.checkpoint} contains weights of STTran; "
            "name its classes and predicates with --vocabulary NAME"
        )
    card = describe_predictor(state, load_vocabulary(args.vocabulary), args.heads)
    return card, state, {"predictor": "STTran", "width": card.settings.width}


def describe_predictor(state: State, vocabulary: Vocabulary, heads: int) -> PredictorCard:
    """Create the card of a relation predictor in STTran's layout.

    Args:
        state: tensors of the predictor.
        vocabulary: names of the object classes and predicates.
        heads: number of attention heads.

    Returns:
        Card of the predictor.

    Raises:
        ValueError: if the vocabulary has another number of classes or predicates, or
            if the tensors do not match the parameters of the network or are not finite.
    """
    settings = measure_predictor(state, heads)
    found = (settings.num_objects, *settings.groups.values())
    wanted = (len(vocabulary.objects), *vocabulary.group_sizes.values())
    if found != wanted:
        raise ValueError(
            f"numbers of object classes and predicates {wanted} of the vocabulary expected, got "
            f"{found}; use another --vocabulary NAME"
        )
    with torch.device("meta"):
        model = STTran(settings)
    load_state(model, state, only_check=True)
    return PredictorCard(
        settings=settings,
        objects=vocabulary.objects,
        predicate_groups=vocabulary.predicate_groups,
        detector=None,
        origin="converted from STTran's layout by tools.convert_weights",
    )


def convert(
    state: State, classes: tuple[str, ...], norm_epsilon: float
) -> tuple[DetectorCard, State]:
    """Rename the tensors of a detector and create its card.

    Args:
        state: tensors in the layout of another project.
        classes: names of the object classes, without background.
        norm_epsilon: epsilon of batch normalisation in the network of the checkpoint.

    Returns:
        Card of the detector, and the renamed tensors.

    Raises:
        ValueError: if the layout is unknown, if the number of classes differs from `classes`, or if
            the tensors do not match the parameters of the network or are not finite.
    """
    layout = recognise_layout(state)
    converted = layout.convert(state)
    size, num_classes = measure_network(converted)
    if num_classes != len(classes):
        raise ValueError(
            f"{len(classes)} object classes without background expected, got {num_classes}; name "
            "them with --classes FILE or --vocabulary NAME"
        )
    if norm_epsilon != NORM_EPSILON:
        converted = shift_norm_epsilon(converted, norm_epsilon, NORM_EPSILON)
    with torch.device("meta"):
        detector = build_detector(num_classes=num_classes, preset=layout.preset, size=size)
    load_state(detector, converted, only_check=True)
    card = DetectorCard(
        preset=layout.preset,
        classes=classes,
        short_side=None,
        origin=f"converted from the layout of {layout.preset} by tools.convert_weights",
        **asdict(size),
    )
    return card, converted


def _classes(path: Path | None, name: str) -> tuple[str, ...]:
    vocabulary = load_vocabulary(name)
    if path is None:
        return vocabulary.objects
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes: a text file expected: {error}") from error
    classes = match_names([line for line in lines if line], vocabulary)
    if len(set(classes)) < len(classes) or classes[:1] != ("person",):
        raise UsageError(f"--classes: unique names with person first expected in {path}")
    return classes


if __name__ == "__main__":
    run_command(main)
