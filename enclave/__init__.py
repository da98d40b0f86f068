"""The domain node: agent, gate, vault, sandbox, airlock. It runs beside its owner's data and obeys only signed
tickets and its own gate; the control plane cannot make it do what the consents do not cover."""
