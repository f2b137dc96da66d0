from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from api.settings import DOCUMENTED, read_settings
from dse.errors import SpecError

ROOT = Path(__file__).parents[2]


def test_home_is_made_and_holds_the_database(tmp_path: Path) -> None:
    settings = read_settings({"DSE_HOME": str(tmp_path / "a" / "b")})

    assert settings.home == tmp_path / "a" / "b"
    assert settings.home.is_dir()
    assert make_url(settings.database_url).database == str(settings.home / "dse.db")
    assert settings.places.home == settings.home


def test_default_home_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert read_settings({}).home == tmp_path / ".beacon-dse"
    assert read_settings({"DSE_HOME": ""}).home == tmp_path / ".beacon-dse"
    assert read_settings({"DSE_HOME": "~/x"}).home == tmp_path / "x"


def test_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert read_settings({"DSE_HOME": "here"}).home == tmp_path / "here"


@pytest.mark.parametrize("name", ["a?b=c", "a#b", "a%20b", "a b@c:d", "ü"])
def test_signs_that_mean_something_in_urls_stay_in_the_path(name: str, tmp_path: Path) -> None:
    settings = read_settings({"DSE_HOME": str(tmp_path / name)})

    assert make_url(settings.database_url).database == str(tmp_path / name / "dse.db")


def test_given_database_is_kept_as_it_is(tmp_path: Path) -> None:
    settings = read_settings({"DSE_HOME": str(tmp_path), "DSE_DATABASE_URL": "sqlite:///x.db"})

    assert settings.database_url == "sqlite:///x.db"


@pytest.mark.parametrize(
    ("setting", "name"), [("DSE_TIMIT", "timit"), ("DSE_FSDD", "fsdd"), ("DSE_MNIST", "mnist")]
)
def test_data_set_is_a_folder_by_name(setting: str, name: str, tmp_path: Path) -> None:
    settings = read_settings({"DSE_HOME": str(tmp_path), setting: "/data/mine"})

    assert settings.folders == {name: Path("/data/mine")}
    assert read_settings({"DSE_HOME": str(tmp_path)}).folders == {}


@pytest.mark.parametrize("setting", ["DSE_HOME", "DSE_TIMIT", "DSE_FSDD"])
def test_home_of_nobody_is_refused(setting: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"{setting} must be a folder, got ~nobody-of-that-name"):
        read_settings({"DSE_HOME": str(tmp_path), setting: "~nobody-of-that-name/x"})


def test_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    for place in ("file", "file/below"):
        with pytest.raises(SpecError, match=f"DSE_HOME must be a folder, got .*{place}"):
            read_settings({"DSE_HOME": str(tmp_path / place)})


@pytest.mark.parametrize("setting", sorted(DOCUMENTED))
def test_every_setting_is_documented(setting: str) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]

    assert any(f"`{setting}`" in page.read_text(encoding="utf-8") for page in pages)
