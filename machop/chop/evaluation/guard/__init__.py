"""The guard against wrong numbers: runs once when a command begins, and shares no code with what it checks."""

from chop.evaluation.guard.findings import Finding, Verdict
from chop.evaluation.guard.guard import SlotFormats, formats_of, guard_verdict, require_sound

__all__ = ["Finding", "SlotFormats", "Verdict", "formats_of", "guard_verdict", "require_sound"]
