"""A provider over 14 months, played through the real store and billed by the real service, and the same bills reckoned anew.

`paper`, `counted`, `service` and `reckoning` know nothing of the product but its tables and what docs/billing.md, docs/sla.md
and the plans say; `world` and `story` play.
"""
