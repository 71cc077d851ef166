from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.settings import LaIARSettings
from pipeline import train
from pipeline.config.loading import load_config
from pipeline.errors import UsageError
from tests.pipeline.cache_maker import SMALL, random_cache
from tests.tools.test_reproduce import CONFIG, TINY
from tools.tables import rows as table_rows
from tools.tables.rows import read_tables


def test_unknown_network_or_field_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_rows, "FOLDER", tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("network: full}", "network: ful}"))
    with pytest.raises(UsageError, match="row 'method B': unknown network 'ful'"):
        read_tables("tiny")
    path.write_text(TINY.replace("strict: [model.reading=false]", "stric: []"))
    with pytest.raises(UsageError, match="stric"):
        read_tables("tiny")
    path.write_text(TINY.replace("strict: none, ", ""))
    with pytest.raises(UsageError, match="strict"):
        read_tables("tiny")


@pytest.mark.parametrize("preset", ["strict", "paper"])
def test_rows_of_cad120_have_valid_settings(preset: str) -> None:
    tables = read_tables("cad120")
    assert [len(tables.tables[n].rows) for n in ("1", "2", "6")] == [4, 6, 11]
    paper = {row.name: row.paper.get("mar") for row in tables.tables["2"].rows}
    assert [*paper.values()] == [0.75, 0.79, 0.79, 0.81, 0.83, 0.85]
    used = {row.network_name(preset) for t in tables.tables.values() for row in t.rows} - {None}
    for name in used:
        network = tables.networks[str(name)]
        given = ["loss.multi_label=false", "loss.excerpts=0", f"model.preset={preset}"]
        config = load_config(None, [*given, *network.settings(preset)])
        settings: LaIARSettings = config.model.resolved()
        # Without L_sim, nothing would train the reading of visual tokens.
        assert config.loss.similarity > 0 or not settings.reading
        assert (settings.selector == "subset") == (preset == "strict")
    first = tables.tables["1"].rows
    networks = [tables.networks[str(row.network_name(preset))] for row in first]
    selections = [
        load_config(None, [f"model.preset={preset}", *network.settings(preset)]).model
        for network in networks
    ]
    assert [(s.temporal_selection, s.spatial_selection) for s in selections] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    assert first[-1].network_name(preset) == tables.tables["2"].rows[0].network_name(preset)


def test_terms_without_effect_in_strict_are_as_the_notes_say(tmp_path: Path) -> None:
    """The rows of `strict` that share a network, and those that differ only in L_xm."""
    cache = random_cache(tmp_path / "cache", train=6, test=0)
    small = [word for word in SMALL if "selection" not in word]
    fixed = ["train.validation_fraction=0", "train.epochs=2", "train.lr=0.01", "train.clip_norm=0"]
    place = ["--config", CONFIG, "--cache", str(cache), *small, *fixed]
    weights = {}
    for name, off in (("full", []), ("no_tss", ["selection"]), ("no_xm", ["cross_modal"])):
        words = [f"loss.{term}=0" for term in off]
        code = train.main([*place, "--run", str(tmp_path / name), *words])
        assert code in (0, 1)  # 1: degenerate selection
        weights[name] = load_file(tmp_path / name / "model.safetensors")
    full = weights["full"]
    assert all(torch.equal(full[key], weights["no_tss"][key]) for key in full)
    changed = {key for key in full if not torch.equal(full[key], weights["no_xm"][key])}
    assert changed
    assert all(key.startswith("mimic_head.") for key in changed)
