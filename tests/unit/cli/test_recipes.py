"""`image-worker recipes`, and the option `--config`."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.support.pictures import encoded, quadrants
from worker.cli.app import run

pytestmark = pytest.mark.usefixtures("_unconfigured_logs")

FILE = """
[sizes.square]
width = 64
height = 64
fit = "cover"
format = "png"

[[recipes]]
match = "uploads/*/avatars/**"
sizes = ["square"]
watermark = false

[[recipes]]
user = "acme"
sizes = ["large", "thumbnail"]
preferences = false
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKER_CONFIG_FILE", "")  # which the commands set in this process
    path = tmp_path / "worker.toml"
    path.write_text(FILE)
    return path


def test_show_lists_the_recipes_in_order_and_the_default_at_last(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--config", str(file), "recipes", "show", "--json"]) == 0
    recipes = json.loads(capsys.readouterr().out)["recipes"]
    assert [(each["number"], each["match"], each["user"], each["preferences"]) for each in recipes] == [
        (1, ["uploads/*/avatars/**"], [], True),
        (2, [], ["acme"], False),
        (0, [], [], True),
    ]
    assert [each["recipe"]["sizes"][0]["name"] for each in recipes] == ["square", "large", "medium"]
    assert len({each["hash"] for each in recipes}) == 3
    assert run(["--config", str(file), "recipes", "show"]) == 0
    shown = capsys.readouterr().out
    assert "uploads/*/avatars/**" in shown
    assert "square 64x64 cover png" in shown


@pytest.mark.parametrize(
    ("key", "number"),
    [("uploads/acme/avatars/a.png", 1), ("uploads/acme/a.png", 2), ("uploads/other/a.png", 0)],
)
def test_show_finds_the_recipe_of_an_upload(
    file: Path, capsys: pytest.CaptureFixture[str], key: str, number: int
) -> None:
    assert run(["--config", str(file), "recipes", "show", "--key", key, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["recipes"]
    assert found["number"] == number


def test_check_reports_a_valid_file_and_what_the_environment_overrides(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("quality = 70\n" + FILE)
    monkeypatch.setenv("WORKER_QUALITY", "71")
    assert run(["recipes", "check", str(file)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{file} is valid: 2 recipes, 1 sizes of its own\n"
    assert "WORKER_QUALITY is set in the environment, and overrides the file" in captured.err


def test_check_names_the_line_of_an_error_on_one_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FILE.replace('["square"]', '["squre"]'))
    assert run(["recipes", "check", str(file)]) == 2
    captured = capsys.readouterr()
    reason = "there is no size 'squre'; did you mean 'square'?"
    assert captured.err == f"image-worker: {file}:10: recipes[1].sizes[1]: {reason}\n"
    assert captured.out == ""


def test_preview_makes_the_results_of_an_image_by_the_recipe_of_its_key(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = tmp_path / "me.jpg", tmp_path / "results"
    image.write_bytes(encoded(quadrants(96, 72)))
    arguments = ["recipes", "preview", str(file), str(image), "--out", str(out), "--json"]
    assert run([*arguments, "--key", "uploads/alice/avatars/me.jpg"]) == 0
    document = json.loads(capsys.readouterr().out)
    (result,) = document["results"]
    assert (document["recipe"], result["file"]) == (1, str(out / "me@square.png"))
    with Image.open(out / "me@square.png") as made:
        assert (made.format, made.size) == ("PNG", (64, 64))


def test_preview_of_a_file_that_is_no_image_ends_with_its_reason(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    assert run(["recipes", "preview", str(file), str(text), "--out", str(tmp_path / "results")]) == 1
    assert "the file is not an image in any known format" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
