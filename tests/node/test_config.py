"""Settings: one table, strict, and every value knows where it came from."""

from pathlib import Path

import msgspec
import pytest

from trustnode.config import FILE_NAME, SETTINGS, Config, Limits, load, reference, render, write_default
from trustnode.errors import TrustnodeError

ROOT = Path(__file__).resolve().parents[2]


def refused(function, *args) -> TrustnodeError:
    with pytest.raises(TrustnodeError) as caught:
        function(*args)
    assert caught.value.reason == "CONFIG_INVALID"
    return caught.value


def write(home: Path, text: str) -> Path:
    (home / FILE_NAME).write_text(text)
    return home


def test_without_a_file_everything_is_a_default(tmp_path):
    loaded = load(tmp_path, {})
    assert loaded.config == Config()
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == set(SETTINGS)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path):
    home = write(tmp_path, '[node]\nlisten = "file:1"\nname = "File"\narea = "3300"\n')
    environ = {"TRUSTNODE_NODE_LISTEN": "environment:1", "TRUSTNODE_NODE_NAME": "Environment"}
    config, origins = load(home, environ, {"node.listen": "flag:1", "node.name": None})
    assert (config.node.listen, config.node.name, config.node.area) == ("flag:1", "Environment", "3300")
    assert origins["node.listen"] == "flag"
    assert origins["node.name"] == "environment TRUSTNODE_NODE_NAME"
    assert origins["node.area"] == "file line 4"
    assert origins["node.level"] == "default"


def test_text_of_the_environment_becomes_numbers_lists_and_booleans(tmp_path):
    environ = {
        "TRUSTNODE_LIMITS_MAX_CALL_S": "7",
        "TRUSTNODE_NODE_DNS": "a.example, b.example",
        "TRUSTNODE_LOG_REQUESTS": "false",
    }
    config, _ = load(tmp_path, environ)
    assert (config.limits.max_call_s, config.node.dns, config.log.requests) == (7, ("a.example", "b.example"), False)


def test_a_value_may_lie_in_a_file_of_its_own(tmp_path):
    (tmp_path / "secret").write_text("from a file\n")
    config, origins = load(tmp_path, {"TRUSTNODE_NODE_NAME_FILE": str(tmp_path / "secret")})
    assert config.node.name == "from a file"
    assert origins["node.name"] == "environment TRUSTNODE_NODE_NAME_FILE"
    assert refused(load, tmp_path, {"TRUSTNODE_NODE_NAME_FILE": str(tmp_path / "gone")}).metadata["field"] == "gone"


def test_an_unknown_key_is_told_with_the_nearest_one_its_line_and_column(tmp_path):
    refusal = refused(load, write(tmp_path, "[limits]\n# comment\n  max_cal_s = 3\n"), {})
    assert refusal.message == "unknown key limits.max_cal_s; did you mean limits.max_call_s? (line 3, column 3)"
    assert (refusal.metadata["line"], refusal.metadata["column"]) == ("3", "3")


@pytest.mark.parametrize(
    "text, said",
    [
        ("[limit]\n", "unknown section limit; did you mean limits?"),
        ("[node\n", "trustnode.toml: "),
        ("node = 3\n", "[node] is a table (line 1, column 1)"),
        ("[node]\nlisten = 7\n", "node.listen (file line 2): Expected `str`, got `int`"),
        ("[limits]\nmax_call_s = 0\n", "limits.max_call_s (file line 2): Expected `int` >= 1"),
        ("[limits]\nmax_call_s = '7'\n", "limits.max_call_s (file line 2): Expected `int`, got `str`"),
        ('[node]\nlevel = "GLOBAL"\n', "node.level (file line 2): Expected `str` matching"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, text, said):
    assert said in refused(load, write(tmp_path, text), {}).message


def test_a_misspelt_variable_or_flag_is_refused_and_a_foreign_one_is_not(tmp_path):
    assert "TRUSTNODE_NODE_LISTEN?" in refused(load, tmp_path, {"TRUSTNODE_NODE_LISTN": "x"}).message
    assert "node.listen?" in refused(load, tmp_path, {}, {"node.listn": "x"}).message
    assert load(tmp_path, {"TRUSTNODE_HOME": "x", "PATH": "y"}).config == Config()


def test_the_written_file_reads_back_and_says_every_key(tmp_path):
    values = {"node.trust_domain": "zj.example", "node.dns": ["data.zj.example"], "limits.max_call_s": 5}
    write_default(tmp_path / FILE_NAME, values)
    config, origins = load(tmp_path, {})
    assert (config.node.trust_domain, config.node.dns, config.limits.max_call_s) == (
        "zj.example",
        ("data.zj.example",),
        5,
    )
    assert [key for key, origin in origins.items() if origin.startswith("file")] == sorted(
        values, key=list(SETTINGS).index
    )
    text = (tmp_path / FILE_NAME).read_text()
    assert all(f"{key.split('.')[1]} = " in text for key in SETTINGS)
    with pytest.raises(FileExistsError):
        write_default(tmp_path / FILE_NAME, values)


def test_uncommenting_every_line_of_the_written_file_changes_nothing(tmp_path):
    lines = [line.removeprefix("# ") if " = " in line else line for line in render({}).splitlines()]
    assert load(write(tmp_path, "\n".join(lines)), {}).config == Config()


def test_every_setting_says_what_it_means_and_numbers_say_their_bounds():
    for setting in SETTINGS.values():
        assert setting.meaning, setting.key
        if type(setting.default) is int:
            assert setting.type.__metadata__[0].ge is not None, setting.key
    assert msgspec.convert({}, Limits) == Limits()


def test_the_reference_page_is_the_table():
    assert (ROOT / "docs/config.md").read_text("utf-8") == reference()
