"""Pages as a browser shows them: no complaints, no requests, a viewer that draws, scrolls and overlays."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from headless import chromium, complaints, press, requests, wait_for
from PIL import Image
from report_runs import finished

from medldm.host import load_host
from medldm.report import write_index, write_report
from medldm.report.serve import serve


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of one recipe, one of which fails its gate."""
    from medldm.errors import GateFailed

    folder = tmp_path_factory.mktemp("results")
    finished(folder / "b good")
    finished(folder / "a <b>bold</b>", brightness=300.0)
    with pytest.raises(GateFailed):
        finished(
            folder / "deep" / "c bad", solver={"name": "cgls", "iterations": 1}, outputs={"gates": {"chi_max": 0.01}}
        )
    write_index(folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


def _canvas(page: Any) -> np.ndarray[Any, Any]:
    shot = page.find_element("id", "viewer-canvas").screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=np.int32)


def _look_around(page: Any) -> None:
    """Scroll the viewer of the page once it is there, lay a map over the image and take the next image."""
    viewer = page.find_element("id", "viewer")
    ready = wait_for(lambda: viewer.get_attribute("data-ready"))
    assert ready == "yes", page.find_element("id", "viewer-status").text
    page.execute_script("document.getElementById('viewer-keys').scrollIntoView()")
    plain = wait_for(lambda: shot if (shot := _canvas(page)).std() > 5 else None)

    page.execute_script(
        "const s = document.getElementById('viewer-plane'); s.value = 'axial'; s.dispatchEvent(new Event('change'));"
    )
    one = wait_for(lambda: shot if (np.abs((shot := _canvas(page)) - plain)).mean() > 1 else None)
    page.find_element("id", "viewer-keys").send_keys("\ue013")  # arrow up
    first = int(wait_for(lambda: viewer.get_attribute("data-slice")))
    page.find_element("id", "viewer-keys").send_keys("\ue013")
    wait_for(lambda: int(viewer.get_attribute("data-slice")) == first + 1)
    wait_for(lambda: np.abs(_canvas(page) - one).mean() > 0.2)

    before = _canvas(page)
    page.execute_script('document.querySelector("input[name=above][value=error]").click()')
    # Colours come up over grey values.
    wait_for(lambda: np.ptp(_canvas(page), axis=2).mean() > np.ptp(before, axis=2).mean() + 0.5)
    page.execute_script('document.querySelector("input[name=above][value=none]").click()')
    wait_for(lambda: np.ptp(_canvas(page), axis=2).mean() < np.ptp(before, axis=2).mean() + 0.2)
    press(page, "viewer-swap")
    wait_for(lambda: page.find_element("css selector", "input[name=below][value=baseline]").is_selected())
    wait_for(lambda: np.abs(_canvas(page) - before).mean() > 0.2)


def test_the_report_opens_from_disk_and_its_viewer_draws(results: Path, browser: Any) -> None:
    address = (results / "b good" / "report.html").as_uri()
    browser.get(address)
    assert requests(browser)[0] == address
    assert browser.find_element("css selector", ".verdict h2").text.strip().endswith("Passed its checks")
    browser.execute_script("document.getElementById('viewer').scrollIntoView()")
    press(browser, "viewer-open")
    _look_around(browser)
    assert complaints(browser) == []
    assert requests(browser) == []


def test_hostile_text_runs_nothing_in_a_browser(results: Path, browser: Any, tmp_path: Path) -> None:
    import json

    from medldm.pipeline.pictures import PICTURES

    source = results / "b good"
    bad = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    record = json.loads((source / "run.json").read_text())
    record |= {"warnings": [bad], "device_name": bad, "recipe": {**record["recipe"], "name": bad}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / PICTURES).write_bytes((source / PICTURES).read_bytes())
    browser.get(write_report(tmp_path).as_uri())
    assert browser.title.endswith("- medldm report")
    assert bad in browser.find_element("css selector", ".verdict").text
    assert browser.find_elements("css selector", "img[src=x]") == []
    browser.get(write_index(tmp_path).as_uri())
    assert browser.find_elements("css selector", "img[src=x]") == []
    assert complaints(browser) == []


def _names(page: Any) -> list[str]:
    rows = page.find_elements("css selector", "#runs tbody tr")
    return [row.find_element("css selector", "td:nth-child(2) a").text for row in rows if row.is_displayed()]


def test_the_index_sorts_and_filters(results: Path, browser: Any) -> None:
    address = (results / "index.html").as_uri()
    browser.get(address)
    requests(browser)
    assert _names(browser) == ["deep/c bad", "a <b>bold</b>", "b good"]  # failed first
    heads = browser.find_elements("css selector", "#runs thead button")
    named = {head.text: head for head in heads}
    browser.execute_script("arguments[0].click()", named["Scan"])
    assert _names(browser) == ["a <b>bold</b>", "b good", "deep/c bad"]
    browser.execute_script("arguments[0].click()", named["Scan"])
    assert _names(browser) == ["deep/c bad", "b good", "a <b>bold</b>"]
    browser.execute_script("arguments[0].click()", named["chi"])
    chi = [float(cell.text) for cell in browser.find_elements("css selector", "#runs tbody tr td:nth-child(5)")]
    assert chi == sorted(chi)
    browser.find_element("id", "find").send_keys("GOOD")
    assert _names(browser) == ["b good"]
    assert browser.find_element("id", "shown").text == "1 of 3 shown"
    browser.find_element("id", "find").clear()
    browser.execute_script(
        "const s = document.getElementById('status'); s.value = 'failed'; s.dispatchEvent(new Event('input'));"
    )
    assert _names(browser) == ["deep/c bad"]
    assert complaints(browser) == []
    assert requests(browser) == []
    browser.find_element("css selector", "#runs tbody tr:not([hidden]) td:nth-child(2) a").click()
    assert browser.find_element("css selector", ".verdict h2").text.strip().endswith("Failed its quality check")


def test_volumes_at_full_size_are_served_to_who_knows_the_word(results: Path, browser: Any) -> None:
    requests(browser)
    with serve(load_host((), ()), results / "b good") as server:
        browser.get(server.address)
        _look_around(browser)  # it opens by itself
        assert "SIMULATED" in browser.find_element("class name", "notice").text
        assert complaints(browser) == []
        asked = requests(browser)
        assert f"{server.address}reconstruction.nii" in asked
        assert all(address.startswith(server.address) for address in asked)
        with urlopen(server.address + "reconstruction.nii") as answer:
            assert answer.read() == (results / "b good" / "reconstruction.nii.gz").read_bytes()
        root, _, token = server.address.rstrip("/").rpartition("/")
        for address, name in (
            (f"{root}/", None),
            (f"{root}/{token[:-1]}x/", None),
            (f"{root}/{token}/run.json", None),
            (f"{root}/{token}/../run.json", None),
            (server.address, "evil.example:80"),
        ):
            asking = Request(address, headers={} if name is None else {"Host": name})
            with pytest.raises(Exception, match="404"), urlopen(asking):
                pass
