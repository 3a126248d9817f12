"""Write the table of `docs/security.md`: `python -m tests.hostile`."""

from itertools import groupby
from pathlib import Path

from tests.hostile.attempts import ATTEMPTS
from tests.support.unprivileged import run_module

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
START, END = "<!-- attempts -->\n", "<!-- end of attempts -->\n"


def main() -> None:
    """Run the probe, and replace the table."""
    probe = run_module("tests.hostile.probe", "confined")
    results = probe["results"]
    assert isinstance(results, dict)
    lines = [f"Result on Linux {str(probe['kernel']).partition('-')[0]}, x86_64:\n"]
    for section, attempts in groupby(ATTEMPTS, key=lambda attempt: attempt.section):
        lines += [f"\n### {section}", "| attempt | system call | result |", "| --- | --- | --- |"]
        for attempt in attempts:
            result = results[attempt.title]
            shown = "denied" if result in {"EPERM", "ENOSYS"} else result
            lines.append(f"| {attempt.title} | `{attempt.call}` | {shown} |")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(before + START + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
