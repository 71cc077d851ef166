"""`python -m tools.pictures VIDEO`: draw the pictures of the README.

The command explains a video. It writes `clip.webp`, an animation of the sampled frames with the
boxes and the sentence of one action, and `report.webp`, a screenshot of the report.
"""

import argparse
import io
import tempfile
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline.errors import UsageError
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.observations import Token
from pipeline.explanation.predictions import Prediction
from pipeline.predictor import WORLD, LaIARPredictor
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command

EXAMPLE = "python -m tools.pictures world/videos/ID.mp4 --out docs/images"
#: Pixels of the animation: its width, and the height of the text below the frame.
WIDTH, TEXT_HEIGHT = 640, 104
#: Milliseconds per frame, and for frames of the reason.
STEP_MS, REASON_MS = 350, 1600
INK, PAPER, HUMAN, OBJECT = "#1b1f24", "#ffffff", "#2f6fde", "#c2410c"


def main(argv: list[str]) -> int:
    """Draw both pictures and return 0."""
    args, words = _parse(argv)
    explanation = LaIARPredictor.from_run(args.run, *words).predict(args.video)
    if not 1 <= args.rank <= len(explanation.predictions):
        raise UsageError(f"--rank: 1 to {len(explanation.predictions)} expected, got {args.rank}")
    args.out.mkdir(parents=True, exist_ok=True)
    animate(explanation, explanation.predictions[args.rank - 1], args.out / "clip.webp")
    with tempfile.TemporaryDirectory() as folder:
        explanation.save(folder)
        page = Path(folder) / explanation.video.id / "report.html"
        screenshot(page, args.out / "report.webp", args.browser, args.rank)
    for name in ("clip.webp", "report.webp"):
        print(f"{args.out / name}: {(args.out / name).stat().st_size / 1e3:.0f} kB")
    return EXIT_OK


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = common_parser("python -m tools.pictures", __doc__ or "", EXAMPLE)
    add = parser.add_argument
    add("video", type=Path, help="video file")
    add("--run", type=Path, default=WORLD, help="run folder (default: %(default)s)")
    add("--rank", type=int, default=1, help="rank of the shown action")
    add("--out", type=Path, default=Path("docs/images"), help="output folder")
    add("--browser", default="/usr/bin/chromium", help="program of a Chromium browser")
    return parse_words(parser, argv)


def animate(explanation: Explanation, prediction: Prediction, path: Path) -> None:
    """Write an animation of the sampled frames of the window of a prediction.

    Args:
        explanation: explanation with images.
        prediction: one of its predictions.
        path: WebP file.
    """
    tokens = {token.id: token for token in explanation.tokens}
    reason = [tokens[i] for i in prediction.reason.tokens]
    tracks = {token.track for token in reason}
    moments = {token.t for token in reason}
    pictures, times = [], []
    for frame in explanation.sampling.frames:
        if frame.window != prediction.window or frame.frame_index not in explanation.images:
            continue
        shown = [t for t in explanation.tokens if t.t == frame.t and t.track in tracks and t.keep]
        pictures.append(
            _picture(
                explanation, prediction, frame.frame_index, frame.time_s, shown, frame.t in moments
            )
        )
        times.append(REASON_MS if frame.t in moments else STEP_MS)
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=times, loop=0, quality=80
    )


def _picture(
    explanation: Explanation,
    prediction: Prediction,
    frame_index: int,
    time_s: float,
    tokens: list[Token],
    is_reason: bool,
) -> Image.Image:
    frame = Image.open(io.BytesIO(explanation.images[frame_index])).convert("RGB")
    scale = WIDTH / explanation.video.width
    frame = frame.resize((WIDTH, round(explanation.video.height * scale)))
    picture = Image.new("RGB", (WIDTH, frame.height + TEXT_HEIGHT), PAPER)
    picture.paste(frame)
    draw = ImageDraw.Draw(picture)
    small, font = ImageFont.load_default(13), ImageFont.load_default(16)
    for token in tokens:
        said = next(name for name in reversed(token.names) if name.predicate is not None)
        label = f"{token.object.class_.split('/')[0]}: {str(said.predicate).replace('_', ' ')}"
        for box, colour, text in (
            (token.human.box, HUMAN, "person"),
            (token.object.box, OBJECT, label),
        ):
            x1, y1, x2, y2 = (value * scale for value in box)
            draw.rectangle((x1, y1, x2, y2), outline=colour, width=4 if is_reason else 2)
            wide = draw.textlength(text, small)
            y = max(y1 - 18, 0)
            draw.rectangle((x1, y, x1 + wide + 8, y + 18), fill=colour)
            draw.text((x1 + 4, y + 2), text, PAPER, small)
    mark = "reason" if is_reason else ""
    draw.text((WIDTH - 12, frame.height + 10), f"{mark}  {time_s:.1f} s", INK, small, anchor="ra")
    lines = textwrap.wrap(prediction.sentence, 78)
    draw.text((12, frame.height + 28), "\n".join(lines), INK, font)
    return picture


def screenshot(page: Path, path: Path, browser: str, rank: int = 1) -> None:
    """Write a screenshot of a page.

    Args:
        page: HTML file.
        path: WebP file.
        browser: program of a Chromium browser.
        rank: rank of the chosen action.

    Raises:
        UsageError: if the package playwright is not installed or the browser does not start.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise UsageError("playwright not found; install it with: pip install playwright") from error
    options = ["--no-sandbox", "--disable-background-networking"]
    try:
        with sync_playwright() as play:
            made = play.chromium.launch(executable_path=browser, args=options)
            view = made.new_page(viewport={"width": 1280, "height": 860})
            view.goto(page.resolve().as_uri())
            view.get_by_role("tab").nth(rank - 1).click()
            data = view.screenshot()
            made.close()
    except Error as error:
        raise UsageError(f"--browser: {browser} does not start: {error}") from error
    Image.open(io.BytesIO(data)).save(path, quality=85)


if __name__ == "__main__":
    run_command(main)
