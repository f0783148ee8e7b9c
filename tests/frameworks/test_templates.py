"""Templates: the seven that are built in, the configured and the added, and their versions."""

from __future__ import annotations

import pytest

from tframex_nb.errors import InvalidInput
from tframex_nb.frameworks.config import TemplateEntry
from tframex_nb.frameworks.templates import TemplateFrameworkMapping
from tframex_nb.frameworks.versions import is_specifier, split_template, within

SEVEN = {
    "customer-service-bot": (["langgraph", "crewai"], ["streaming", "memory"], "conversation"),
    "chat-assistant": (["langgraph", "autogen"], ["streaming", "tools"], "conversation"),
    "task-execution-bot": (["crewai", "langgraph"], ["tools", "planning"], "task"),
    "workflow-agent": (["crewai"], ["multi_agent", "planning"], "task"),
    "custom-code-agent": (["langgraph"], ["code_execution"], "custom"),
    "generic-conversation": (["langgraph"], ["streaming"], None),
    "generic-task": (["langgraph"], ["tools"], None),
}


def as_mapping(preferred, required, fallback):
    return {
        "preferred_frameworks": preferred,
        "required_capabilities": required,
        "fallback_type": fallback,
    }


def test_the_seven_are_built_in():
    mapping = TemplateFrameworkMapping()
    assert mapping.names() == sorted(SEVEN)
    for name, said in SEVEN.items():
        assert mapping.get_mapping(name) == as_mapping(*said)


def test_an_unknown_template_gets_the_generic_one():
    mapping = TemplateFrameworkMapping()
    assert mapping.get_mapping("nothing") == mapping.get_mapping("generic-conversation")


def test_what_is_returned_may_be_changed_without_harm():
    mapping = TemplateFrameworkMapping()
    mapping.get_mapping("generic-task")["preferred_frameworks"].append("x")
    assert mapping.get_mapping("generic-task") == as_mapping(*SEVEN["generic-task"])


def test_a_configuration_keeps_what_it_leaves_out():
    mapping = TemplateFrameworkMapping()
    entry = TemplateEntry.model_validate({"preferred": ["crewai"]})
    mapping.configure({"customer-service-bot": entry, "own": entry})
    assert mapping.get_mapping("customer-service-bot") == as_mapping(
        ["crewai"], ["streaming", "memory"], "conversation"
    )
    assert mapping.get_mapping("own") == as_mapping(["crewai"], [], "conversation")
    mapping.configure({})
    assert mapping.names() == sorted(SEVEN)
    assert mapping.get_mapping("customer-service-bot") == as_mapping(*SEVEN["customer-service-bot"])


def test_what_is_added_goes_before_a_configuration():
    mapping = TemplateFrameworkMapping()
    mapping.add(
        "own",
        preferred_frameworks=["a"],
        required_capabilities="tools",
        fallback_type=None,
        template_version="2.0",
        framework_versions={"a": ">=1"},
    )
    mapping.configure({"own": TemplateEntry.model_validate({"preferred": ["b"]})})
    assert mapping.get_mapping("own") == {
        **as_mapping(["a"], ["tools"], None),
        "template_version": "2.0",
        "framework_versions": {"a": ">=1"},
    }
    mapping.remove("own")
    assert mapping.get_mapping("own")["preferred_frameworks"] == ["b"]
    with pytest.raises(InvalidInput, match="was not added here"):
        mapping.remove("own")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("", {}),
        (" x", {}),
        ("x", {"preferred_frameworks": [1]}),
        ("x", {"required_capabilities": [""]}),
        ("x", {"template_version": "new"}),
        ("x", {"framework_versions": {"a": "new"}}),
    ],
    ids=str,
)
def test_a_template_that_cannot_be_is_refused(name, options):
    mapping = TemplateFrameworkMapping()
    with pytest.raises(InvalidInput):
        mapping.add(name, **options)
    assert mapping.names() == sorted(SEVEN)


def test_each_change_has_a_generation_of_its_own():
    mapping = TemplateFrameworkMapping()
    mapping.add("a")
    mapping.add("a")
    mapping.configure({})
    mapping.remove("a")
    assert mapping.generation == 4


@pytest.mark.parametrize(
    ("version", "specifier", "fits"),
    [
        ("1.2", ">=1,<2", True),
        ("2.0", ">=1,<2", False),
        ("2.0rc1", ">=1,<2", False),
        ("1.5b1", ">=1,<2", True),
        ("", ">=1", True),
        ("1.2", "", True),
        ("unknown", ">=1", True),
        ("1.2+local", "==1.2", True),
    ],
)
def test_versions_are_compared_as_pep_440_has_it(version, specifier, fits):
    assert within(version, specifier) is fits


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("chat", ("chat", "")),
        ("chat>=2", ("chat", ">=2")),
        ("chat >=2, <3", ("chat", ">=2, <3")),
        ("chat==1.*", ("chat", "==1.*")),
        ("a<b", ("a<b", "")),
        ("", ("", "")),
    ],
)
def test_a_template_may_carry_a_range(text, parts):
    assert split_template(text) == parts
    assert is_specifier(parts[1])
