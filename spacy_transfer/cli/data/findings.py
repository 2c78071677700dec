"""Printing findings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...text_output import echo, msg

if TYPE_CHECKING:
    from ...corpora.inspection.findings import Finding


def print_findings(findings: "Sequence[Finding]") -> None:
    """Print findings, each with its code and examples.

    findings (Sequence[Finding]): In their order.
    """
    show = {"error": msg.fail, "warning": msg.warn, "info": msg.info}
    for found in findings:
        show[found.level](f"{found.code}: {found.message}")
        for example in found.examples:
            echo(f"    {example}")
