"""The report of a run: what it says, that it says it of this run, and that text from elsewhere stays text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from report_runs import finished, phantom

from medldm.data import Grid, Volume
from medldm.errors import InputRefused, UsageError
from medldm.inference import Step
from medldm.pipeline.convergence import Convergence
from medldm.pipeline.pictures import PICTURES, Picture, load_pictures, pictures_of, save_pictures
from medldm.pipeline.recipe import from_mapping
from medldm.pipeline.slice_likeness import slice_likeness
from medldm.report import write_report
from medldm.report.chart import Line, chart
from medldm.report.facts import geometry_rows
from medldm.report.figures import Size, colour_bar, figure, scale_bar
from medldm.report.methods import methods_text
from medldm.report.page import page
from medldm.report.templating import fingerprint, inline, plain, source
from medldm.report.verdict import verdict_of

HOSTILE = {
    "script": "<script>document.title='owned'</script>",
    "end of a script": "</script><script>document.title='owned'</script>",
    "attribute": '"><img src=x onerror="document.title=\'owned\'">',
    "formula": '=HYPERLINK("http://127.0.0.1:9/","x")',
    "colours of a terminal": "\x1b[31mred\x1b[0m",
    "right to left": "\u202egnp.exe",
    "long": "A" * 10_000,
    "template": "{{ 7 * 7 }}{% raw %}",
}


class _Seen(HTMLParser):
    """Tags, text and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "out"
    finished(folder)
    return folder


def _page(folder: Path, **changes: object) -> str:
    record = json.loads((folder / "run.json").read_text())
    return page({**record, **changes}, load_pictures(folder / PICTURES))


def test_the_report_is_one_of_the_files_of_the_run(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    assert {"report.html", PICTURES} <= set(record["files"])
    assert record["slice_likeness"].keys() == {"baseline", "reconstruction", "truth"}
    assert set(record["chi_along"]) == {"coil", "ky"}
    assert len(record["chi_along"]["coil"]) == 4
    assert len(record["curves"]["psnr"]) == 6
    assert [method["name"] for method in record["methods"]][:3] == ["mri-cartesian", "Gaussian", "cg-sense"]


def test_its_methods_are_those_that_took_part(out: Path, tmp_path: Path) -> None:
    def told(folder: Path) -> tuple[set[str], str]:
        record = json.loads((folder / "run.json").read_text())
        return {one["name"] for one in record["methods"] if one["role"] == "metric"}, methods_text(record)[0]

    metrics, text = told(out)
    assert metrics >= {"psnr", "ssim", "nrmse", "dz-ratio"}
    assert "ESPIRiT" not in text  # the maps were those simulated
    finished(tmp_path / "slice", slices=slice(2, 3))
    metrics, text = told(tmp_path / "slice")
    assert metrics >= {"psnr", "nrmse"} and "dz-ratio" not in metrics and "dz-ratio" not in text


def test_it_loads_nothing_and_allows_only_its_own_script(out: Path) -> None:
    text = (out / "report.html").read_text(encoding="utf-8")
    seen = _Seen(text)
    addresses = [value for _, name, value in seen.attributes if name in ("src", "href", "action", "data", "srcset")]
    assert addresses
    assert all(value.startswith(("data:image/", "#")) for value in addresses)
    assert not [name for _, name, _ in seen.attributes if name.startswith("on") or name == "style"]
    policy = next(value for _, name, value in seen.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert [fingerprint(one) in policy for one in scripts + styles] == [True, True]


def test_it_tells_the_numbers_of_this_run(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    words = " ".join(_Seen((out / "report.html").read_text(encoding="utf-8")).text)
    assert f"{record['metrics']['reconstruction']['psnr']:.1f} dB" in words
    assert record["job"]["case"] in words
    assert "RESEARCH USE ONLY" in words
    assert "SIMULATED" in words
    for title in ("Images", "Difference to the truth", "Fit to the measurement", "Coherence of slices", "Geometry"):
        assert title in words
    assert "What the prior supplied" not in words
    pictures = [value for tag, name, value in _Seen(_page(out)).attributes if tag == "svg" and name == "aria-label"]
    assert any("axial slice, right at the left" in label for label in pictures)
    assert all(pictures)


@pytest.mark.parametrize(
    ("spacing", "said"), [(0.7, "-0.70, 3.00, 0.70 mm"), (5e-5, "-0.000050, 3.000000, 0.000050 mm")]
)
def test_the_first_voxel_is_told_to_a_part_of_a_voxel(spacing: float, said: str) -> None:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (-spacing, 3.0, spacing)
    told = Volume(torch.zeros(2, 3, 4), Grid((2, 3, 4), affine)).as_record()
    rows = {row[0]: row[1] for row in geometry_rows({"input": told})}
    assert rows["First voxel (L, P, S)"] == said


@pytest.mark.parametrize("kind", HOSTILE)
def test_text_from_elsewhere_stays_text(out: Path, kind: str) -> None:
    bad = HOSTILE[kind]
    record = json.loads((out / "run.json").read_text())
    changed = {
        "warnings": [bad],
        "recipe": {**record["recipe"], "name": bad},
        "prior": {"name": bad, "intended_use": bad, "plan": [bad], "told": {bad: bad}},
        "methods": [{"role": "solver", "name": bad, "summary": bad, "references": [bad]}],
        "acquisition": {**record["acquisition"], "settings": {bad: bad}},
        "versions": {**record["versions"], "plugins": {bad: bad}},
        "input": {**record["input"], "modality": bad, "orientation": bad},
        "device_name": bad,
        "curves": {bad: [1.0, 2.0]},
    }
    calm, hostile = _Seen(_page(out)), _Seen(_page(out, **changed))
    assert hostile.tags.count("script") == calm.tags.count("script") == 3
    assert "onerror" not in [name for _, name, _ in hostile.attributes]
    assert not any(tag == "img" and name == "src" and value == "x" for tag, name, value in hostile.attributes)
    words = "".join(hostile.text)
    assert "\x1b" not in words
    assert "\u202e" not in words
    assert "A" * 400 not in re.sub(r"<script type=.*", "", words) or kind == "long"
    if kind in ("script", "attribute", "formula", "template"):
        assert bad in words
    assert plain("A" * 10_000) == "A" * 300 + "…"


def test_the_verdict_follows_gates_and_warnings() -> None:
    passed = {"chi": [1.1], "recipe": {"outputs": {"gates": {"chi_max": 2.0}}}}
    assert verdict_of(passed).status == "passed"
    assert verdict_of({**passed, "warnings": ["w"]}).status == "warned"
    failed = verdict_of({**passed, "warnings": ["w"], "gates_failed": ["f"]})
    assert (failed.status, failed.reasons) == ("failed", ("f", "w"))


def test_what_was_not_checked_has_not_passed() -> None:
    ungated = verdict_of({"chi": [1.1]})
    assert (ungated.status, ungated.title) == ("unchecked", "Not checked")
    assert "no limit" in ungated.reasons[0]
    without = verdict_of({"chi": [], "recipe": {"outputs": {"gates": {"chi_max": 2.0}}}})
    assert without.status == "unchecked" and "no chi" in without.reasons[0]
    doubted = verdict_of({"chi": [5.37], "warnings": ["chi is 5.37"]})
    assert (doubted.status, doubted.title) == ("warned", "Not checked, with warnings")


def test_a_failed_gate_leaves_a_report_that_says_so(tmp_path: Path) -> None:
    from medldm.errors import GateFailed

    with pytest.raises(GateFailed):
        finished(tmp_path / "out", solver={"name": "cg-sense", "iterations": 1}, outputs={"gates": {"chi_max": 0.01}})
    words = " ".join(_Seen((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text)
    assert "Failed its quality check" in words
    assert "above chi_max 0.01" in words


def test_references_are_those_of_what_took_part_each_once() -> None:
    methods = [
        {"role": "physics", "name": "p", "summary": "Cartesian MRI.", "references": ["A", "B"]},
        {"role": "solver", "name": "s", "summary": "Some loop", "references": ["B", "C"]},
        {"role": "metric", "name": "m", "summary": "", "references": []},
    ]
    text, references = methods_text({"methods": methods, "seed": 3, "versions": {"medldm": "9"}})
    assert references == ["A", "B", "C"]
    assert "p [1, 2] (Cartesian MRI)" in text
    assert "s [2, 3] (some loop)" in text
    assert "truth by m." in text


def test_every_solver_and_metric_says_what_to_cite_as_full_references() -> None:
    from medldm.host import load_host
    from medldm.pipeline.methods import _method

    host = load_host((), ())
    without = []
    for entry in host.entries("solvers"):
        listed = _method("solver", entry.name, entry.summary, entry.load())["references"]
        assert all(re.search(r"\b(19|20)\d\d\b.*\.$", reference) for reference in listed), entry.name
        without += [] if listed else [entry.name]
    assert without == []


def test_every_physics_says_what_to_cite_for_what_its_options_choose() -> None:
    from medldm.host import load_host

    host = load_host((), ())
    for entry in host.entries("operators"):
        listed = host.build("operators", entry.name, {}).references if entry.name != "identity" else ["1999."]
        assert listed, entry.name
        assert all(re.search(r"\b(19|20)\d\d\b.*\.$", reference) for reference in listed), entry.name
    for name in ("mri-cartesian", "mri-cartesian-3d", "mri-nonuniform"):
        by_maps = [
            host.build("operators", name, {"maps": maps}).references
            for maps in ("simulated", "walsh", "espirit", "jsense")
        ]
        more = [len(references) - len(by_maps[0]) for references in by_maps]
        assert more == [0, 1, 1, 2], name
    gridded, library = (
        host.build("operators", "mri-nonuniform", {"nufft": nufft}).references for nufft in ("gridding", "finufft")
    )
    assert any("gridding" in reference for reference in gridded)
    assert any("Barnett" in reference for reference in library)
    assert not any("Barnett" in reference for reference in gridded)


@pytest.mark.parametrize("flip", [False, True])
def test_pictures_stand_upright_and_know_their_place(tmp_path: Path, flip: bool) -> None:
    grid = Grid.isotropic((4, 6, 8), (3.0, 2.0, 1.0))
    data = torch.zeros(grid.shape)
    data[3, 1, 6] = 100.0  # to Superior, Anterior and Left
    volume = Volume(data, grid, "arbitrary", "MR")
    if flip:
        affine = grid.affine.copy()
        affine[:3, 3] = grid.world((0, 5, 7))
        affine[:3, 1:3] *= -1
        volume = Volume(data.flip((1, 2)).contiguous(), Grid(grid.shape, affine), "arbitrary", "MR")
    made = pictures_of(volume, volume, None, {})
    save_pictures(tmp_path / "p.npz", made)
    pictures = load_pictures(tmp_path / "p.npz")
    assert set(pictures.images) == {"baseline", "reconstruction", "change"}
    levels = pictures.images["reconstruction"].volume
    assert np.argwhere(levels == 255).tolist() == [[3, 1, 6]]
    right_anterior_superior = pictures.affine @ (6, 1, 3, 1)
    expected = np.diag([-1, -1, 1]) @ grid.world((3, 1, 6))
    assert right_anterior_superior[:3] == pytest.approx(expected)
    assert pictures.images["change"].volume[0, 0, 0] == 128  # zero is the middle of a difference


def test_large_volumes_are_reduced_about_their_places() -> None:
    grid = Grid.isotropic((40, 220, 200), (3.0, 1.0, 1.0))
    image = Volume(torch.rand(grid.shape), grid, "arbitrary", "MR")
    pictures = pictures_of(image, image, None, {})
    assert pictures.images["baseline"].volume.size <= 2**20
    assert pictures.reduced[0] == 1  # thick slices are left as they are
    assert pictures.images["baseline"].planes["axial"].shape == (220, 200)
    z, y, x = pictures.reduced
    first = pictures.affine @ (0, 0, 0, 1)
    assert first[:3] == pytest.approx(np.diag([-1, -1, 1]) @ grid.world(((z - 1) / 2, (y - 1) / 2, (x - 1) / 2)))


def test_slice_likeness_is_a_correlation() -> None:
    first = torch.rand(5, 6)
    data = torch.stack([first, 2 * first + 1, -first, torch.ones(5, 6)])
    found = slice_likeness(Volume(data, Grid.isotropic((4, 5, 6))))
    assert found[:2] == pytest.approx([1, -1], abs=1e-5)
    assert found[2] is None


def test_convergence_is_the_change_of_the_first_sample() -> None:
    seen = Convergence(samples=3)
    for k in range(4):  # two samples together, then the third
        estimate = torch.stack([torch.full((1, 2, 2), 2.0**k), torch.full((1, 2, 2), 99.0 + k)])
        seen(Step(2 * k + 1, 12, 1.0 / (k + 1), estimate, estimate))
    for k in range(4):
        lone = torch.full((1, 1, 2, 2), 7.0 * (k + 1))
        seen(Step(8 + k, 12, 0.5, lone, lone))
    record = seen.as_record()
    assert record == {"step": [2, 3, 4], "change": [0.5, 0.5, 0.5], "sigma": [0.5, 0.3333, 0.25]}


@pytest.mark.parametrize(
    ("limits", "said"),
    [((-1000.0, 600.0), ("-1000", "600")), ((0.0, 0.01234), ("0", "0.0123")), ((-1e7, 2.5), ("-1e+07", "2.5"))],
)
def test_colour_bars_tell_plain_numbers(limits: tuple[float, float], said: tuple[str, str]) -> None:
    bar = colour_bar(Picture("image", limits, "HU", {}, np.zeros((1, 1, 1), np.uint8)))
    low, high = re.findall("<span>([^<]*)</span>", bar)
    assert (low, high) == (said[0], f"{said[1]} HU")


def test_the_colour_bar_of_a_difference_ends_in_one_number() -> None:
    bar = colour_bar(Picture("difference", (-31.2, 31.2 * 127 / 128), "HU", {}, np.zeros((1, 1, 1), np.uint8)))
    assert re.findall("<span>([^<]*)</span>", bar) == ["-31.2", "31.2 HU"]


@pytest.mark.parametrize(
    ("most", "said"),
    [(62.5, "50 mm"), (1.0, "1 mm"), (0.9, "500 µm"), (0.0156, "10 µm"), (1.04e-3, "1 µm"), (8e-4, "500 nm")],
)
def test_scale_bars_are_as_fine_as_the_image(most: float, said: str) -> None:
    length, words = scale_bar(most)
    assert words == said
    assert 0.4 * most <= length <= most


@pytest.mark.parametrize("width", [1000.0, 16.0, 0.6, 5e-3])
def test_letters_and_bars_are_drawn_in_parts_of_the_picture(width: float) -> None:
    levels = np.zeros((8, 8), np.uint8)
    picture = Picture("image", (0.0, 1.0), "", {"axial": levels}, levels[None])
    drawn = figure(picture, "axial", Size(width, width), "", oriented=True)
    assert 'viewBox="0 0 100.000 100.000"' in drawn
    lines = [float(number) for number in re.findall(r'(?:font-size|stroke-width)="([^"]*)"', drawn)]
    assert len(lines) == 6 and all(0.5 < line < 10 for line in lines)
    (bar,) = re.findall(r'<path class="bar" d="M[^h]*h([^"]*)"', drawn)
    assert 10 <= float(bar) <= 25
    # A length in px would count in the units of the drawing.
    (rule,) = re.findall(r"\.letter \{[^}]*stroke-width: ([^;]*);", source("style.css"))
    assert rule == "0.1em"
    nowhere = figure(picture, "axial", Size(width, width), "Image", oriented=False)
    assert not re.findall(r">[RLAP]</text>", nowhere) and 'aria-label="Image. axial slice."' in nowhere


def test_a_chart_draws_gaps_levels_and_nothing_at_all() -> None:
    drawn = chart([Line("chi", [1.0, None, 2.0, 3.0])], "slice", "chi", level=(1.0, "noise <alone>"))
    assert drawn.count("<circle") == 1
    assert "noise &lt;alone&gt;" in drawn
    assert "1 to 3" in drawn
    assert "no values" in chart([Line("chi", [None, float("nan")])], "slice", "chi")
    assert "no values" in chart([Line("chi", [0.0, -1.0])], "slice", "chi", logarithmic=True)


def test_a_script_may_not_end_itself() -> None:
    with pytest.raises(ValueError, match="end its own element"):
        inline("x = '</SCRIPT>'")


def test_folders_without_results_or_pictures_are_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="E-REP-01"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_bytes((out / "run.json").read_bytes())
    with pytest.raises(InputRefused, match="E-REP-02"):
        write_report(tmp_path)
    (tmp_path / PICTURES).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputRefused, match="E-REP-02"):
        write_report(tmp_path)


def test_a_report_that_cannot_be_written_leaves_nothing(out: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "nowhere" / "report.html", tmp_path / "folder"):
        with pytest.raises(UsageError, match="E-OUT-04"):
            write_report(out, target)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_report_can_be_made_again_and_left_out(out: Path, tmp_path: Path) -> None:
    again = write_report(out, tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == (out / "report.html").read_text(encoding="utf-8")
    finished(tmp_path / "bare", outputs={"report": False})
    assert not {"report.html", PICTURES} & {path.name for path in (tmp_path / "bare").iterdir()}
    with pytest.raises(UsageError, match="E-RCP-05"):
        from_mapping("r", {"acquisition": {"physics": "p"}, "solver": {"name": "s"}, "outputs": {"report": 3}})


def test_one_slice_has_one_picture_and_no_curve_of_slices(out: Path, tmp_path: Path) -> None:
    finished(tmp_path / "one", slices=slice(2, 3))
    one, several = ((folder / "report.html").read_text(encoding="utf-8") for folder in (tmp_path / "one", out))
    assert "axial slice" in one and "coronal slice" not in one
    assert "coronal slice" in several
    assert "Slice by slice" in several and "Slice by slice" not in one
    assert "Along ky" in one


def test_a_phantom_measured_is_the_truth_of_its_report(out: Path) -> None:
    pictures = load_pictures(out / PICTURES)
    low, high = pictures.images["truth"].limits
    axial = pictures.images["truth"].planes["axial"] / 255 * (high - low) + low
    assert np.abs(axial - phantom().data[3].numpy().clip(low, high)).max() <= (high - low) / 255
