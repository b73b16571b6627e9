"""The ways to ask: each reads requests into :class:`forge_serve.asked.Asked` and writes answers in its own form."""
