"""`image-worker demo` and `image-worker local`."""

import asyncio
import json
import os
import re
import signal
from pathlib import Path

import pytest
from PIL import Image

from tests.acceptance.conftest import Command, until_logged
from tests.support.pictures import encoded, quadrants

PHOTOS = Path(os.environ.get("IMAGE_WORKER_PHOTOS", Path(__file__).parents[3] / "shared" / "photos"))


@pytest.fixture
def newcomer(tmp_path: Path) -> Command:
    """The command without AWS, account or settings."""
    environment = {
        "PATH": "",
        "WORKER_PROCESSES": "2",
        "WORKER_HTTP_PORT": "0",
        "WORKER_CONSOLE_PORT": "0",
    }
    return Command(tmp_path, environment)


async def test_the_demo_needs_no_setup_and_writes_results_and_a_contact_sheet(newcomer: Command) -> None:
    ended = await newcomer.run("demo", "--json", "--out", "results")

    assert ended.status == 0, ended.stderr
    document = json.loads(ended.stdout)
    images = {image["file"]: image for image in document["images"]}
    assert len(images) >= 12
    assert images["sea-from-an-iphone.heic"]["original"]["width"] == 3024
    failed = {name: image["error"]["code"] for name, image in images.items() if image["status"] == "failed"}
    assert failed == {"broken-on-purpose.jpg": "truncated"}
    results = newcomer.folder / "results"
    for image in images.values():
        if image["processed"]:
            assert image["processed"]["width"] <= 800
            assert image["processed"]["height"] <= 600
    with Image.open(results / "contact-sheet.png") as sheet:
        assert sheet.format == "PNG"
    assert len(list(results.iterdir())) == len(images) - len(failed) + 1


async def test_the_demo_prints_a_table_of_the_results(newcomer: Command) -> None:
    (newcomer.folder / "mine").mkdir()
    (newcomer.folder / "mine" / "holidays.jpg").write_bytes(encoded(quadrants(1200, 800)))
    (newcomer.folder / "mine" / "broken.png").write_bytes(encoded(quadrants(1200, 800), "PNG")[:900])
    (newcomer.folder / "mine" / "notes.txt").write_text("no picture")
    (newcomer.folder / "mine" / "more").mkdir()

    ended = await newcomer.run("demo", "mine")

    assert ended.status == 0, ended.stderr
    assert re.search(r"holidays\.jpg +1200x800 .* 800x533 .* completed", ended.stdout)
    assert re.search(r"broken\.png .* failed", ended.stdout)
    assert "broken.png: truncated: the file is incomplete: it ends before the image data does" in ended.stdout
    assert "Skipped because they are not image files: more/, notes.txt" in ended.stdout
    assert (newcomer.folder / "demo-out" / "holidays.jpg").exists()


async def test_files_whose_results_have_the_same_name_have_a_result_each(newcomer: Command) -> None:
    folder = newcomer.folder / "mine"
    folder.mkdir()
    for name in ("IMG_1.jfif", "IMG_1.jfif.jpg", "img_1.JFIF.JPG"):
        (folder / name).write_bytes(encoded(quadrants(400, 400)))
    (folder / "contact-sheet.png").write_bytes(encoded(quadrants(400, 400), "PNG"))

    ended = await newcomer.run("demo", "mine", "--json", "--out", "results")

    assert ended.status == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["skippedFiles"] == []
    assert {image["status"] for image in document["images"]} == {"completed"}
    assert {
        "IMG_1.jfif.jpg",
        "IMG_1.jfif (2).jpg",
        "img_1.JFIF (3).JPG",
        "contact-sheet (2).png",
        "contact-sheet.png",
    } == {file.name for file in (newcomer.folder / "results").iterdir()}


@pytest.mark.parametrize(("columns", "heading"), [("80", "ms"), ("120", "validation")])
async def test_the_demo_s_table_fits_the_terminal(newcomer: Command, columns: str, heading: str) -> None:
    (newcomer.folder / "mine").mkdir()
    name = "sea-at-sunset-progressive.jpg"
    (newcomer.folder / "mine" / name).write_bytes(encoded(quadrants(1200, 800)))

    ended = await newcomer.run("demo", "mine", COLUMNS=columns)

    lines = ended.stdout.splitlines()
    assert heading in lines[0].split()
    assert re.fullmatch(rf"{name} +1200x800 .* 800x533 .* completed", lines[2].rstrip())
    assert all(len(line) <= int(columns) for line in lines[:3])


@pytest.mark.parametrize("arguments", [("demo", "no-such-folder"), ("demo", ".")])
async def test_a_folder_without_images_is_a_usage_error(
    newcomer: Command, arguments: tuple[str, ...]
) -> None:
    ended = await newcomer.run(*arguments)

    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1, ended.stderr


async def test_local_keeps_its_data_between_runs(newcomer: Command) -> None:
    picture = newcomer.folder / "picture.jpg"
    picture.write_bytes(encoded(quadrants(800, 800)))

    async def started(*arguments: str) -> str:
        async with newcomer.started("local", "--state", "state", "--port", "0") as aws:
            line = await until_logged(aws, "export ")
            variables = dict(pair.split("=", 1) for pair in line.split()[1:])
            ended = await newcomer.run(*arguments, **variables)
            assert ended.status == 0, ended.stderr
            aws.send_signal(signal.SIGINT)
            async with asyncio.timeout(30):
                await aws.communicate()
        assert aws.returncode == 0
        return ended.stdout

    uploaded = json.loads(await started("upload", "picture.jpg", "--user", "alice", "--wait", "--json"))
    image_id = uploaded["images"][0]["imageId"]
    kept = json.loads(await started("images", "get", image_id, "--json"))

    assert (kept["imageId"], kept["status"]) == (image_id, "completed")


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="real photographs are never part of the project")
async def test_real_photographs_are_processed_correctly(newcomer: Command) -> None:
    ended = await newcomer.run("demo", str(PHOTOS), "--json", "--out", "results")

    assert ended.status == 0, ended.stderr
    images = {image["file"]: image for image in json.loads(ended.stdout)["images"]}
    assert images["truncated.png"]["error"]["code"] == "truncated"
    assert images["not_an_image.jpg"]["error"]["code"] == "not_an_image"
    rejected = {"truncated.png", "not_an_image.jpg"}
    assert {image["status"] for name, image in images.items() if name not in rejected} == {"completed"}
    for number in range(1, 9):
        processed = images[f"orientation_{number}.jpg"]["processed"]
        assert (processed["width"], processed["height"]) == (800, 533)
