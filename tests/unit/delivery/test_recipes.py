from dataclasses import replace

from tests.support.builders import a_recipe
from tests.support.fakes.ports import FakeLogos, FakeProfiles
from worker.delivery.recipes import Recipes, recipe_builder
from worker.domain.profile import Preferences, Profile
from worker.domain.recipe import Logo

STANDARD = a_recipe()
BUILD = recipe_builder(STANDARD, {}, logo_prefix="s3://bucket/logos/")


def a_profile(user_id: str, text: str) -> Profile:
    return Profile(user_id=user_id, preferences=Preferences(watermark_text=text))


def test_a_user_without_a_profile_gets_the_standard_recipe() -> None:
    assert BUILD(None).recipe is STANDARD


def test_users_with_equal_preferences_share_one_recipe() -> None:
    assert BUILD(a_profile("user_1", "Mine")).recipe is BUILD(a_profile("user_2", "Mine")).recipe
    assert BUILD(a_profile("user_1", "Mine")).recipe != BUILD(a_profile("user_1", "Yours")).recipe


def test_a_user_s_logo_is_below_the_prefix() -> None:
    profile = Profile(user_id="user_1", preferences=Preferences(watermark_image="acme.png"))

    assert BUILD(profile).recipe.logo == Logo("s3://bucket/logos/acme.png")


async def test_the_recipe_of_a_user_includes_the_content_of_its_logo() -> None:
    profiles, logos = FakeProfiles(), FakeLogos()
    profiles.profiles["user_1"] = a_profile("user_1", "Mine")
    logos.quality = 71

    recipes = Recipes(profiles, BUILD, logos.fill)

    first = await recipes.for_upload(user_id="user_1", key="uploads/user_1/a.jpg")
    second = await recipes.for_upload(user_id="user_2", key="uploads/user_2/a.jpg")

    assert first.recipe == replace(STANDARD.with_text("Mine"), quality=71)
    assert second.recipe == replace(STANDARD, quality=71)


def test_a_preference_that_cannot_be_used_is_ignored_and_named() -> None:
    preferences = Preferences(
        default_image_size="gigantic", watermark_text="Mine", watermark_image="k" * 1020, ignored={"a": "b"}
    )
    found = BUILD(Profile(user_id="user_1", preferences=preferences))

    assert found.recipe == STANDARD.with_text("Mine")
    assert found.ignored_preferences == {
        "a": "b",
        "defaultImageSize": "there is no size 'gigantic' to choose",
        "watermarkImage": "its key has 1,026 bytes, above the limit of 1,024",
    }
