"""The report of a training: Markdown for people, a document for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gateway.routing.training.evaluation import Curve, Evaluation, Market, Pair
from gateway.routing.training.metrics import Interval
from gateway.routing.training.run import Trained


def document(trained: Trained) -> dict[str, Any]:
    """What ``report.json`` holds: every number of the report, NaN as null."""
    found: dict[str, Any] = _without_nan(
        {
            "measured_on": trained.how,
            "trained_on": trained.model.about,
            "prompts": trained.prompts,
            **asdict(trained.evaluation),
        }
    )
    return found


def markdown(trained: Trained) -> str:
    """The report. Intervals are 95 %, by the bootstrap over prompts."""
    about = trained.model.about
    lines = [
        "# The router's report",
        "",
        f"Trained on {about['prompts']} prompts with {about['outcomes']} outcomes of {about['sets']} "
        f"({about['parts']}). Measured by {trained.how}. Intervals hold 95 of 100 samples of the prompts.",
        "",
        *_pairs(trained.evaluation),
        *_markets(trained.evaluation),
        *_truths(trained.evaluation),
    ]
    return "\n".join(lines)


def _pairs(found: Evaluation) -> list[str]:
    lines = [
        "## Pairs of models",
        "",
        "A random choice has an APGR of .500, a CPT50 of 50 % and a CPT80 of 80 %. *Shuffled* is the control: the same",
        "training, measured alike, on scores shuffled among the prompts. What it is above .500 by more than its",
        "interval, the way of measuring adds by itself.",
        "",
        "| prompts | way to choose | APGR | CPT50 | CPT80 |",
        "|---|---|--:|--:|--:|",
    ]
    for pair in found.pairs:
        told = f"{pair.name} ({pair.prompts})"
        lines += [_curve(told, "**router**", pair.router), _curve("", "length", pair.length)]
        lines.append(_curve("", "shuffled", pair.shuffled))
    return [*lines, "", *(_fixed(pair) for pair in found.pairs), ""]


def _fixed(pair: Pair) -> str:
    return (
        f"- {pair.name}: always {pair.strong} answers {pair.strong_quality:.1%} well, "
        f"always {pair.weak} {pair.weak_quality:.1%}."
    )


def _curve(name: str, way: str, curve: Curve) -> str:
    return f"| {name} | {way} | {_number(curve.apgr)} | {_share(curve.cpt50)} | {_share(curve.cpt80)} |"


def _markets(found: Evaluation) -> list[str]:
    lines = [
        "## Quality at a price",
        "",
        "Each prompt goes to the model with the highest p − exchange rate × cost; the rate that reaches a share of the",
        "best single model's quality is chosen on other questions than it is spent on. *Price* is a share of the best",
        "single model's.",
        "",
        "| prompts | models | best single | aim | quality | price | price, shuffled |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    for market in found.markets:
        lines += _market(market)
    return [*lines, ""]


def _market(market: Market) -> list[str]:
    return [
        f"| {market.name} ({market.prompts}) | {market.models} | {market.best} | {ours.aim:.0%} "
        f"| {_share(ours.quality)} | {_share(ours.price)} | {ours_by_chance.price.value:.0%} |"
        for ours, ours_by_chance in zip(market.router, market.shuffled, strict=True)
    ]


def _truths(found: Evaluation) -> list[str]:
    lines = [
        "## Calibration",
        "",
        "The distance between predicted and found rates over 10 bins, mean over the models.",
        "",
        "| prompts | models | calibration error | task recognised |",
        "|---|--:|--:|--:|",
        *(f"| {each.name} | {each.models} | {each.error:.3f} | {each.recognised:.0%} |" for each in found.truths),
        f"| all | {sum(each.models for each in found.truths)} | {found.error:.3f} | |",
    ]
    return [*lines, ""]


def _number(value: Interval) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _share(value: Interval) -> str:
    return f"{value.value:.1%} [{value.low:.1%}, {value.high:.1%}]"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value
