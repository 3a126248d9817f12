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
    assert BUILD(None) is STANDARD


def test_users_with_equal_preferences_share_one_recipe() -> None:
    assert BUILD(a_profile("user_1", "Mine")) is BUILD(a_profile("user_2", "Mine"))
    assert BUILD(a_profile("user_1", "Mine")) != BUILD(a_profile("user_1", "Yours"))


def test_a_user_s_logo_is_below_the_prefix() -> None:
    profile = Profile(user_id="user_1", preferences=Preferences(watermark_image="acme.png"))

    assert BUILD(profile).logo == Logo("s3://bucket/logos/acme.png")


async def test_the_recipe_of_a_user_includes_the_content_of_its_logo() -> None:
    profiles, logos = FakeProfiles(), FakeLogos()
    profiles.profiles["user_1"] = a_profile("user_1", "Mine")
    logos.quality = 71

    recipes = Recipes(profiles, BUILD, logos.fill)

    assert await recipes.for_user("user_1") == replace(STANDARD.with_text("Mine"), quality=71)
    assert await recipes.for_user("user_2") == replace(STANDARD, quality=71)
