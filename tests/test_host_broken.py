"""Plugins that are broken, installed for real: each is a row with its code, and everything else works."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from installed_plugins import PHYSICS, Install, install, row

from medldm.errors import ComponentMissing, InputRefused, MedldmError
from medldm.host import blamed, load_host

__all__ = ["install"]

BROKEN = {
    "E-PLG-01": ('raise RuntimeError("the licence server is away")', ["RuntimeError: the licence server is away"]),
    "E-PLG-02": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solvers(register):
            register("half", "a:B", example="a:c", summary="Half")
            raise KeyError("in the hook")
        """,
        ["'register_solvers'", "KeyError", "in the hook"],
    ),
    "E-PLG-03": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solver(register):
            pass
        """,
        ["'register_solver'", "'register_solvers'"],
    ),
    "E-PLG-04": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solvers(register, registry):
            pass
        """,
        ["register_solvers", "registry"],
    ),
    "E-PLG-05": ("def register_solvers(register): pass", ["'register_solvers'", "not marked"]),
    "E-PLG-06": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solvers(register):
            register("half", "a:B", example="a:c", summary="Half", needs="filtered-adjont")
        """,
        ["'filtered-adjont'", "'filtered-adjoint'"],
    ),
    "E-PLG-07": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solvers(register):
            register("half", "a:B", example="a:c", summary="Half")

        @hookimpl
        def register_operators(register):
            register("doubling", "a:B", example="a:c", summary="Twice")
        """,
        ["'hosttest-fine'", "'hosttest-wrong'", "'doubling'"],
    ),
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_plugin_is_a_row_and_everything_else_works(
    install: Install, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, words = BROKEN[code]
    install("hosttest-fine")
    install("hosttest-wrong", plugin=source)
    host = load_host()
    broken = row(host, "hosttest-wrong")
    assert (broken.status, broken.code, broken.components) == ("error", code, ())
    for word in words:
        assert word in broken.error
    assert "\n" not in broken.error
    assert row(host, "hosttest-fine").status == "ok"
    assert host.build("operators", "doubling", {}).factor == 2.0
    assert "half" not in host.names("solvers")
    monkeypatch.setenv("MEDLDM_STRICT_PLUGINS", "1")
    # The named plugin alone is looked at: others of the environment may be broken too.
    with pytest.raises(ComponentMissing) as caught:
        load_host(block=[r.name for r in host.plugins if r.status == "error" and r.name != "hosttest-wrong"])
    assert caught.value.code == code


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.exit(3)",
        'import pytest; pytest.skip("not on this machine", allow_module_level=True)',
        "class Stop(BaseException): pass\nraise Stop",
        """
        from medldm import hookimpl

        @hookimpl
        def register_solvers(register):
            raise BaseException("in the hook")
        """,
        "import a_package_that_is_not_there",
        "def broken(:",
        """
        from medldm import hookimpl

        @hookimpl(wrapper=True)
        def register_solvers(register):
            return (yield)
        """,
    ],
)
def test_other_ways_to_be_broken(install: Install, source: str) -> None:
    install("hosttest-wrong", plugin=source)
    assert row(load_host(), "hosttest-wrong").status == "error"


def test_a_lazy_module_whose_hook_cannot_be_imported_is_that_plugins_error(install: Install) -> None:
    source = """
        def __dir__():
            return [*globals(), "register_metrics"]

        def __getattr__(name):
            if name == "register_metrics":
                from a_package_that_is_not_there import register_metrics
            raise AttributeError(name)
    """
    install("hosttest-fine")
    install("hosttest-wrong", plugin=source)
    host = load_host()
    broken = row(host, "hosttest-wrong")
    assert (broken.status, broken.code) == ("error", "E-PLG-04")
    assert "a_package_that_is_not_there" in broken.error
    assert row(host, "hosttest-fine").status == "ok"


def test_an_interrupt_is_no_error_of_a_plugin(install: Install) -> None:
    install("hosttest-wrong", plugin="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_host()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        ('register("Half Full", "a:B", example="a:c", summary="s")', "kebab case"),
        ('register("half", "a.B", example="a:c", summary="s")', "target 'a.B'"),
        ('register("half", "a:B", example="", summary="s")', "example ''"),
        ('register("half", "a:B", example="a:c", summary=" ")', "summary"),
        ('register("half", "a:B", summary="s")', "example"),
        ('[register("half", "a:B", example="a:c", summary="s") for _ in "ab"]', "twice"),
    ],
)
def test_a_malformed_registration_is_that_plugins_error(install: Install, call: str, word: str) -> None:
    install("hosttest-wrong", plugin=f"from medldm import hookimpl\n@hookimpl\ndef register_metrics(register): {call}")
    assert word in row(load_host(), "hosttest-wrong").error


def test_an_unknown_name_is_answered_with_the_closest_and_the_broken_plugin(install: Install) -> None:
    install("hosttest-fine")
    install("hosttest-wrong", plugin=BROKEN["E-PLG-02"][0])
    host = load_host()
    with pytest.raises(ComponentMissing) as caught:
        host.find("operators", "doublin")
    assert caught.value.code == "E-PLG-08"
    assert "'doubling'" in caught.value.why
    assert caught.value.exit_code == 4
    with pytest.raises(ComponentMissing) as caught:
        host.find("solvers", "half")
    assert "in the hook" in caught.value.why
    with pytest.raises(ValueError, match="unknown kind"):
        host.find("operator", "doubling")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "code", "word"),
    [
        ("a_package_that_is_not_there.x:Y", "E-PLG-10", "'a_package_that_is_not_there'"),
        ("{package}.physics:Tripling", "E-PLG-11", "'Tripling'"),
        ("{package}.forgotten:Tripling", "E-PLG-11", "No module named 'hosttest_lost.forgotten'"),
        ("{package}.raising:Tripling", "E-PLG-11", "ZeroDivisionError"),
    ],
)
def test_a_target_that_does_not_resolve_names_plugin_and_package(
    install: Install, tmp_path: Path, target: str, code: str, word: str
) -> None:
    install(
        "hosttest-lost",
        plugin="from medldm import hookimpl\n@hookimpl\ndef register_operators(register):\n"
        f'    register("lost", "{target}", example="{{package}}.physics:broken_example", summary="Lost")',
    )
    (tmp_path / "site" / "hosttest_lost" / "raising.py").write_text("1 / 0")
    entry = load_host().find("operators", "lost")
    with pytest.raises(ComponentMissing) as caught:
        entry.load()
    assert caught.value.code == code
    assert word in caught.value.what
    assert "'hosttest-lost'" in caught.value.what
    with pytest.raises(ComponentMissing) as caught:
        entry.load_example()
    assert caught.value.code == "E-PLG-12"


TYPO = """
    def __post_init__(self):
        raise TypeError('a typo')
"""


def test_what_a_component_raises_while_it_is_built_names_it_its_plugin_and_the_line(install: Install) -> None:
    install("hosttest-typo", physics=PHYSICS.replace("factor: float = 2.0", TYPO))
    with pytest.raises(MedldmError) as caught:
        load_host().build("operators", "doubling", {})
    assert (caught.value.code, caught.value.exit_code) == ("E-PLG-17", 1)
    assert caught.value.what == ("The physics 'doubling' of the plugin 'hosttest-typo' raised TypeError: a typo.")
    assert caught.value.why == "It happened in hosttest_typo.physics, line 9."
    assert "the author of the plugin 'hosttest-typo'" in caught.value.fix
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    "error",
    [InputRefused("E-ACME-01", "No."), MemoryError(), torch.OutOfMemoryError(), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_refusals_interruptions_and_a_lack_of_memory_pass_as_they_are(install: Install, error: BaseException) -> None:
    install("hosttest-fine")
    entry = load_host().find("operators", "doubling")
    with pytest.raises(type(error)) as caught, blamed(entry):
        raise error
    assert caught.value is error


def test_references_that_are_no_list_of_texts_are_refused_before_anything_runs(install: Install) -> None:
    install("hosttest-cites", physics=PHYSICS.replace("factor: float = 2.0", "references = 5"))
    with pytest.raises(ComponentMissing, match=r"E-PLG-18.*'hosttest-cites' has references that are 5\.") as caught:
        load_host().build("operators", "doubling", {})
    assert caught.value.exit_code == 4


def test_unreadable_metadata_of_a_stranger_hides_nobody(install: Install, tmp_path: Path) -> None:
    install("hosttest-fine")
    info = tmp_path / "site" / "hosttest_bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hosttest-bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[medldm]\nthis line has no equals sign\n")
    assert row(load_host(), "hosttest-fine").status == "ok"
