"""What commands print: widths, times, money, tables, errors, exit statuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from trustnode.cli import exit_status, output
from trustnode.cli.lazy import ALIASES, LazyGroup
from trustnode.cli.root import COMMANDS, root
from trustnode.errors import REASONS, error

CHECKOUT = Path(__file__).parents[3]


def run(*words, **options):
    return CliRunner().invoke(root, list(words), **options)


# --- exit statuses ----------------------------------------------------------------------------------------------------


def test_every_reason_has_an_exit_status_of_the_closed_table():
    assert {row.exit_status for row in REASONS.values()} <= set(exit_status.STATUSES)


def test_every_status_is_given_by_a_reason_or_by_a_command():
    by_commands = {exit_status.DONE, exit_status.ALARMS, exit_status.WAITS}

    assert {row.exit_status for row in REASONS.values()} | by_commands == set(exit_status.STATUSES)


def test_the_page_of_exit_statuses_shows_the_table():
    assert (CHECKOUT / "docs/exit-status.md").read_text(encoding="utf-8") == exit_status.page()


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_wrong_command_is_a_usage_error_with_status_two():
    done = run("serach")

    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("USAGE  No such command 'serach'.")


def test_an_error_with_json_is_one_object_on_stderr():
    done = run("why", "OFFER_UNENFORCABLE", "--json")
    body = json.loads(done.stderr)["error"]

    assert done.exit_code == REASONS["VOCABULARY_UNKNOWN"].exit_status
    assert done.stdout == ""
    assert body["reason"] == "VOCABULARY_UNKNOWN"
    assert "did you mean OFFER_UNENFORCEABLE?" in body["message"]
    assert set(body) >= {"reason", "message", "next_step", "retryable"}
    assert body["retryable"] is False


def test_a_refusal_says_refused_its_reason_and_what_to_do(monkeypatch):
    monkeypatch.setattr(
        "trustnode.cli.reference.word_kinds", lambda: (_ for _ in ()).throw(error("PURPOSE_NOT_AGREED", "agreed: x"))
    )
    done = run("words")

    assert done.exit_code == 3
    assert done.stderr.splitlines()[0] == "REFUSED  PURPOSE_NOT_AGREED  agreed: x"
    assert done.stderr.splitlines()[1].startswith("next     Use a purpose that was agreed")


def test_a_fault_of_ours_shows_no_traceback_unless_asked(monkeypatch):
    def fault():
        raise ZeroDivisionError("in the dark")

    monkeypatch.setattr("trustnode.cli.reference.word_kinds", fault)
    plain, debug = run("words"), run("words", "--debug")

    assert plain.exit_code == debug.exit_code == 1
    assert "Traceback" not in plain.stderr
    assert "INTERNAL  ZeroDivisionError: in the dark" in plain.stderr
    assert "Traceback" in debug.stderr


def test_an_interrupted_command_ends_with_130(monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("trustnode.cli.reference.word_kinds", interrupt)

    assert run("words").exit_code == 130


def test_a_file_that_cannot_be_written_is_named_without_traceback(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = run("protos", "-o", str(tmp_path / "file" / "below"))

    assert done.exit_code == 2
    assert "file" in done.stderr
    assert "Traceback" not in done.stderr


# --- forms ------------------------------------------------------------------------------------------------------------


def test_chinese_counts_two_columns_and_combining_marks_none():
    assert output.width("航班 准点") == 9
    assert output.width("e\u0301") == 1


def test_a_table_is_at_most_eighty_columns_and_aligned_under_chinese():
    rows = [
        ("gz.example/flights-2013", "2013年纽约航班", "open", "free"),
        ("x", "很长的题目" * 20, "scoring", "0.02 CNY per row"),
    ]
    lines = output.table(("PRODUCT", "TITLE", "OFFER", "PRICE"), rows, flexible=1)

    assert all(output.width(line) <= 80 for line in lines)
    columns = {
        output.width(line[: line.index(word)]) for line, word in zip(lines, ("OFFER", "open", "scoring"), strict=True)
    }
    assert len(columns) == 1
    assert "…" in lines[2]


def test_a_table_of_one_row_looks_as_on_the_page():
    row = ("gz.example/flights-2013", "2013年纽约航班", "open", "free", "1", "2 s")
    lines = output.table(("PRODUCT", "TITLE", "OFFER", "PRICE", "HOPS", "AS OF"), [row])

    assert lines == [
        "PRODUCT                  TITLE           OFFER  PRICE  HOPS  AS OF",
        "gz.example/flights-2013  2013年纽约航班  open   free   1     2 s",
    ]


def test_cells_that_must_not_lose_text_go_on_below():
    lines = output.wrapped(
        [("masks", "annual_income: bucket 10000, emp_title: hash", "enforced", "in the plan")], (9, 31, 8, 26)
    )

    assert len(lines) == 2
    assert "annual_income" in lines[0]
    assert lines[1].strip() == "emp_title: hash"
    assert all(output.width(line) <= 80 for line in lines)


@pytest.mark.parametrize("text", ["a" * 100, "航" * 60, "", "a b  c"])
def test_wrapping_loses_no_character(text):
    parts = output.wrap(text, 31)

    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert all(output.width(part) <= 31 for part in parts)


def test_names_of_others_cannot_move_the_cursor():
    assert output.printable("a\x1b[2Jb\nc\u202ed") == "a\ufffd[2Jb\ufffdc\ufffdd"


def test_money_is_shown_in_yuan_and_never_rounded():
    assert output.money(17010) == "170.10 CNY"
    assert output.money(2) == "0.02 CNY"
    assert output.money(0) == "free"


def test_times_are_local_with_their_offset(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    __import__("time").tzset()

    assert output.local_time("2026-11-24T03:20:03.000Z") == "2026-11-24 11:20:03 +08:00"
    assert output.last_day("2027-11-30T16:00:00.000Z") == "2027-11-30"
    assert output.local_time("") == output.day("") == ""


@pytest.mark.parametrize(
    "seconds, text", [(2, "2 s"), (119, "119 s"), (300, "5 min"), (7200, "2 h"), (172800, "2 d"), (-1, "0 s")]
)
def test_ages_have_one_unit(seconds, text):
    assert output.age(seconds) == text


@pytest.mark.parametrize("seconds, text", [(0, "0 s"), (9, "9 s"), (15120, "4 h 12 min"), (1051200, "12 d 4 h")])
def test_durations_have_two_units_at_most(seconds, text):
    assert output.duration(seconds) == text


def test_numbers_have_their_noun():
    assert output.count(1, "peer") == "1 peer"
    assert output.count(8505, "row") == "8,505 rows"


def test_coloured_only_where_a_person_looks_and_did_not_forbid_it(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.is_coloured(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.is_coloured(Terminal())


# --- commands ---------------------------------------------------------------------------------------------------------


def commands(group=root, path=()):
    context = __import__("click").Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, LazyGroup):
            yield from commands(command, (*path, name))


def test_every_command_of_the_table_can_be_loaded_and_says_what_it_does():
    for path, command in commands():
        assert command.get_short_help_str(), " ".join(path)


def test_every_command_has_the_common_options():
    wanted = {"home", "profile", "json", "quiet", "debug", "lang"}
    for path, command in commands():
        if not isinstance(command, LazyGroup):
            assert wanted <= {parameter.name for parameter in command.params}, " ".join(path)


def test_every_alias_stands_for_a_command():
    names = {path[-1] for path, _ in commands()}

    assert set(ALIASES.values()) <= names


def test_the_help_lists_the_commands_and_imports_none_of_them():
    code = (
        "import sys\n"
        "from trustnode.cli import main\n"
        "sys.argv = ['trustnode', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'grpc', 'pyarrow', 'duckdb', 'google', 'msgspec', 'cryptography', 'rich', 'sqlite3', 'asyncio'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "LOADED []" in done.stdout
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


def test_the_help_of_every_group_stands_in_eighty_columns():
    for path, command in commands():
        if isinstance(command, LazyGroup):
            done = run(*path, "--help", terminal_width=80)
            assert done.exit_code == 0
            assert all(output.width(line) <= 80 for line in done.stdout.splitlines())
