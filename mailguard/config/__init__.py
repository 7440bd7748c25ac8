"""The configuration: frozen Settings from mailguard.toml and MAILGUARD_* variables, with every problem reported at once."""

from mailguard.config.load import load_settings
from mailguard.config.network_sections import DnsblZone
from mailguard.config.secrets import resolve_secret
from mailguard.config.settings import Settings

__all__ = ["DnsblZone", "Settings", "load_settings", "resolve_secret"]
