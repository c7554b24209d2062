"""Limits are read from a file and the environment, one outranks the other, and what cannot be meant is refused."""

import os

import psutil
import pytest

from density.errors import BadInput
from density.limits import CHARACTERS_A_TOKEN, FILE, PREFIX, Limits, NotAllowed, limits, read_limits


def written(tmp_path, text):
    """An environment that names a file of limits."""
    path = tmp_path / "limits.toml"
    path.write_text(text, encoding="utf-8")
    return {FILE: str(path)}


def test_nothing_said_is_what_suits_one_person():
    found = read_limits({"HOME": "/", "DENSITY_HOME": "/tmp"})
    assert found == Limits()
    assert found.models is None and found.fetching and found.free_names and not found.read_only
    assert found.memory_bytes == psutil.virtual_memory().total // 2


def test_every_limit_is_read_from_the_file_and_from_the_environment(tmp_path):
    expected = Limits(300, ("smollm2-135m", "/srv/models/"), False, 3, 1_500_000_000, 4, 64 * 2**20, True)
    file = """
        tokens = 300
        models = ["smollm2-135m", "/srv/models/"]
        hub = false
        queue = 3
        memory = "1.5 GB"
        models_kept = 4
        disk = 67108864
        read_only = true
    """
    assert read_limits(written(tmp_path, file)) == expected
    environment = {
        "TOKENS": "300",
        "MODELS": "smollm2-135m, /srv/models/",
        "HUB": "no",
        "QUEUE": "3",
        "MEMORY": "1500 MB",
        "MODELS_KEPT": "4",
        "DISK": "64MiB",
        "READ_ONLY": "1",
    }
    assert read_limits({PREFIX + name: value for name, value in environment.items()}) == expected


def test_the_environment_outranks_the_file(tmp_path):
    given = written(tmp_path, 'tokens = 300\nqueue = 3\nmodels = ["x"]')
    found = read_limits({**given, PREFIX + "TOKENS": "200", PREFIX + "MODELS": "any"})
    assert (found.tokens, found.queue, found.models) == (200, 3, None)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TOKENS", "0", "DENSITY_LIMIT_TOKENS is '0'; wanted is a whole number, 1 or more"),
        ("TOKENS", "many", "DENSITY_LIMIT_TOKENS is 'many'; wanted is a whole number"),
        ("TOKENS", "1.5", "wanted is a whole number"),
        ("QUEUE", "-1", "wanted is a whole number"),
        ("MEMORY", "0", "DENSITY_LIMIT_MEMORY is '0': without memory no model can be opened"),
        ("MEMORY", "2 bushels", r"wanted are bytes, or a number with a unit \(kB, MB, GB, KiB, MiB, GiB\)"),
        ("MEMORY", "nan GB", "wanted are bytes"),
        ("DISK", "1.5", "wanted are bytes"),
        ("HUB", "perhaps", "DENSITY_LIMIT_HUB is 'perhaps'; wanted is true or false"),
        ("READ_ONLY", "", "wanted is true or false"),
        ("MODELS", "", "wanted are names of models, or 'any'"),
        ("MODELS", "a,,b", "wanted are names of models"),
        ("MODELS", "models/", "has the folder 'models/'; name it from the root"),
        ("READONLY", "1", "there is no limit DENSITY_LIMIT_READONLY; there are: disk, hub, memory, models"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(name, value, message):
    with pytest.raises(BadInput, match=message):
        read_limits({PREFIX + name: value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokens = true", "tokens in .*limits.toml is True; wanted is a whole number"),
        ("tokens = -4", "wanted is a whole number"),
        ("hub = 1", "hub in .*limits.toml is 1; wanted is true or false"),
        ("models = []", "models in .*limits.toml is "),
        ("models = [1]", "wanted are names of models"),
        ("disk = false", "wanted are bytes"),
        ("toknes = 5", "there is no limit toknes in .*limits.toml; there are: disk"),
        ("[server]\ntokens = 5", "there is no limit server in"),
        ("tokens = ", "which DENSITY_LIMITS names, is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path, text, message):
    with pytest.raises(BadInput, match=message):
        read_limits(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"names .*nothing.toml, which cannot be read \(No such file"):
        read_limits({FILE: str(tmp_path / "nothing.toml")})
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(BadInput, match="is not TOML"):
        read_limits({FILE: str(tmp_path / "bytes.toml")})


def test_limits_are_read_once(monkeypatch):
    limits.cache_clear()
    monkeypatch.setenv(PREFIX + "TOKENS", "5")
    try:
        assert limits().tokens == 5
        monkeypatch.setenv(PREFIX + "TOKENS", "6")
        assert limits().tokens == 5
    finally:
        limits.cache_clear()


def test_read_only_fetches_nothing_whatever_is_said_of_the_hub():
    assert not Limits(read_only=True, hub=True).fetching


def test_a_model_is_allowed_by_its_very_name():
    allowed = Limits(models=("smollm2-135m", "org/name@main"))
    assert allowed.allows_model("smollm2-135m") and allowed.allows_model("org/name@main")
    assert not any(map(allowed.allows_model, ("org/name", "gemma3-270m", "", "smollm2-135m/", "/etc/passwd")))
    assert not allowed.free_names
    assert all(map(Limits().allows_model, ("anything", "/at/all")))


def test_a_folder_allows_what_is_in_it_and_no_link_out_of_it(tmp_path):
    inside, outside = tmp_path / "models", tmp_path / "models-of-others"
    for folder in (inside / "one", outside / "two"):
        folder.mkdir(parents=True)
    os.symlink(outside / "two", inside / "two")
    os.symlink(inside / "one", outside / "one")
    allowed = Limits(models=(f"{inside}/",))
    assert allowed.free_names and allowed.named == ()
    assert allowed.allows_model(str(inside / "one")) and allowed.allows_model(f"{inside}/new.gguf")
    assert allowed.allows_model(str(outside / "one"))
    refused = [inside / "two", outside / "two", inside / ".." / "models-of-others" / "two", outside, "one", "\x00/"]
    assert not any(allowed.allows_model(str(name)) for name in refused)


def test_what_is_not_allowed_is_said_with_what_is():
    allowed = Limits(models=("smollm2-135m", "/srv/models/"), tokens=10)
    with pytest.raises(
        NotAllowed, match=r"does not offer the model '../../etc/passwd'; it offers: smollm2-135m, /srv/models/"
    ):
        allowed.check("../../etc/passwd", "text")
    allowed.check("smollm2-135m", "x" * 10 * CHARACTERS_A_TOKEN)
    with pytest.raises(NotAllowed, match="the text has 641 characters and this server reads 640 at most, in 10 tokens"):
        allowed.check("smollm2-135m", "x" * (10 * CHARACTERS_A_TOKEN + 1))
    allowed.check_tokens(10)
    with pytest.raises(NotAllowed, match="the text has 11 tokens and this server reads 10 at most"):
        allowed.check_tokens(11)
