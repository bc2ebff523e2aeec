"""What a user can meet is documented: names, errors, events, settings, commands."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from typing import Any

import pytest

from tests.tidy.rules import banned_word
from tests.tidy.source import ROOT, document, modules


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "holdfast":
            pytest.fail(f"{error.name} is not written yet", pytrace=False)
        raise


# ---- the public door -------------------------------------------------------------------------


def test_public_names_are_the_listed_ones():
    """A new public name is a promise: it is added to exports.txt by hand."""
    listed = (ROOT / "tests/tidy/exports.txt").read_text(encoding="utf-8").splitlines()
    golden = [line for line in listed if line and not line.startswith("#")]
    assert sorted(_import("holdfast").__all__) == golden


def test_public_names_exist_and_are_explained():
    door = _import("holdfast")
    for name in door.__all__:
        value = getattr(door, name)
        if inspect.isroutine(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"holdfast.{name} has no docstring"
    assert set(door.__all__) <= set(dir(door))


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _import("holdfast").no_such_name  # noqa: B018


# ---- errors ----------------------------------------------------------------------------------


def _errors() -> list[type[BaseException]]:
    errors = _import("holdfast.values.errors")
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__ == errors.__name__
    ]


@pytest.mark.parametrize("error", _errors(), ids=lambda error: error.__name__)
def test_error_is_documented_with_its_exit_code(error: type[BaseException]):
    lines = [x for x in document("docs/errors.md").splitlines() if f"`{error.__name__}`" in x]
    assert lines, f"docs/errors.md does not name `{error.__name__}`"
    code = getattr(error, "exit_code", None)
    if code is not None:
        assert any(re.search(rf"(?<!\d){code}(?!\d)", line) for line in lines), (
            f"docs/errors.md: no line with `{error.__name__}` gives its exit code {code}"
        )


def test_errors_stand_in_one_tree_and_are_drawn():
    errors = _import("holdfast.values.errors")
    for error in _errors():
        assert error.__name__ in (errors.__doc__ or ""), error
        assert error.__name__ == "Suspended" or issubclass(error, errors.HoldfastError), error


# ---- events ----------------------------------------------------------------------------------


def _event_kinds() -> list[str]:
    """The kinds that ``journal/events.py`` lists."""
    text = (ROOT / "src/holdfast/journal/events.py").read_text(encoding="utf-8")
    (kinds,) = [
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == "KINDS"
    ]
    assert kinds is not None
    return list(ast.literal_eval(kinds))


def test_the_language_of_events_is_closed():
    """Adding a kind is a format change: a decision record, a golden journal, a higher FORMAT."""
    assert sorted(_event_kinds()) == [
        "approval.asked",
        "approval.given",
        "branch.merged",
        "checkpoint.signed",
        "finding.added",
        "run.ended",
        "run.started",
        "signal.received",
        "step.planned",
        "step.settled",
    ]


@pytest.mark.parametrize("kind", _event_kinds())
def test_event_is_documented(kind: str):
    assert f"`{kind}`" in document("docs/journal-format.md")


# ---- settings --------------------------------------------------------------------------------


def _settings() -> list[str]:
    """Fields of every class named ``Settings``."""
    return [
        field.target.id
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    ]


def _variables() -> list[str]:
    """Environment variables of ours that the package mentions."""
    return sorted(
        {
            name
            for module in modules()
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            for name in re.findall(r"\bHOLDFAST_[A-Z0-9_]*[A-Z0-9]\b", node.value)
            if not name.startswith("HOLDFAST_TEST_")
        }
    )


def test_settings_are_documented():
    missing = [
        name
        for name in dict.fromkeys([*_settings(), *_variables()])
        if f"`{name}`" not in document("docs/settings.md")
    ]
    assert not missing


# ---- commands --------------------------------------------------------------------------------


def _commands() -> dict[str, Any]:
    """Every command by its full name; groups are entered."""
    import click

    found: dict[str, Any] = {}

    def enter(group: click.Group, prefix: str) -> None:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None, name
            if isinstance(command, click.Group):
                enter(command, f"{prefix}{name} ")
            else:
                found[f"{prefix}{name}"] = command

    main = _import("holdfast.cli").main
    if not isinstance(main, click.Group):
        pytest.fail("holdfast.cli.main is not a click group", pytrace=False)
    enter(main, "")
    return found


def _options(command: Any) -> list[str]:
    import click

    return [
        max(option.opts, key=len)
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]


def test_every_command_is_documented():
    text = document("docs/cli.md")
    missing = [name for name in _commands() if f"holdfast {name}" not in text]
    assert not missing


def test_every_option_is_documented():
    text = document("docs/cli.md")
    missing = [
        f"{name} {option}"
        for name, command in _commands().items()
        for option in _options(command)
        if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)
    ]
    assert not missing


def test_every_command_explains_itself_and_speaks_json():
    for name, command in _commands().items():
        assert (command.help or "").strip(), f"holdfast {name} has no help"
        assert "--json" in _options(command), f"holdfast {name} has no --json"


def test_no_command_has_a_banned_name():
    assert not [name for name in _commands() for part in name.split() if banned_word(part)]


# ---- the front page --------------------------------------------------------------------------


def test_readme_and_ci_use_the_makefile():
    """Continuous integration does what the README tells a newcomer to do."""
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    ci = (ROOT / ".ci/run").read_text("utf-8")
    assert re.findall(r"^make (\w+)$", ci, re.MULTILINE) == ["test", "check"]
    told = set(re.findall(r"\bmake ([a-z]+)\b", document("README.md").split("## License")[0]))
    assert {"demo", "test"} <= told
    shown = set(re.findall(r"(?m)^(?:\$ )?make ([a-z]+)", document("README.md")))
    assert shown <= verbs, f"README shows verbs that the Makefile lacks: {shown - verbs}"


def test_every_verb_is_explained():
    text = (ROOT / "Makefile").read_text("utf-8")
    front = text.split("# ---- how", maxsplit=1)[0]
    verbs = re.findall(r"^([a-z]+):(.*)$", front, re.MULTILINE)
    unexplained = [verb for verb, rest in verbs if verb != "help" and "## " not in rest]
    assert not unexplained


# ---- dependencies ----------------------------------------------------------------------------


def _pins(name: str) -> dict[str, str]:
    lines = [line for line in document(name).splitlines() if line and line[0] != "#"]
    return {_normal(package): version for package, version in (line.split("==") for line in lines)}


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def test_every_dependency_is_pinned():
    project = tomllib.loads(document("pyproject.toml"))
    pins = _pins("constraints.txt")
    asked = [
        *project["project"]["dependencies"],
        *project["build-system"]["requires"],
        *project["dependency-groups"]["dev"],
        *project["dependency-groups"]["frameworks"],
    ]
    names = [_normal(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in asked]
    assert not set(names) - set(pins)
    apart = [re.split(r"[<>=]", name)[0] for name in project["dependency-groups"]["apart"]]
    assert set(apart) <= set(_pins("constraints-frameworks.txt"))
    bench = [re.split(r"[<>=]", name)[0] for name in project["dependency-groups"]["bench"]]
    assert set(bench) <= set(_pins("constraints-bench.txt")) | set(pins)
    assert not set(pins) & set(_pins("constraints-bench.txt"))
