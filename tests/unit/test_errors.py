import inspect

import pytest

from imagepipe import errors
from imagepipe.errors import GateError, ImagepipeError, NotFoundError

CLASSES = [cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, ImagepipeError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_listed_drawn_and_of_the_tree(cls: type[ImagepipeError]) -> None:
    assert cls.__name__ in errors.__all__
    assert errors.__doc__ is not None
    assert f" {cls.__name__}" in errors.__doc__


def test_every_kind_belongs_to_one_class() -> None:
    kinds = [cls.kind for cls in CLASSES]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ImagepipeError", 1),
        ("UsageError", 2),
        ("InputError", 3),
        ("SettingsError", 3),
        ("NotFoundError", 4),
        ("CredentialsError", 5),
        ("PermissionRefusedError", 5),
        ("IdentityError", 5),
        ("DigestMismatchError", 6),
        ("VerificationError", 6),
        ("GateError", 6),
        ("UnsupportedError", 6),
        ("BuildError", 7),
        ("UnavailableError", 8),
        ("DeadlineError", 8),
        ("DriftError", 9),
        ("StalePlanError", 9),
        ("PartialError", 10),
        ("InterruptedByUserError", 130),
    ],
)
def test_each_branch_ends_in_its_exit_code(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


def test_what_we_were_doing_is_put_in_front_and_class_and_hint_stay() -> None:
    inner = GateError("not signed", hint="sign it")
    outer = inner.doing("promote hello to vch-a")
    assert type(outer) is GateError
    assert (str(outer), outer.hint) == ("promote hello to vch-a: not signed", "sign it")
    assert outer.__cause__ is inner


def test_an_error_without_a_hint_says_only_its_message() -> None:
    error = NotFoundError("tag 1.4 is not in es-sandbox/hello")
    assert (error.message, str(error), error.hint) == (str(error), error.message, None)
