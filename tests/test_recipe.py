"""Recipes: what is read, what is refused, what a change does."""

from __future__ import annotations

from pathlib import Path

import pytest

from medldm.errors import UsageError
from medldm.pipeline.recipe import Recipe, from_mapping, load_recipe, shipped_recipes

MINIMAL = {"acquisition": {"physics": "identity"}, "solver": {"name": "cgls"}}


def test_a_recipe_reads_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("acquisition: {physics: ct-parallel, views: 60, noise: {photons: 1.0e5}}\nsolver: {name: tv}\n")
    recipe = load_recipe(file)
    assert recipe.name == "mine"
    assert recipe.physics == "ct-parallel"
    assert recipe.physics_options() == {"views": 60, "noise": {"photons": 1e5}}
    assert recipe.seed == 0
    assert recipe.samples == 1


def test_operator_and_likelihood_options_go_to_the_physics() -> None:
    recipe = from_mapping(
        "r", MINIMAL | {"operator": {"maps": "espirit", "grid": "native"}, "likelihood": {"name": "gaussian"}}
    )
    assert recipe.physics_options() == {"maps": "espirit", "likelihood": {"name": "gaussian"}}


def test_assignments_change_one_value_and_the_hash() -> None:
    recipe = from_mapping("r", MINIMAL)
    changed = recipe.changed(["solver.iterations=20", "acquisition.noise.std=1e-2", "outputs.write=[nifti, dicom]"])
    assert changed.solver["iterations"] == 20
    assert changed.acquisition["noise"]["std"] == 0.01
    assert changed.outputs["write"] == ["nifti", "dicom"]
    assert recipe.solver == {"name": "cgls"}
    assert changed.sha256 != recipe.sha256
    assert from_mapping("another name", MINIMAL).sha256 == recipe.sha256


@pytest.mark.parametrize("section", ["prior", "classical", "coherence"])
def test_none_leaves_a_section_out(section: str) -> None:
    bare = from_mapping("r", MINIMAL)
    assert from_mapping("r", MINIMAL | {section: "none"}) == bare
    named = from_mapping("r", MINIMAL | {section: {} if section == "coherence" else {"name": "tv"}})
    assert named.changed([f"{section}=none"]) == bare
    with pytest.raises(UsageError, match="E-RCP-03"):
        named.changed([f"{section}=some"])


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        ({"acquisiton": {}, **MINIMAL}, "E-RCP-02"),
        (MINIMAL | {"run": {"sed": 1}}, "E-RCP-02"),
        (MINIMAL | {"outputs": {"gates": {"chi": 1}}}, "E-RCP-02"),
        ({"solver": {"name": "tv"}}, "E-RCP-04"),
        ({"acquisition": {"views": 60}, "solver": {"name": "tv"}}, "E-RCP-04"),
        (MINIMAL | {"run": {"seed": -1}}, "E-RCP-05"),
        (MINIMAL | {"run": {"seed": True}}, "E-RCP-05"),
        (MINIMAL | {"outputs": {"gates": {"chi_max": 0}}}, "E-RCP-05"),
        (MINIMAL | {"outputs": {"interval": {"level": 0.9}}}, "E-RCP-02"),
        (MINIMAL | {"outputs": {"interval": {"model_error": -0.1}}}, "E-RCP-05"),
        (MINIMAL | {"outputs": {"interval": {"model_error": "small"}}}, "E-RCP-05"),
        (MINIMAL | {"start": "fbp"}, "E-RCP-07"),
    ],
)
def test_mistakes_are_named(mapping: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError, match=code):
        from_mapping("r", mapping)


def test_an_option_in_two_sections_is_refused() -> None:
    recipe = from_mapping("r", {**MINIMAL, "operator": {"x": 1}, "acquisition": {"physics": "p", "x": 2}})
    with pytest.raises(UsageError, match="E-RCP-06"):
        recipe.physics_options()


@pytest.mark.parametrize("assignment", ["solver.iterations", "iterations=3", "=3", "solver.=3", "solver.name.x=3"])
def test_bad_assignments_are_refused(assignment: str) -> None:
    with pytest.raises(UsageError, match="E-RCP-03"):
        from_mapping("r", MINIMAL).changed([assignment])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("acquisition: {physics: a}\nacquisition: {physics: b}\n", "E-YML-06"),
        ("a: &x [1]\nb: *x\n", "E-YML-05"),
        ("- 1\n", "E-YML-04"),
        ("a: [1\n", "E-YML-06"),
        ("!!python/object/apply:os.system ['true']\n", "E-YML-06"),
    ],
)
def test_hostile_or_broken_yaml_is_refused(tmp_path: Path, text: str, code: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=code):
        load_recipe(file)


def test_unknown_recipe_names_the_closest() -> None:
    with pytest.raises(UsageError, match="mri-4x"):
        load_recipe("mri-4")
    with pytest.raises(UsageError, match="E-RCP-01"):
        load_recipe("nowhere.yaml")


def test_the_recipes_ship_with_their_command() -> None:
    names = {path.stem for path in shipped_recipes()}
    ct = {"ct-60-views", "ct-20-views", "ct-limited-angle", "ct-low-dose", "ct-cone", "ct-helical"}
    measured = {f"ct-measured-{name}" for name in ("parallel", "fan", "cone", "helical")}
    mri = {"mri-4x", "mri-8x", "mri-radial", "mri-3d", "mri-multiband", "mr-thick-slices"}
    assert names == {*mri, *ct, *measured}
    for path in shipped_recipes():
        assert f"--recipe {path.stem}" in path.read_text().splitlines()[0]


def test_recipes_are_valid_for_their_components() -> None:
    from medldm.host import load_host

    host = load_host()
    for path in shipped_recipes():
        recipe = load_recipe(path.stem)
        host.build("operators", recipe.physics, recipe.physics_options(), where="acquisition")
        host.build("solvers", str(recipe.solver["name"]), recipe.solver_options(), where="solver")
        assert isinstance(recipe, Recipe)


def test_a_whole_section_is_replaced() -> None:
    recipe = load_recipe("mri-4x", ["solver={name: cgls, iterations: 3}", "solver.iterations=4"])
    assert recipe.solver == {"name": "cgls", "iterations": 4}
    for wrong in ("solver=cgls", "solver", "solvr={name: cgls}"):
        with pytest.raises(UsageError, match=r"E-RCP-0[23]"):
            load_recipe("mri-4x", [wrong])


def test_another_solver_has_other_options() -> None:
    recipe = load_recipe("mri-4x", ["solver.iterations=4", "solver.name=cgls"])
    assert recipe.solver == {"name": "cgls", "iterations": 4}
    spaced = load_recipe("mri-4x", ["solver.iterations=4", " solver.name = cgls"])
    assert spaced.solver == recipe.solver
    same = load_recipe("mri-4x")
    assert load_recipe("mri-4x", [f"solver.name={same.solver['name']}"]).solver == same.solver


def test_the_start_image_can_be_changed_where_the_classical_solver_would_make_it() -> None:
    assert not load_recipe("mri-multiband", classical=True).start
    whole = load_recipe("mri-multiband")
    changed = load_recipe("mri-multiband", ["start.iterations=1"], classical=True)
    assert changed.start == {**whole.start, "iterations": 1}
    assert changed.solver == load_recipe("mri-multiband", classical=True).solver


def test_a_recipe_without_a_prior_is_classical_as_it_is() -> None:
    measured = load_recipe("ct-measured-parallel")
    assert not measured.prior
    assert load_recipe("ct-measured-parallel", classical=True) == measured
    with_prior = from_mapping("r", MINIMAL | {"prior": {"name": "brain"}})
    with pytest.raises(UsageError, match="E-RCP-04"):
        with_prior.without_prior()
