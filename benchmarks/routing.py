"""What a decision of the router costs: CPU time of one thread, by prompt.

``python -m benchmarks.routing [--router DIR] [--rounds N] [--json]``

Each round takes the kinds of prompt in turn, A B C A B C, fifty different prompts of each, so that what else the
machine does falls on all alike. Each decision has eight candidates and every constraint. Beside it, in the same round,
the cost of merely splitting the prompts into words with a regular expression: a measure of the machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from gateway.routing import default, weights
from gateway.routing.candidates import Candidate
from gateway.routing.decision import decide
from gateway.routing.model import TIERS
from gateway.routing.panel import Panel
from gateway.routing.request import Ask, Constraints

SIZES = {"460 characters": 460, "4,000 characters": 4_000, "60,000 characters": 60_000}
PROMPTS = 50
WARM_UP = 3
WORDS = (
    *("the", "a", "of", "to", "in", "and", "what", "which", "is", "are", "how", "why", "when", "however", "not"),
    *("function", "return", "list", "value", "law", "court", "patient", "cell", "energy", "history", "market", "price"),
    *("Write", "Explain", "Calculate", "Consider", "$x^2$", "42", "1867", "3.14", "(a)", "A.", "B.", "C.", "D."),
)
_WORD = re.compile(r"\w+|[^\w\s]")


def prompts(size: int) -> list[str]:
    """Made-up prompts of exactly ``size`` characters, the same in every run."""
    generator = random.Random(size)
    found = []
    for _ in range(PROMPTS):
        text = ""
        while len(text) < size:
            text += generator.choice(WORDS) + generator.choice((" ", " ", " ", ", ", "\n"))
        found.append(text[:size])
    return found


def candidates(panel: Panel) -> list[Candidate]:
    """Eight targets, with everything that is known of one."""
    return [
        Candidate(
            name=f"{name}-{number}",
            provider=f"provider-{number % 3}",
            learned=name,
            input_price=0.1 * (number + 1),
            output_price=0.4 * (number + 1),
            context_length=128_000,
            capabilities=frozenset({"tools", "json_schema"}),
        )
        for number, name in enumerate(panel.names)
    ]


def ask(prompt: str) -> Ask:
    """A request with every constraint; none of them leaves nothing."""
    limits = Constraints(
        max_cost=1.0,
        min_quality=0.01,
        max_response_time=600.0,
        preferred_providers=frozenset({"provider-0", "provider-1", "provider-2"}),
        exclude_providers=frozenset({"provider-9"}),
    )
    return Ask(prompt=prompt, constraints=limits, needs=frozenset({"tools"}), max_tokens=500)


def spent(work: Callable[[], object]) -> float:
    """Microseconds of this thread's CPU."""
    before = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - before) / 1e3


def measure(panel: Panel, rounds: int) -> dict[str, dict[str, float]]:
    """Of each kind of prompt the 50th and 99th percentile of a decision, the 50th of the first decision after other
    work, whose caches are cold, and that of splitting the prompt into words.
    """
    offered = candidates(panel)
    kinds = {kind: [ask(prompt) for prompt in prompts(size)] for kind, size in SIZES.items()}
    decisions: dict[str, list[float]] = {kind: [] for kind in kinds}
    firsts: dict[str, list[float]] = {kind: [] for kind in kinds}
    splits: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(WARM_UP + rounds):
        for kind, asked in kinds.items():
            words = [spent(partial(_WORD.findall, each.prompt)) for each in asked]
            taken = [spent(partial(decide, panel, offered, each)) for each in asked]
            if number >= WARM_UP:
                splits[kind] += words
                firsts[kind].append(taken[0])
                decisions[kind] += taken[1:]
    return {
        kind: {
            "p50": statistics.median(decisions[kind]),
            "p99": statistics.quantiles(decisions[kind], n=100)[98],
            "first_p50": statistics.median(firsts[kind]),
            "words_p50": statistics.median(splits[kind]),
        }
        for kind in kinds
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--router", type=Path, help="the folder that training wrote; absent: the shipped weights")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = default.load() if options.router is None else weights.load(options.router)
    panel = Panel(model, [*model.models[: 8 - len(TIERS)], *TIERS])
    gc.collect()
    gc.freeze()  # as a worker does after its start
    found = measure(panel, options.rounds)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for kind, each in found.items():
        print(
            f"{kind:18} decision p50 {each['p50']:6.1f} µs  p99 {each['p99']:6.1f} µs  "
            f"(the first after other work p50 {each['first_p50']:6.1f} µs, words alone p50 {each['words_p50']:6.1f} µs)"
        )


if __name__ == "__main__":
    main()
