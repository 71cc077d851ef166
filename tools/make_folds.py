"""`python -m tools.make_folds`: write the folds of Charades that test a domain shift.

The annotation files name the scene and the person of each video. The official split already tests
on other people than it trains on. All folds test on videos of the official test split:

    scenes-K       tests on the videos of the K-th group of scenes, and trains on the official
                   training videos of all other scenes
    scenes-K-iid   tests on the same videos, and trains on as many random training videos of all
                   scenes
    people         tests on a random half of the official test videos, and trains on all official
                   training videos, of other people
    people-iid     tests on the same videos, and trains on as many random videos as before of the
                   training split and of the other half, which contains the people of the test

The difference between a fold and its `-iid` fold is the effect of the shift, with the same test
videos and the same number of training videos.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from pipeline.datasets.charades.locate import locate
from pipeline.datasets.charades.table import CharadesVideo, read_charades
from pipeline.errors import UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from pipeline.runtime.files import write_json
from pipeline.samples.folds import FOLDS_SCHEMA

EXAMPLE = "python -m tools.make_folds --annotations charades --out folds.json"
NUM_FOLDS = 5


def main(argv: list[str]) -> int:
    """Write the file and return the exit code."""
    args = _parse(argv)
    videos = read_charades(locate([args.annotations])).videos
    folds = make_folds({i: v for i, v in videos.items() if v.actions}, args.seed)
    write_json(args.out, {"schema": FOLDS_SCHEMA, "seed": args.seed, "folds": folds})
    for name, lists in folds.items():
        print(f"{name:14} {len(lists['train']):5} training and {len(lists['test']):5} test videos")
    for number, scenes in enumerate(_groups(videos), 1):
        print(f"scenes-{number}: {', '.join(scene.split(' (')[0] for scene in scenes)}")
    return EXIT_OK


def _parse(argv: list[str]) -> argparse.Namespace:
    prog = "python -m tools.make_folds"
    parser = common_parser(prog, __doc__ or "", EXAMPLE, has_settings=False)
    add = parser.add_argument
    add("--annotations", type=Path, required=True, help="folder of Charades_v1_{train,test}.csv")
    add("--out", type=Path, required=True, help="file to write")
    add("--seed", type=int, default=0, help="seed of the random videos (default: %(default)s)")
    args, _ = parse_words(parser, argv)
    if args.seed < 0:
        raise UsageError(f"--seed: at least 0 expected, got {args.seed}")
    return args


def make_folds(videos: Mapping[str, CharadesVideo], seed: int) -> dict[str, dict[str, list[str]]]:
    """Return the sorted ids of the training and test videos of each fold.

    Args:
        videos: labelled videos by id.
        seed: seed of the random videos.

    Raises:
        UsageError: if a video has no scene, or a fold has no training or test videos.
    """
    if any(video.scene is None for video in videos.values()):
        raise UsageError("--annotations: a column `scene` with the scene of each video expected")
    rng = np.random.default_rng([seed, 26])
    train, test = (
        sorted(i for i, v in videos.items() if v.split == split) for split in ("train", "test")
    )
    folds = {}
    for number, scenes in enumerate(_groups(videos), 1):
        mine = [i for i in test if videos[i].scene in scenes]
        others = [i for i in train if videos[i].scene not in scenes]
        folds[f"scenes-{number}"] = {"train": others, "test": mine}
        folds[f"scenes-{number}-iid"] = {"train": _some(rng, train, len(others)), "test": mine}
    half = _some(rng, test, len(test) // 2)
    pool = sorted({*train, *test} - {*half})
    folds["people"] = {"train": train, "test": half}
    folds["people-iid"] = {"train": _some(rng, pool, len(train)), "test": half}
    for name, lists in folds.items():
        for split, ids in lists.items():
            if not ids:
                raise UsageError(
                    f"--annotations: videos of both splits in at least {NUM_FOLDS} scenes "
                    f"expected, but fold {name} has no {split} videos"
                )
    return folds


def _groups(videos: Mapping[str, CharadesVideo]) -> list[list[str]]:
    scenes = (str(v.scene) for v in videos.values() if v.actions and v.split == "train")
    return scene_groups(scenes)


def scene_groups(scenes: Iterable[str]) -> list[list[str]]:
    """Return five groups of scenes with about equal numbers of videos.

    The scenes are processed in descending order of their size, and each scene is added to the
    smallest group.

    Args:
        scenes: scene of each video.
    """
    groups: list[list[str]] = [[] for _ in range(NUM_FOLDS)]
    sizes = [0] * NUM_FOLDS
    for scene, num in sorted(Counter(scenes).items(), key=lambda item: (-item[1], item[0])):
        smallest = sizes.index(min(sizes))
        groups[smallest].append(scene)
        sizes[smallest] += num
    return groups


def _some(rng: np.random.Generator, ids: list[str], num: int) -> list[str]:
    return sorted(ids[i] for i in rng.choice(len(ids), num, replace=False))


if __name__ == "__main__":
    run_command(main)
