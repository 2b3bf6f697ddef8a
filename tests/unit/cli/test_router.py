from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.routing import weights
from tests.unit.routing import material

PROMPTS = (
    '{"prompt_id": "a", "prompt": "solve equation x y integer polynomial", "task": "ignored"}\n'
    "\n"
    '{"prompt_id": "b", "prompt": ""}\n'
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["router", *arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that training wrote."""
    out = tmp_path_factory.mktemp("router") / "deep" / "out"
    result = run("train", "--data", str(data), "--out", str(out), "--among", "duel=strong,weak,middling")
    assert result.exit_code == 0, result.output
    assert "fold 5 of 5" in result.stderr
    assert "# The router's report" in result.stdout
    return out


def test_training_writes_weights_and_report(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["report.json", "report.md", "router.weights"]
    report = json.loads((out / "report.json").read_bytes())
    assert report["measured_on"] == "cross-validation, 5 folds of questions"
    assert {"duel", "made"} <= {market["name"] for market in report["markets"]}
    assert weights.load(out).models == ("middling", "strong", "weak")


def test_prompts_are_scored_one_line_each(out: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "prompts.jsonl", tmp_path / "scores.jsonl"
    source.write_text(PROMPTS)
    result = run("score", "--router", str(out), "--input", str(source), "--output", str(output))
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["prompt_id"] for line in lines] == ["a", "b"]
    for line in lines:
        assert line["scores"].keys() == {"middling", "strong", "weak"}
        assert all(0.0 < score < 1.0 for score in line["scores"].values())
    assert lines[0]["scores"]["strong"] > lines[0]["scores"]["weak"]
    again = tmp_path / "again.jsonl"
    run("score", "--router", str(out / "router.weights"), "--input", str(source), "--output", str(again))
    assert again.read_bytes() == output.read_bytes()


@pytest.mark.parametrize("line", ['{"prompt_id": "a"}', "no json", '{"prompt_id": 1, "prompt": "x"}', "\ufffd"])
def test_a_line_that_is_no_prompt_is_named(out: Path, tmp_path: Path, line: str) -> None:
    source = tmp_path / "prompts.jsonl"
    source.write_text(PROMPTS + line)
    result = run("score", "--router", str(out), "--input", str(source), "--output", str(tmp_path / "o"))
    assert result.exit_code == 1
    assert 'prompts.jsonl:4: expected {"prompt_id": text, "prompt": text}' in result.stderr


def test_a_prompt_is_explained(out: Path) -> None:
    result = run("explain", "--router", str(out), "solve equation x y integer")
    assert result.exit_code == 0, result.output
    assert "task: algebra (set: made" in result.stdout
    assert "strong, about" in result.stdout
    document = json.loads(run("explain", "--router", str(out), "--json", "moon heart rose").stdout)
    assert document["task"].startswith("poetry")
    assert document["models"][0]["reasons"]


def test_without_a_folder_the_shipped_router_answers() -> None:
    result = run("explain", "What is the integral of x^2 from 0 to 3?")
    assert result.exit_code == 0, result.output
    assert "gpt-4" in result.stdout or "claude" in result.stdout or "o1" in result.stdout


def test_faults_are_told_in_a_sentence(tmp_path: Path, out: Path) -> None:
    result = run("train", "--data", str(tmp_path), "--out", str(tmp_path / "x"))
    assert result.exit_code == 1
    assert "expected Parquet files with the columns" in result.stderr
    result = run("explain", "--router", str(tmp_path), "x")
    assert result.exit_code == 1
    assert "router.weights: expected a router's weights" in result.stderr
    cut = tmp_path / "cut.weights"
    cut.write_bytes((out / "router.weights").read_bytes()[:-1])
    assert "was changed or cut short" in run("explain", "--router", str(cut), "x").stderr
    assert "expected NAME=MODEL" in run("train", "--data", "a", "--out", "b", "--among", "x").stderr


def test_what_is_not_installed_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named 'scipy', wanted by {name}", name="scipy")

    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr("gateway.cli.router.importlib.import_module", missing)
    with pytest.raises(SystemExit) as caught:
        from gateway.cli.router import _needed  # noqa: PLC0415 - the command is imported by name when it runs

        _needed("gateway.routing.training.run", "training")
    assert caught.value.code == 2
