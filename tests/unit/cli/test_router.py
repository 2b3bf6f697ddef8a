from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.routing import weights
from tests.unit.routing import material

PROMPTS = (
    '{"prompt_id": "a", "prompt": "solve equation x y integer polynomial", "task": "ignored"}\n'
    "\n"
    '{"prompt_id": 7, "prompt": ""}\n'
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
    assert [line["prompt_id"] for line in lines] == ["a", 7]
    for line in lines:
        assert line["scores"].keys() == {"middling", "strong", "weak"}
        assert all(0.0 < score < 1.0 for score in line["scores"].values())
    assert lines[0]["scores"]["strong"] > lines[0]["scores"]["weak"]
    again = tmp_path / "again.jsonl"
    run("score", "--router", str(out / "router.weights"), "--input", str(source), "--output", str(again))
    assert again.read_bytes() == output.read_bytes()


@pytest.mark.parametrize("line", ['{"prompt_id": "a"}', "no json", '{"prompt_id": 1, "prompt": null}', "\ufffd"])
def test_a_line_that_is_no_prompt_is_named(out: Path, tmp_path: Path, line: str) -> None:
    source = tmp_path / "prompts.jsonl"
    source.write_text(PROMPTS + line)
    result = run("score", "--router", str(out), "--input", str(source), "--output", str(tmp_path / "o"))
    assert result.exit_code == 1
    assert 'prompts.jsonl:4: expected {"prompt_id": text or number, "prompt": text}' in result.stderr


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


def blocked(library: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that can't import a library."""
    code = f"import sys; sys.modules[{library!r}] = None; from gateway.cli.main import main; main()"
    command = [sys.executable, "-c", code, "router", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_not_installed_is_told_with_its_extra(tmp_path: Path) -> None:
    done = blocked("scipy", "train", "--data", str(tmp_path), "--out", str(tmp_path))
    assert (done.returncode, done.stderr) == (2, "error: scipy is not installed: pip install 'llm-gateway[training]'\n")
    done = blocked("numpy", "explain", "hello")
    assert (done.returncode, done.stderr) == (2, "error: numpy is not installed: pip install 'llm-gateway[routing]'\n")


def test_to_decide_takes_no_library_of_training(out: Path) -> None:
    for library in ("scipy", "pyarrow"):
        done = blocked(library, "explain", "--router", str(out), "hello")
        assert done.returncode == 0, done.stderr


def test_a_gateway_without_a_learned_route_loads_nothing_of_it() -> None:
    code = "import sys, gateway.routing, gateway.dataplane.worker; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
