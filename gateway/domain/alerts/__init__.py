"""What is noticed of an organisation's costs: thresholds of budgets, days out of the ordinary, forecasts."""
