"""``gateway router``: train, use and question the router that learns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import orjson

from gateway.cli.config import FAULTY, give_up, json_option, needed
from gateway.cli.learned import export_command, report_command, reset_command

if TYPE_CHECKING:
    from gateway.routing.model import Model

_FOLDER = click.Path(file_okay=False, path_type=Path)
_router_option = click.option(
    "--router", "folder", type=click.Path(path_type=Path), help="The folder that training wrote.  [default: as shipped]"
)


class _Prompt(msgspec.Struct):
    prompt_id: str | int
    prompt: str


@click.group()
def router() -> None:
    """The router that learns which model answers which prompt well."""


for _command in (report_command, export_command, reset_command):
    router.add_command(_command)


@router.command("train", short_help="Learn from a folder of recorded outcomes, and measure it.")
@click.option("--data", type=_FOLDER, required=True, help="The folder of Parquet files; see docs/routing.md.")
@click.option("--out", type=_FOLDER, required=True, help="The folder to write weights and report to.")
@click.option("--hold-out", help="Learn nothing from this part (train, dev …) and measure on it.")
@click.option("--among", multiple=True, metavar="NAME=MODEL,…", help="Measure quality at a price over these too.")
def train_command(data: Path, out: Path, hold_out: str | None, among: tuple[str, ...]) -> None:
    """Learn from every Parquet file of a folder; print the report and write it beside the weights."""
    run, reporting, weights, outcomes = (
        needed(f"gateway.routing.{name}", "training")
        for name in ("training.run", "training.reporting", "weights", "training.outcomes")
    )
    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} s  {text}", err=True)

    try:
        out.mkdir(parents=True, exist_ok=True)
        trained = run.train(data, say, hold_out=hold_out, among=_among(among))
        weights.save(trained.model, out / weights.NAME)
        text = reporting.markdown(trained)
        (out / "report.md").write_text(text, encoding="utf-8")
        (out / "report.json").write_bytes(orjson.dumps(reporting.document(trained), option=orjson.OPT_INDENT_2))
    except outcomes.DataFault as fault:
        give_up(str(fault), FAULTY)
    except OSError as error:
        give_up(f"{error.filename}: {error.strerror}")
    click.echo(text)
    say(f"written to {out}: {weights.NAME}, report.md, report.json")


@router.command("score", short_help="Write what is expected of each model for each prompt of a file.")
@_router_option
@click.option("--input", "source", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
def score_command(folder: Path | None, source: Path, output: Path) -> None:
    """Read lines of {"prompt_id", "prompt"}; write one line each: {"prompt_id", "scores": {model: probability}}."""
    model = _load(folder)
    panel = needed("gateway.routing.panel", "routing").Panel(model, model.models)
    count = 0
    with output.open("wb") as file:
        for each in _prompts(source):
            view = panel(each.prompt)
            scores = {
                name: round(quality.probability, 6) for name, quality in zip(panel.names, view.qualities, strict=True)
            }
            file.write(orjson.dumps({"prompt_id": each.prompt_id, "scores": scores}) + b"\n")
            count += 1
    click.echo(f"{count} prompt{'s' if count != 1 else ''} scored", err=True)


@router.command("explain", short_help="Tell why each model is expected to answer a prompt well, or not.")
@_router_option
@json_option
@click.option("--most", type=click.IntRange(1, 50), default=5, show_default=True, help="Reasons, and models shown.")
@click.argument("prompt")
def explain_command(folder: Path | None, as_json: bool, most: int, prompt: str) -> None:
    """Tell what PROMPT is taken for, which features say so, and what is expected of each model."""
    model = _load(folder)
    found = needed("gateway.routing.explaining", "routing").explain(model, prompt, most)
    if as_json:
        click.echo(orjson.dumps(msgspec.to_builtins(found), option=orjson.OPT_INDENT_2))
        return
    click.echo(f"task: {found.task} (set: {found.set}; sure: {found.familiar:.0%})")
    click.echo(f"  because of: {_reasons(found.reasons)}")
    shown = found.models if len(found.models) <= 2 * most else [*found.models[:most], *found.models[-most:]]
    for each in shown:
        click.echo(f"{each.probability:6.1%} ±{each.error:.1%}  {each.model}, about {each.tokens:.0f} tokens")
        click.echo(f"        {_reasons(each.reasons)}")


def _reasons(reasons: list[Any]) -> str:
    return ", ".join(f"{each.feature!r} {each.by:+.2f}" for each in reasons) or "nothing in particular"


def _among(given: tuple[str, ...]) -> dict[str, list[str]]:
    found = {}
    for each in given:
        name, equals, models = each.partition("=")
        if not (name and equals and models):
            give_up(f"--among: expected NAME=MODEL,MODEL…, found {each}")
        found[name] = models.split(",")
    return found


def _load(folder: Path | None) -> Model:
    weights = needed("gateway.routing.weights", "routing")
    default = needed("gateway.routing.default", "routing")
    try:
        model: Model = default.load() if folder is None else weights.load(folder)
    except weights.WeightsFault as fault:
        give_up(str(fault), FAULTY)
    return model


def _prompts(path: Path) -> Iterator[_Prompt]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield msgspec.json.decode(line, type=_Prompt)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    give_up(
                        f'{path}:{number}: expected {{"prompt_id": text or number, "prompt": text}}: {error}', FAULTY
                    )
