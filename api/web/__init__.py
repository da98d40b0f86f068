"""What every request passes through: body limits, request ids, rate limits, idempotency, language, logs, traces."""
