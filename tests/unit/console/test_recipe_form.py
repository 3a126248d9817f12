"""The form of the recipe preview: the recipe it describes, and the settings that make it the worker's."""

import io

import hypothesis
import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from worker.console.recipe_form import RecipeForm, RecipeSettings, read_form
from worker.domain.recipe import Anchor, Fit, Gravity, OutputFormat, Size
from worker.recipe_settings import sizes, standard_recipe, standard_watermark
from worker.settings import Settings

CARD = {"width": 600, "height": 400, "fit": "cover", "quality": 70, "target_bytes": 40_000}


def settings_of(**changes: object) -> Settings:
    return Settings.model_validate({"bucket": "uploads", **changes})


def recipe_settings(settings: Settings) -> RecipeSettings:
    return RecipeSettings(
        standard=standard_recipe(settings),
        sizes=sizes(settings),
        custom_sizes=frozenset(settings.sizes),
        watermark=standard_watermark(settings),
        logo_prefix=f"s3://{settings.bucket}/{settings.watermark_logos_prefix}",
    )


def form(query: dict[str, str], **changes: object) -> RecipeForm:
    return read_form(query, recipe_settings(settings_of(**changes)))


def settings_after(read: RecipeForm, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a worker that has the lines of the form in its `.env` file."""
    assert read.change
    unchanged = {name: getattr(settings, name) for name in settings.model_fields_set}
    lines = dotenv_values(stream=io.StringIO(read.change.env_file()))
    changed = {name.removeprefix("WORKER_").lower() for name in lines}
    with monkeypatch.context() as patch:
        for name, value in lines.items():
            patch.setenv(name, value or "")
        return Settings(**{name: value for name, value in unchanged.items() if name not in changed})


def test_a_form_without_changes_describes_the_recipe_of_the_worker() -> None:
    read = form({})
    assert read.change
    assert read.change.standard == standard_recipe(settings_of())
    assert read.change.environment == {}
    assert read.change.is_in_recipe


def test_a_changed_size_is_written_with_the_other_sizes_of_the_settings() -> None:
    read = form({"width": "900", "fit": "cover", "gravity": "top", "format": "webp"}, sizes={"card": CARD})
    assert read.change
    assert read.change.size == Size(
        "medium", 900, 600, fit=Fit.COVER, gravity=Gravity.TOP, format=OutputFormat.WEBP
    )
    assert read.change.env_file() == (
        'WORKER_SIZES={"card":{"width":600,"height":400,"fit":"cover","quality":70,"target_bytes":40000},'
        '"medium":{"width":900,"height":600,"fit":"cover","gravity":"top","format":"webp"}}'
    )


def test_the_quality_is_that_of_the_size_if_it_has_its_own() -> None:
    common, own = form({"quality": "60"}), form({"quality": "60", "size": "card"}, sizes={"card": CARD})
    assert common.change
    assert own.change
    assert common.change.environment == {"WORKER_QUALITY": "60"}
    assert own.change.environment.keys() == {"WORKER_SIZES"}
    assert not own.change.is_in_recipe


def test_a_watermark_is_turned_off_and_on() -> None:
    off, on = form({"watermark": "off"}), form({"watermark": "text"}, watermark_enabled=False)
    assert off.change
    assert off.change.standard.watermark is None
    assert off.change.environment == {"WORKER_WATERMARK_ENABLED": "false"}
    assert on.change
    assert on.change.environment == {"WORKER_WATERMARK_ENABLED": "true"}


def test_a_logo_is_named_by_its_key_below_the_prefix_of_logos() -> None:
    read = form({"watermark": "logo", "logo": "acme.png"})
    assert read.change
    assert read.change.environment == {"WORKER_WATERMARK_IMAGE": "s3://uploads/logos/acme.png"}


@pytest.mark.parametrize("logo", ["/etc/passwd", "s3://secrets/logo.png", "../../key"])
def test_a_form_names_no_logo_outside_the_prefix_of_logos(logo: str) -> None:
    read = form({"watermark": "logo", "logo": logo})
    assert read.change
    assert read.change.standard.logo
    assert read.change.standard.logo.source == f"s3://uploads/logos/{logo}"


def test_the_logo_of_the_settings_is_kept_wherever_it_is() -> None:
    read = form({"opacity": "0.9"}, watermark_image="/srv/logo.png")
    assert read.fields["logo"].value == "/srv/logo.png"
    assert read.change
    assert read.change.environment == {"WORKER_WATERMARK_OPACITY_SHARE": "0.9"}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"width": "0"}, "Width is '0'; write a number from 1 to 4,096."),
        ({"height": "wide"}, "Height is 'wide'; write a number from 1 to 4,096."),
        ({"width": ""}, "Width is empty; write a number from 1 to 4,096."),
        ({"width": "9" * 5000}, f"Width is '{'9' * 40}...'; write a number from 1 to 4,096."),
        ({"fit": "zoom"}, "Fit is 'zoom'; choose one of inside, cover, contain, fill."),
        ({"size": "huge"}, "Size is 'huge'; choose one of thumbnail, small, medium, large."),
        ({"quality": "101"}, "Quality is '101'; write a number from 1 to 100."),
        ({"targetBytes": "3"}, "Maximum bytes is '3'; write a number from 1,000 to 100,000,000."),
        ({"opacity": "0"}, "Opacity is '0'; write a number above 0, up to 1."),
        ({"opacity": "nan"}, "Opacity is 'nan'; write a number above 0, up to 1."),
        ({"opacity": "."}, "Opacity is '.'; write a number above 0, up to 1."),
        ({"colour": "red"}, "Colour is 'red'; write it as #rrggbb."),
        ({"background": "red"}, "Background is 'red'; write it as #rrggbb or #rrggbbaa."),
        ({"outline": "red"}, "Outline is 'red'; write it as #rrggbb, or none."),
        ({"text": " "}, "Text is empty; write one, or turn the watermark off."),
        ({"text": "a" * 201}, "Text has 201 characters; write at most 200."),
        ({"text": "a\nWORKER_BUCKET=x"}, "Text contains a control character or a line break; remove it."),
        ({"watermark": "logo"}, "Logo is empty; write its key below logos/."),
        ({"watermark": "logo", "logo": "a" * 1025}, "Logo has a key of more than 1,024 bytes; shorten it."),
        ({"watermark": "logo", "logo": "a\rb"}, "Logo contains a control character; remove it."),
        ({"enlarge": "maybe"}, "Enlarge small images is 'maybe'; choose one of no, yes."),
    ],
)
def test_an_invalid_value_is_explained_in_one_sentence(query: dict[str, str], error: str) -> None:
    read = form(query)
    assert read.change is None
    assert list(read.errors.values()) == [error]


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(str)


def shares() -> st.SearchStrategy[str]:
    return st.floats(0.001, 1).map(lambda share: f"{share:.6f}")


COLOURS = st.from_regex(r"\A#[0-9a-f]{6}\Z")
TEXTS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" #'\"$\\{}=`"), min_size=1)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from(["thumbnail", "small", "medium", "large", "card"]),
        "width": numbers(1, 4096),
        "height": numbers(1, 4096),
        "fit": st.sampled_from([*Fit]).map(str),
        "gravity": st.sampled_from([*Anchor]).map(str),
        "format": st.sampled_from([*OutputFormat]).map(str),
        "background": COLOURS | COLOURS.map(lambda colour: f"{colour}80"),
        "enlarge": st.sampled_from(["no", "yes"]),
        "quality": numbers(1, 100),
        "targetBytes": st.just("") | numbers(1000, 100_000_000),
        "watermark": st.sampled_from(["text", "logo", "off"]),
        "text": TEXTS.filter(lambda text: text.strip() and len(text) <= 200),
        "logo": TEXTS.map(str.strip).filter(lambda key: 0 < len(key) < 100),
        "position": st.sampled_from([*Anchor]).map(str),
        "opacity": shares(),
        "textShare": shares(),
        "logoShare": shares(),
        "tiled": st.sampled_from(["no", "yes"]),
        "rotation": numbers(-180, 180),
        "colour": COLOURS,
        "outline": COLOURS | st.just("none"),
    },
)
CURRENT = st.sampled_from(
    [
        settings_of(),
        settings_of(sizes={"card": CARD}, default_size="card", extra_sizes=["medium", "thumbnail"]),
        settings_of(watermark_enabled=False, watermark_image="/srv/logo.png", watermark_tiled=True),
        settings_of(watermark_image="s3://uploads/logos/acme.png", watermark_outline="none"),
    ]
)


@hypothesis.settings(deadline=None)  # builds settings twice
@given(query=QUERIES, settings=CURRENT)
def test_the_lines_of_the_form_make_its_recipe_that_of_the_worker(
    query: dict[str, str], settings: Settings
) -> None:
    read = read_form(query, recipe_settings(settings))
    if read.change is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        after = settings_after(read, settings, patch)
    assert standard_recipe(after) == read.change.standard
    assert sizes(after) == read.change.sizes
