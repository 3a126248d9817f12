import subprocess
import sys


def loaded(modules: str, *names: str) -> list[str]:
    """Import modules in a new interpreter; return which of the named packages are loaded then."""
    program = f"import sys, {modules}; print(*(name for name in sys.modules))"
    found = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    return [name for name in found if any(name == each or name.startswith(f"{each}.") for each in names)]


def test_the_worker_itself_loads_neither_the_console_nor_its_templates() -> None:
    assert loaded("worker.cli.run, worker.bootstrap", "jinja2", "markupsafe", "jwt", "worker.console") == []


def test_the_console_loads_nothing_that_decodes_images() -> None:
    assert loaded("worker.console.app", "PIL", "numpy", "worker.imaging") == []


def test_the_console_gets_plain_arguments() -> None:
    assert loaded("worker.console.app", "worker.settings", "worker.cli", "worker.bootstrap") == []
