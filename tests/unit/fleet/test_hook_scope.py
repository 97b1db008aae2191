import pytest

from fleet.hook_scope import HookScope


@pytest.mark.parametrize("text", ["project:77", "group:42"])
def test_the_text_form_reads_back(text: str) -> None:
    assert str(HookScope.read(text)) == text


@pytest.mark.parametrize("text", ["", "project", "project:", "instance:1", "group:4@0"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no scope"):
        HookScope.read(text)


@pytest.mark.parametrize(
    ("scope", "project_id", "may"),
    [
        ("project:7", 7, True),
        ("project:7", 77, False),
        ("group:4", 77, True),
    ],
)
def test_a_project_webhook_serves_its_project_alone(scope: str, project_id: int, may: bool) -> None:
    assert HookScope.read(scope).may_serve(project_id) is may
