"""Alerts and forecasts as ``/v1/stream`` tells them, in the fields of the reference's "Forecasting"."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec

from gateway.contract.envelopes.base import timestamp
from gateway.domain.alerts.budgets import Crossed
from gateway.domain.alerts.model import ANOMALY, THRESHOLD, Notice
from gateway.domain.analytics.periods import of_ns, of_seconds
from gateway.domain.forecasts.anomalies import Anomaly
from gateway.domain.forecasts.forecast import Forecast
from gateway.kernel.money import to_dollars

_crossed = msgspec.json.Decoder(Crossed)
_anomaly = msgspec.json.Decoder(Anomaly)
_forecast = msgspec.json.Decoder(Forecast)


def data_of(notice: Notice) -> dict[str, Any]:
    """What a notice says."""
    whose = {"organization_id": notice.organization, "currency": "USD"}
    if notice.event == THRESHOLD:
        return {"alert_id": notice.id, **whose, **_budget(_crossed.decode(notice.data), notice)}
    if notice.event == ANOMALY:
        return {"alert_id": notice.id, **whose, **anomaly_shown(_anomaly.decode(notice.data))}
    generated = {"generated_at": timestamp(of_ns(notice.at_ns))}
    return {"forecast_id": notice.id, **whose, **generated, **forecast_shown(_forecast.decode(notice.data))}


def _budget(crossed: Crossed, notice: Notice) -> dict[str, Any]:
    budget = crossed.budget
    return {
        "budget_id": None if budget.configured else budget.id,
        "budget_name": budget.name,
        "scope": budget.scope,
        "scope_id": budget.scope_id,
        "budget_period": budget.period,
        "period_start": timestamp(of_seconds(crossed.start)) if crossed.start else None,
        "period_end": None if crossed.end is None else timestamp(of_seconds(crossed.end)),
        "budget_amount": to_dollars(budget.nanos),
        "current_spend": to_dollars(crossed.spent),
        "spend_percentage": round(100 * crossed.spent / budget.nanos, 2) if budget.nanos else None,
        "threshold": crossed.threshold / 100,
        "triggered_at": timestamp(of_ns(notice.at_ns)),
    }


def anomaly_shown(anomaly: Anomaly) -> dict[str, Any]:
    """A day as "Detect Anomalies" has it."""
    return {
        "date": str(anomaly.day),
        "actual_cost": to_dollars(anomaly.actual),
        "expected_cost": to_dollars(anomaly.expected),
        "deviation": round(anomaly.deviation, 1),
        "severity": anomaly.severity,
        "zscore": round(anomaly.zscore, 2),
        "description": anomaly.description,
    }


def forecast_shown(forecast: Forecast) -> dict[str, Any]:
    """A forecast as "Get Forecast" has it, without its id, whose it is, and when it was made."""
    confidence = float(forecast.confidence)
    predictions = forecast.predictions
    accuracy = forecast.accuracy
    return {
        "model": forecast.method,
        "confidence_level": confidence,
        "historical_period": {"start": _begin(forecast.first), "end": _begin(forecast.last + timedelta(days=1))},
        "forecast_period": {"start": _begin(predictions[0].day), "end": f"{predictions[-1].day}T23:59:59Z"},
        "predictions": [
            {
                "date": str(each.day),
                "predicted_cost": to_dollars(each.nanos),
                "lower_bound": to_dollars(each.lower),
                "upper_bound": to_dollars(each.upper),
                "confidence": confidence,
            }
            for each in predictions
        ],
        "summary": {
            "total_predicted_cost": to_dollars(forecast.total),
            "average_daily_cost": to_dollars(round(forecast.total / len(predictions))),
            "trend": forecast.trend,
            "seasonality_detected": forecast.seasonal,
        },
        "metrics": {
            "mape": None if accuracy.mape is None else round(accuracy.mape, 2),
            "rmse": to_dollars(accuracy.rmse),
            "mae": to_dollars(accuracy.mae),
        },
    }


def _begin(day: date) -> str:
    return f"{day}T00:00:00Z"
