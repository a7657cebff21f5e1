"""The page of a search in a real browser: select, walk, brush, sort, in light and dark, on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from chop.report.html.search_page import search_page
from tests.browser.pages import browser, console, needs_browser, opened, requests
from tests.report.html.searches import exhaustive_search, search_of_two_formats, small_search, tuned_search

pytestmark = needs_browser


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def page(window: Any, tmp_path: Path) -> Any:
    file = tmp_path / "report.html"
    file.write_text(search_page(small_search()), encoding="utf-8")
    opened(window, file)
    return window


def text(page: Any, css: str) -> str:
    return str(page.find_element("css selector", css).text)


def test_console_is_silent_and_nothing_is_asked_for(page: Any, tmp_path: Path) -> None:
    assert console(page) == []
    assert {address for address in requests(page) if not address.startswith("file:")} == set()


def test_walking_along_the_front_changes_table_heat_map_and_commands(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    plot = page.find_element("id", "front-plot")
    seen = []
    plot.send_keys(Keys.ARROW_LEFT * 40)
    for _ in range(3):
        title, heat = text(page, "#selected-title"), text(page, "#heat")
        chosen = page.find_element("css selector", '#table tr[aria-selected="true"]').get_attribute("data-trial")
        command = text(page, "#selected .command pre")
        assert f"Trial {chosen} " in f"{title} "
        assert f"[{chosen}].model" in command
        seen.append((chosen, heat))
        plot.send_keys(Keys.ARROW_RIGHT)
    assert len({trial for trial, _ in seen}) == 3
    assert len({heat for _, heat in seen}) > 1


def test_a_click_on_a_row_selects_that_network(page: Any) -> None:
    script = (
        "const row = document.querySelectorAll('#table tbody tr[data-trial]')[5]; row.click(); return row.dataset.trial"
    )
    trial = page.execute_script(script)
    assert text(page, "#selected-title").split()[1] == trial
    assert page.find_elements("id", "chosen")


def test_the_toml_of_a_network_stays_open_and_changes_with_the_selection(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.find_element("css selector", "#network-toml summary").send_keys(Keys.ENTER)
    plot, found = page.find_element("id", "front-plot"), set()
    plot.send_keys(Keys.ARROW_LEFT * 40)
    for _ in range(3):
        found.add(text(page, "#network-toml pre"))
        plot.send_keys(Keys.ARROW_RIGHT)
    assert len(found) == 3
    assert all(own.startswith("[passes.quantize]") for own in found)


def test_long_names_of_layers_are_whole_above_their_axes(page: Any) -> None:
    name = "transformer_encoder_layers_3_attention_output_dense"
    assert page.execute_script(f"return linesOf('{name}', 27)") == [name[:27], name[27:]]
    titles = page.execute_script(
        "return [...document.querySelectorAll('#parallel-plot g')].map((own) => "
        "[...own.querySelectorAll('text.name')].map((line) => line.textContent).join(''))"
    )
    assert titles == page.execute_script("return Parallel.columns.map((own) => own.title)")


def test_the_legend_explains_the_knee(page: Any) -> None:
    assert page.execute_script("return knee(frontier(state.x, state.y), state.x, state.y)") is not None
    assert "knee: the network of the front that lies farthest from the line" in text(page, "#front-legend")


def test_brushing_an_axis_filters_picture_and_table(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    before = page.execute_script("return visible.length")
    grip = page.find_element("css selector", '#parallel-plot rect[data-axis="accuracy"]')
    page.execute_script("arguments[0].scrollIntoView({block:'center'})", grip)
    height = grip.size["height"]
    ActionChains(page).move_to_element(grip).move_by_offset(0, -int(height / 2) + 4).click_and_hold().move_by_offset(
        0, int(height / 3)
    ).release().perform()
    low, high = page.execute_script("return state.brushes.accuracy")
    kept = page.execute_script("return visible.map((place) => T.metrics.accuracy[place])")
    assert 0 < len(kept) < before
    assert all(low <= value <= high for value in kept)
    rows = page.find_elements("css selector", "#table tbody tr[data-trial]")
    assert len(rows) == len(kept)
    assert f"{len(kept)} of {before} networks" in text(page, "#count")
    page.find_element("css selector", "#chips button").click()
    assert page.execute_script("return visible.length") == before


def test_limits_in_the_table_filter_everything(page: Any) -> None:
    field = page.find_element("css selector", '#table input[data-limit="average_bitwidth:1"]')
    field.send_keys("5\n")
    page.execute_script("arguments[0].blur()", field)
    kept = page.execute_script("return visible.map((place) => T.metrics.average_bitwidth[place])")
    assert kept
    assert max(kept) <= 5


def test_drag_in_the_picture_filters_both_metrics(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    plot = page.find_element("id", "front-plot")
    page.execute_script("arguments[0].scrollIntoView({block:'center'})", plot)
    ActionChains(page).move_to_element(plot).move_by_offset(-60, -80).click_and_hold().move_by_offset(
        160, 160
    ).release().perform()
    assert set(page.execute_script("return Object.keys(state.brushes)")) == {"accuracy", "average_bitwidth"}


def test_networks_beyond_a_constraint_are_hidden_on_request(page: Any) -> None:
    page.find_element("id", "hides").click()
    kept = page.execute_script("return visible.map((place) => T.metrics.average_bitwidth[place])")
    assert kept
    assert max(kept) <= 7.5


def test_sorting_by_a_heading(page: Any) -> None:
    heading = page.find_element("css selector", '#table th[data-column="average_bitwidth"]')
    heading.find_element("css selector", "button").send_keys("\n")
    assert heading.get_attribute("aria-sort") == "ascending"
    order = page.execute_script("return Table.order().map((place) => T.metrics.average_bitwidth[place])")
    assert order == sorted(order)


def test_the_table_has_a_column_for_the_formats_of_each_layer(window: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(search_page(search_of_two_formats()), encoding="utf-8")
    opened(window, file)
    heads = [own.text for own in window.find_elements("css selector", "#table thead tr:first-child th.text")]
    layers = window.execute_script("return DATA.layers.map((own) => own.name)")
    assert heads and set(heads) <= set(layers)
    rows = window.execute_script(
        "return [...document.querySelectorAll('#table tr[data-trial]')].map((row) => [placeOf.get(row.dataset.trial), "
        "[...row.querySelectorAll('td.text')].map((own) => own.textContent)])"
    )
    assert len(rows) > 5
    for place, cells in rows:
        told = window.execute_script("return textsOf(arguments[0]).texts", place)
        assert cells == [told.get(head, "float32") for head in heads]


def test_labels_below_a_picture_keep_apart_on_a_phone(window: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(search_page(exhaustive_search()), encoding="utf-8")
    window.set_window_size(400, 900)
    opened(window, file)
    apart = (
        "const draw = scale(0, 1.05e6, 60, 60 + arguments[0]); draw.ticks = multiples(0, 1e6, 2e5); "
        "return [labelled(draw).length, labelled(scale(0, 1, 60, 800)).length]"
    )
    assert window.execute_script(apart, 250) == [3, 6]
    boxes = window.execute_script(
        "return [...document.querySelectorAll('#front-plot svg text:not(.name)[text-anchor=middle]')]"
        ".map((own) => own.getBoundingClientRect()).map((own) => [own.left, own.right])"
    )
    window.set_window_size(1440, 1400)
    boxes.sort()
    assert len(boxes) > 2
    assert all(one[1] <= other[0] for one, other in pairwise(boxes))


def test_light_and_dark_differ_and_stay_readable(page: Any) -> None:
    script = "const own = getComputedStyle(document.body); return [own.backgroundColor, own.color]"
    first = page.execute_script(script)
    page.find_element("id", "theme").click()
    second = page.execute_script(script)
    assert first != second
    assert console(page) == []


def test_arrow_keys_choose_a_value_of_an_axis(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    key = page.execute_script("return keys[0].key")
    for typed, chosen, told in ((Keys.ARROW_UP, 0, "2"), (Keys.ARROW_UP, 1, "4"), (Keys.ESCAPE, None, "all values")):
        grip = page.find_element("css selector", f'#parallel-plot rect[data-axis="{key}"]')
        page.execute_script("arguments[0].focus()", grip)
        page.switch_to.active_element.send_keys(typed)
        codes = set(page.execute_script(f"return visible.map((place) => T.codes['{key}'][place])"))
        assert codes == ({0, 1, 2} if chosen is None else {chosen})
        assert page.switch_to.active_element.get_attribute("aria-valuetext") == told


CONTRASTS = """
const canvas = document.createElement("canvas"), context = canvas.getContext("2d", { willReadFrequently: true });
const over = (colour, below) => {
  for (const own of [`rgb(${below})`, colour]) { context.fillStyle = own; context.fillRect(0, 0, 1, 1); }
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const behind = (own) => own ? over(getComputedStyle(own).backgroundColor, behind(own.parentElement)) : [255, 255, 255];
const linear = (own) => own <= 0.04045 ? own / 12.92 : ((own + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const isShown = (own) => own.getClientRects().length && !["OPTION", "SCRIPT"].includes(own.tagName)
  && [...own.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
return [...document.querySelectorAll("body *")].filter(isShown).map((own) => {
  const style = getComputedStyle(own), below = behind(own);
  const ink = over(own instanceof SVGElement ? style.fill : style.color, below);
  const [high, low] = [light(ink), light(below)].sort((a, b) => b - a);
  return [own.textContent.slice(0, 40), (high + 0.05) / (low + 0.05)];
}).filter(([, contrast]) => contrast < 4.5);
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_contrasts_with_what_is_behind_it(page: Any, theme: str) -> None:
    """At 4.5 or more, as WCAG 2 asks of small text; the canvases of the plots hold no text."""
    page.execute_script("document.documentElement.dataset.theme = arguments[0]; tell('theme')", theme)
    assert page.execute_script(CONTRASTS) == []


def test_what_is_wider_than_its_box_says_so_and_is_reached_by_keys(page: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    def are_told(page: Any) -> bool:
        boxes = page.execute_script(
            "return [...document.querySelectorAll('.edges > *')].map((own) => [own.scrollWidth - own.clientWidth > 1, "
            "own.tabIndex === 0 && own.role === 'region' && own.ariaLabel.length > 5, "
            "own.parentElement.matches('.right')])"
        )
        wider = [told and edge for is_wider, told, edge in boxes if is_wider]
        return len(wider) >= 3 and all(wider)

    def is_at_its_end(page: Any) -> bool:
        return bool(page.execute_script("return $('table').parentElement.className") == "edges left")

    page.set_window_size(500, 900)
    try:
        WebDriverWait(page, 20).until(are_told)
        page.execute_script("const own = $('table'); own.scrollLeft = own.scrollWidth")
        WebDriverWait(page, 20).until(is_at_its_end)
    finally:
        page.set_window_size(1440, 1400)


def test_a_short_table_leaves_no_blank_below_it(window: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(search_page(tuned_search()), encoding="utf-8")
    opened(window, file)
    high, rows = window.execute_script("return [$('table').clientHeight, $('table').firstChild.offsetHeight]")
    assert high == rows


@pytest.mark.parametrize("width", [390, 1440])
def test_page_is_no_wider_than_its_window(page: Any, width: int) -> None:
    page.set_window_size(width, 900)
    wide, inner = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    page.set_window_size(1440, 1400)
    assert wide <= inner


def test_exhaustive_search_shows_its_exact_front(window: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(search_page(exhaustive_search()), encoding="utf-8")
    opened(window, file)
    assert "exact front" in text(window, "#front-legend")
    cells = window.execute_script("return cellsOf(state.selected).seq_blocks_2")
    size = text(window, '#heat tr[data-layer="seq_blocks_2"] td:last-child')
    assert size == f"{(80 * cells['weight'][1] + 5 * cells['bias'][1]) / 8:.4g} B"
    assert console(window) == []


def test_where_the_exact_front_is_not_drawn_the_legend_says_of_what_it_is(window: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(search_page(exhaustive_search()), encoding="utf-8")
    opened(window, file)
    told = "the exact front is known for accuracy and average_bitwidth, and not drawn"
    assert told not in text(window, "#front-legend")
    window.execute_script("$('axis-x').value = 'loss'; $('axis-x').dispatchEvent(new Event('change'))")
    assert told in text(window, "#front-legend")


def test_the_table_of_layers_shows_all_columns_and_commands_break_between_words(page: Any) -> None:
    page.set_window_size(1440, 1400)
    hidden = "const box = document.querySelector('#heat').parentElement; return box.scrollWidth - box.clientWidth"
    assert page.execute_script(hidden) <= 0
    shares = page.execute_script(
        "return [...document.querySelectorAll('#heat td.share')].map((own) => own.textContent)"
    )
    assert shares and all(own for own in shares)
    words = "[...document.querySelectorAll('#selected .command pre span')]"
    assert page.execute_script(f"return {words}.every((own) => own.getClientRects().length === 1)")


def test_formats_of_all_networks_are_told_as_those_of_the_front(window: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(search_page(exhaustive_search()), encoding="utf-8")
    opened(window, file)
    pairs = window.execute_script(
        "return DATA.front.map((row) => [row.cells, cellsFromChoices(placeOf.get(nameOf(row.trial, 0)))])"
    )
    assert pairs
    for known, found in pairs:
        assert set(found["seq_blocks_2"]) == {"data_in", "weight", "bias"}  # a bias follows the weight
        assert found == known
    assert "auto" not in window.execute_script("return T.number.map((_, place) => formatsText(place)).join()")


def test_every_network_names_its_formats_where_there_are_several(window: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(search_page(search_of_two_formats()), encoding="utf-8")
    opened(window, file)
    texts = window.execute_script("return T.number.map((_, place) => formatsText(place))")
    names = window.execute_script("return T.number.map((_, place) => configOf(place).seq_blocks_2.name)")
    on_front = window.execute_script("return DATA.front.length")
    assert {*names} == {"integer", "integer_floor"} and on_front < len(texts)
    for own, name in zip(texts, names, strict=True):
        assert f"seq_blocks_2 {name}" in own
    assert console(window) == []


def test_tuned_networks_are_on_the_front_and_both_can_be_taken(window: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(search_page(tuned_search()), encoding="utf-8")
    opened(window, file)
    for name, taken in (("tuned", "].model"), ("untuned", "].untuned.model")):
        wanted = f"T.tuned[place] {'>' if name == 'tuned' else '==='} 0 && DATA.tuned.includes(number)"
        window.execute_script(f"select(T.number.findIndex((number, place) => {wanted}))")
        assert ("tuned" in text(window, "#selected-title")) == (name == "tuned")
        assert text(window, "#selected .command pre").endswith(taken)
    on_front = window.execute_script("return frontier(state.x, state.y).filter((place) => T.tuned[place]).length")
    assert on_front > 0
    assert console(window) == []


@needs_browser
def test_numbers_that_stand_together_have_equally_many_decimals(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(search_page(small_search()), encoding="utf-8")
    with browser() as window:
        opened(window, file)

        def texts(values: str) -> list[str]:
            return window.execute_script(f"const own = {values}, text = alike(own); return own.map(text)")  # type: ignore[no-any-return]

        assert texts("[0.75, 0.7503, 1]") == ["0.7500", "0.7503", "1.0000"]
        assert texts("[4, 8]") == ["4", "8"]
        assert texts("[1e-9, 0.5, null]") == ["1.00e-9", "0.5", "–"]
        ticks = window.execute_script("const own = scale(32.05, 32.062, 400, 0); return own.ticks.map(own.text)")
        assert len(set(ticks)) == len(ticks)
        spread = window.execute_script("return spaced([5, 5, 90], 10, 0, 100)")
        assert spread == [0, 10, 90]
