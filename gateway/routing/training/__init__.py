"""From recorded outcomes to weights and a report. Needs the extra ``training``; nothing that decides imports it."""
