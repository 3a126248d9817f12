import subprocess
import sys
from functools import cache


@cache
def modules_after(imports: str) -> tuple[str, ...]:
    """Import modules in a new interpreter; return all that are loaded then."""
    program = f"import sys, {imports}; print(*sys.modules)"
    return tuple(subprocess.check_output([sys.executable, "-c", program], text=True).split())


def loaded(imports: str, *names: str) -> list[str]:
    """Return which of the named packages are loaded after imports."""
    found = modules_after(imports)
    return [name for name in found if any(name == each or name.startswith(f"{each}.") for each in names)]


def test_the_worker_itself_loads_neither_the_console_nor_its_templates() -> None:
    assert loaded("worker.cli.run, worker.bootstrap", "jinja2", "markupsafe", "jwt", "worker.console") == []


def test_the_console_loads_nothing_that_decodes_images() -> None:
    assert loaded("worker.console.app", "PIL", "numpy", "worker.imaging") == []


def test_the_console_gets_plain_arguments() -> None:
    assert loaded("worker.console.app", "worker.settings", "worker.cli", "worker.bootstrap") == []
