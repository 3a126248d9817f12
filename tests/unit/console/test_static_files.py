import hashlib
import json

from worker.console.static_files import FOLDER, read_static_files

VENDOR = FOLDER / "vendor"


def test_vendored_files_are_those_of_the_manifest() -> None:
    manifest = json.loads((VENDOR / "manifest.json").read_text())
    expected = {entry["file"]: entry["sha256"] for entry in manifest["files"]}
    assert expected == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.js")
    }
    for entry in manifest["files"]:
        assert entry.keys() == {"file", "package", "version", "path", "licence", "sha256"}
        assert entry["licence"] == "0BSD"


def test_style_sheets_and_scripts_stay_small() -> None:
    own = {name: file for name, file in read_static_files().items() if not name.startswith("vendor/")}
    assert sum(len(file.content) for name, file in own.items() if name.endswith(".css")) <= 20_000
    assert sum(len(file.content) for name, file in own.items() if name.endswith(".js")) <= 10_000


def test_style_sheets_load_nothing_from_elsewhere() -> None:
    for path in FOLDER.glob("*.css"):
        text = path.read_text()
        assert "url(" not in text
        assert "@import" not in text
