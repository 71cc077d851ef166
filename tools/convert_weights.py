"""`python -m tools.convert_weights`: a published checkpoint becomes safetensors with a card.

Reads Action Genome's `faster_rcnn_ag.pth` (jwyang layout) with `weights_only=True`, strips the
optimiser, renames the tensors to ours, and makes sure that they fill the network.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from detection.build import build_detector
from detection.weights import from_jwyang, load_state
from pipeline.command_line import EXIT_OK, common_parser, parse_words, run_command
from pipeline.errors import UsageError
from pipeline.files import file_sha256, write_atomically, write_json
from pipeline.vocabulary import load_vocabulary

EXAMPLE = "python -m tools.convert_weights faster_rcnn_ag.pth detector.safetensors"


def main(argv: list[str]) -> int:
    """Run the conversion; returns the exit code."""
    parser = common_parser("python -m tools.convert_weights", __doc__ or "", EXAMPLE)
    parser.add_argument("checkpoint", type=Path, help="faster_rcnn_ag.pth")
    parser.add_argument("out", type=Path, help="FILE.safetensors; FILE.json is its card")
    parser.add_argument("--vocabulary", default="action_genome")
    args, words = parse_words(parser, argv)
    if words:
        raise UsageError(f"no key=value settings expected, got {words[0]!r}")
    if args.out.suffix != ".safetensors":
        raise UsageError(f"OUT: a name that ends in .safetensors expected, got {args.out.name}")
    vocabulary = load_vocabulary(args.vocabulary)
    state = read_checkpoint(args.checkpoint)
    try:
        converted = from_jwyang(state)
        load_state(build_detector(num_classes=len(vocabulary.objects)), converted)
    except ValueError as error:
        raise UsageError(f"{args.checkpoint}: {error}") from error
    tensors = {name: value.contiguous() for name, value in converted.items()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out, save(tensors))
    card = {
        "origin": args.checkpoint.name,
        "origin_sha256": file_sha256(args.checkpoint),
        "preset": "action-genome",
        "objects": list(vocabulary.objects),
        "sha256": file_sha256(args.out),
        "tensors": len(tensors),
    }
    write_json(args.out.with_suffix(".json"), card)
    print(json.dumps(card | {"objects": len(vocabulary.objects)}, indent=2))
    return EXIT_OK


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The `model` entry of a trainer's checkpoint, read without running any code of it.

    Raises:
        UsageError: if the file is missing, truncated, holds other than tensors and plain values,
            or has no `model`.
    """
    if not path.is_file():
        raise UsageError(f"checkpoint: a file expected, {path} is none")
    try:
        tree: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{path}: a checkpoint of plain tensors expected: {first}") from error
    model = tree.get("model") if isinstance(tree, dict) else None
    if not isinstance(model, dict) or not all(isinstance(v, torch.Tensor) for v in model.values()):
        raise UsageError(f"{path}: a dict with tensors under 'model' expected")
    if tree.get("pooling_mode", "align") != "align":
        raise UsageError(f"{path}: pooling_mode 'align' expected, got {tree['pooling_mode']!r}")
    return model


if __name__ == "__main__":
    run_command(main)
