from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.runtime.path_lists import expand_lists, reject_url


def test_lists_are_replaced_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, folder = tmp_path / "work", tmp_path / "lists"
    for name in (work, folder / "clips"):
        name.mkdir(parents=True)
    (folder / "beside.mp4").touch()
    (work / "both.mp4").touch()
    (folder / "both.mp4").touch()
    text = "\ufeff# videos\r\nbeside.mp4\r\n\r\n  both.mp4 \r\nclips\r\ngone.mp4\r\n/abs/a b.mp4"
    (folder / "list.TXT").write_text(text, encoding="utf-8", newline="")
    monkeypatch.chdir(work)
    assert expand_lists([Path("x.mp4"), folder / "list.TXT"], "videos") == [
        Path("x.mp4"),
        folder / "beside.mp4",
        Path("both.mp4"),
        folder / "clips",
        Path("gone.mp4"),
        Path("/abs/a b.mp4"),
    ]


@pytest.mark.parametrize("url", ["https://a.org/b/c.mp4", "http://a.org/x", "s3://b/c.mp4"])
def test_urls_are_rejected_in_one_sentence(tmp_path: Path, url: str) -> None:
    for given in (url, Path(url)):
        with pytest.raises(UsageError, match=f"^videos: URLs are not fetched: {url}; download"):
            reject_url(given, "videos")
    (tmp_path / "list.txt").write_text(f"a.mp4\n{url}\n")
    with pytest.raises(UsageError, match=rf"list\.txt:2: URLs are not fetched: {url}"):
        expand_lists([tmp_path / "list.txt"], "videos")


def test_paths_are_not_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "https:").mkdir()
    (tmp_path / "https:" / "a.mp4").touch()
    for path in ("C:/videos/a.mp4", "a:b.mp4", "/x/https://a", "https:/a.mp4"):
        reject_url(path, "videos")


@pytest.mark.parametrize("data", [b"", b"\n# no path\n", b"\xff\xfe\x00"])
def test_lists_without_paths_are_rejected(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(UsageError, match="a text file with one path per line expected"):
        expand_lists([tmp_path / "list.txt"], "videos")
    with pytest.raises(UsageError, match="list of videos not found"):
        expand_lists([tmp_path / "gone.txt"], "videos")
