"""What an exception is: its kind, how bad it is, and what helps.

`classify` answers for one exception. `register_rule` and `rule` say how the application's own
exceptions are to be classified; packages do so by an entry point in the group
``faultplane.rules``, which `load_entry_points` (called by ``init()``) loads.

Importing this package makes its rules those of the core that this process runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from faultplane import _backend
from faultplane.classify.classification import Classification
from faultplane.classify.entry_points import load_entry_points
from faultplane.classify.kinds import (
    KINDS,
    Category,
    CountsAs,
    Kind,
    KindDefaults,
    Origin,
    ReachedServer,
    RecoveryStrategy,
    Severity,
    category_of_code,
    kind_of_code,
    severity_of_number,
)
from faultplane.classify.rules import (
    Registration,
    classify_for_core,
    register_rule,
    registered_rules,
    rule,
    type_name,
    unregister_rule,
)

__all__ = [
    "KINDS",
    "Category",
    "Classification",
    "CountsAs",
    "Kind",
    "KindDefaults",
    "Origin",
    "ReachedServer",
    "RecoveryStrategy",
    "Registration",
    "Severity",
    "category_of_code",
    "classify",
    "classify_for_core",
    "kind_of_code",
    "load_entry_points",
    "register_rule",
    "registered_rules",
    "rule",
    "severity_of_number",
    "type_name",
    "unregister_rule",
]

_backend.core.configure(classify=classify_for_core)

# The core's own function and no wrapper around it: a call costs as much as the answer.
classify: Final[Callable[[BaseException], Classification]] = _backend.core.classify
