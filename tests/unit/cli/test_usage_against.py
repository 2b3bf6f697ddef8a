"""``gateway usage verify --against``: the ledger beside a provider's own export, and what is told of the difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.drift import Drift, ExportError, columns_of, read_export
from gateway.cli.main import cli
from gateway.contract.usage import Tokens, UsageEvent
from tests.support.usage import MS, usage_event
from tests.unit.cli.test_usage import enter, write

DAY = 86_400_000_000_000
START = 1_767_225_600_000_000_000  # 2026-01-01
OPENAI = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,"
    "service_tier,input_tokens,output_tokens,input_cached_tokens,input_audio_tokens,output_audio_tokens"
)
ANTHROPIC = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count,inference_geo,speed"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        f"master_key: gw_live_of_the_tests\ndata_dir: {tmp_path}/data\n"
        "providers:\n"
        "- {name: first, base_url: 'https://api.openai.com/v1', api_key: k}\n"
        "- {name: claude, base_url: 'https://api.anthropic.com/v1', api_key: k}\n"
        "- {name: other, base_url: 'http://127.0.0.1:9/v1', api_key: k}\n"
    )
    return path


def event(number: int, provider: str, model: str, day: int, tokens: Tokens, **changes: object) -> UsageEvent:
    start = START + day * DAY + number * MS
    return usage_event(
        id=f"req_{number}", provider=provider, target=model, tokens=tokens, started_ns=start, first_token_ns=None,
        ended_ns=start + MS, **changes,
    )  # fmt: skip


def verify(config: Path, rows: list[str], *arguments: str) -> Result:
    file = config.parent / "export.csv"
    file.write_text("\ufeff" + "\n".join(rows) + "\n")
    command = ["usage", "verify", "--config", str(config), "--against", str(file), *arguments]
    return CliRunner().invoke(cli, command)


def openai(day: int, model: str, requests: int, prompt: int, cached: int, completion: int) -> str:
    at = f"2026-01-{day:02}T00:00:00+00:00"
    return f"1,2,{at},{at},proj_1,{requests},,key_1,{model},False,default,{prompt},{completion},{cached},0,0"


def test_an_openai_export_that_agrees(config: Path) -> None:
    write(
        config,
        event(1, "first", "gpt-4o", 0, Tokens(prompt=100, cached=40, completion=10), cost_nanos=500),
        event(2, "first", "gpt-4o", 0, Tokens(prompt=50, completion=5), outcome="cut"),
        event(3, "first", "gpt-4o-mini-2024-07-18", 1, Tokens(prompt=7, completion=1)),
        # What the provider has no count of: a failure, an answer from the cache, another provider, another day.
        event(4, "first", "gpt-4o", 0, Tokens(), outcome="error"),
        event(5, "first", "gpt-4o", 0, Tokens(prompt=100, completion=10), outcome="cached"),
        event(6, "other", "gpt-4o", 0, Tokens(prompt=100, completion=10)),
        event(7, "first", "gpt-4o", 5, Tokens(prompt=100, completion=10)),
    )
    enter(config)
    rows = [
        OPENAI, openai(1, "gpt-4o-2024-08-06", 1, 100, 40, 10), openai(1, "gpt-4o-2024-08-06", 1, 50, 0, 5),
        openai(2, "gpt-4o-mini-2024-07-18", 1, 7, 0, 1),
    ]  # fmt: skip
    result = verify(config, rows)
    assert result.exit_code == 0, result.output
    assert result.output == (
        "all: requests 3, provider 3 (0, +0.00 %)\n"
        "all: prompt 157, provider 157 (0, +0.00 %)\n"
        "all: cached 40, provider 40 (0, +0.00 %)\n"
        "all: completion 16, provider 16 (0, +0.00 %)\n"
    )


def test_drift_is_told_by_model_and_day(config: Path) -> None:
    write(
        config,
        event(1, "first", "gpt-4o", 0, Tokens(prompt=102, completion=10)),
        event(2, "first", "o3", 1, Tokens(prompt=5, completion=5)),
    )
    enter(config)
    rows = [OPENAI, openai(1, "gpt-4o", 1, 100, 0, 10), openai(2, "gpt-4o", 2, 30, 0, 1)]
    result = verify(config, rows)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "2026-01-01 gpt-4o: prompt 102, provider 100 (2, +2.00 %)" in lines
    assert "2026-01-02 gpt-4o: prompt 0, provider 30 (-30, -100.00 %)" in lines
    assert "2026-01-02 o3: prompt 5, provider 0 (5, not in the export)" in lines
    assert "all: prompt 107, provider 130 (-23, -17.69 %)" in lines
    told = json.loads(verify(config, rows, "--json").output)
    assert not told["within"]
    assert told["providers"] == ["first"]
    first = told["rows"][0]
    assert (first["day"], first["model"]) == ("2026-01-01", "gpt-4o")
    assert first["prompt"] == {"ledger": 102, "provider": 100, "difference": 2, "percent": 2.0}
    assert told["all"]["prompt"]["percent"] == -17.6923


@pytest.mark.parametrize(("tolerance", "code"), [("1.9", 1), ("2", 0)])
def test_the_tolerance_decides(config: Path, tolerance: str, code: int) -> None:
    write(config, event(1, "first", "gpt-4o", 0, Tokens(prompt=102, completion=10)))
    enter(config)
    rows = [OPENAI, openai(1, "gpt-4o", 1, 100, 0, 10)]
    assert verify(config, rows, "--tolerance", tolerance).exit_code == code


def test_an_anthropic_export(config: Path) -> None:
    tokens = Tokens(prompt=1_000, cached=700, cache_write=200, cache_write_1h=50, completion=30)
    write(config, event(1, "claude", "claude-sonnet-4-5", 0, tokens, cost_nanos=1_500_000))
    enter(config)
    row = "2026-01-01,claude-sonnet-4-5-20250929,mine,Default,standard,≤ 200k,100,150,50,700,30,0,global,"
    result = verify(config, [ANTHROPIC, row])
    assert result.exit_code == 0, result.output
    assert "all: prompt 1000, provider 1000 (0, +0.00 %)" in result.output
    assert "all: cache_write 200, provider 200 (0, +0.00 %)" in result.output
    assert "requests" not in result.output
    cost = ["usage_date_utc,model,workspace,token_type,cost_usd", "2026-01-01,claude-sonnet-4-5,Default,input,0.0015"]
    assert "all: cost 0.001500 USD, provider 0.001500 USD (0.000000 USD, +0.00 %)" in verify(config, cost).output


def test_any_export_by_its_columns(config: Path) -> None:
    write(config, event(1, "other", "m", 0, Tokens(prompt=1_234, completion=2), cost_nanos=2_000_000_000))
    enter(config)
    rows = ["when,what,in,more,out,usd", '2026-01-01 05:00,m,"1,200",34,2,$2.00']
    columns = "day=when,model=what,prompt=in+more,completion=out,cost=usd"
    result = verify(config, rows, "--columns", columns, "--provider", "other")
    assert result.exit_code == 0, result.output
    nobody = verify(config, rows, "--columns", columns)
    assert nobody.exit_code == 2
    assert "name the provider it is of by --provider: first, claude, other" in nobody.output


@pytest.mark.parametrize(
    ("text", "columns", "fault"),
    [
        ("a,b\n1,2\n", None, "not those of a known export (openai, anthropic)"),
        ("day,model,n\nnever,m,1\n", "day=day,model=model,prompt=n", ":2: expected a day or a time, got 'never'"),
        ("day,model,n\n2026-01-01,m,x\n", "day=day,model=model,prompt=n", ":2: expected a number, got 'x'"),
        ("day,model,n\n", "day=day,model=model,prompt=n", "no row"),
        ("day,model\n", "day=day,model=model,prompt=n", "there is no column 'n'; there are day, model"),
        ("", "day=day,prompt=n", "tell day, model and at least one of"),
        ("", "day", "expected NAME=COLUMN, got 'day'"),
        ("", "day=a,model=b,tokens=c", "tokens is not known"),
    ],
)
def test_what_is_no_export(tmp_path: Path, text: str, columns: str | None, fault: str) -> None:
    path = tmp_path / "export.csv"
    path.write_text(text)
    with pytest.raises(ExportError) as raised:
        read_export(path, None if columns is None else columns_of(columns))
    assert fault in str(raised.value)


def test_seconds_are_a_day_too(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("t,model,n\n1767225600,m-latest,1\n2026-01-01T23:59:59Z,m,2\n2026-01-01T23:00:00-02:00,m,4\n")
    found = read_export(path, columns_of("day=t,model=model,requests=n"))
    assert found.sums == {("2026-01-01", "m"): {"requests": 3}, ("2026-01-02", "m"): {"requests": 4}}
    assert found.days == ("2026-01-01", "2026-01-02")


def test_percent() -> None:
    assert Drift(0, 0).percent == 0
    assert Drift(5, 0).percent is None
    assert not Drift(5, 0).within(10**9)
    assert Drift(95, 100).within(5)
