"""A page in headless Chromium, with what the tests ask of it in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
)
_PATIENCE = 60  # seconds; a busy machine is slow


class Browser:
    """The explorer in a browser."""

    def __init__(self, chromium: str, driver: str, page: Path) -> None:
        options = Options()
        options.binary_location = chromium
        for option in _OPTIONS:
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.page = page

    def close(self) -> None:
        self.driver.quit()

    def open(self, state: str = "") -> None:
        """Open the page anew, as a pasted link does."""
        self.driver.get("about:blank")
        self.driver.get(f"file://{self.page}{state}")
        self.wait(lambda: self.run("return document.documentElement.dataset.ready") == "true")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Any) -> Any:
        return WebDriverWait(self.driver, _PATIENCE, poll_frequency=0.05).until(lambda _: condition())

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def one(self, css: str) -> WebElement:
        """The first shown element of a selector, waited for."""
        return self.wait(lambda: next((each for each in self.all(css) if each.is_displayed()), None))

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        return self.one(css).text

    def says(self, css: str, *parts: str) -> str:
        """Wait until the element's text holds the parts; the text."""
        self.wait(lambda: all(part in self.run(_TEXT, css) for part in parts))
        return str(self.run(_TEXT, css))

    def click(self, css: str) -> None:
        self.one(css).click()

    def pick(self, control: str, value: str, at: int = 0) -> None:
        """Choose a value of a <select> by its data-control; at: of which pane."""
        Select(self.all(f'select[data-control="{control}"]')[at]).select_by_value(value)

    def picked(self, control: str) -> str:
        return str(self.run(f"return document.querySelector('select[data-control=\"{control}\"]').value"))

    def point(self, css: str) -> None:
        ActionChains(self.driver).move_to_element(self.one(css)).perform()

    def keys(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    @property
    def hash(self) -> str:
        return str(self.run("return decodeURIComponent(location.hash)"))

    def pixel(self, x: float, y: float) -> list[int]:
        """Red, green, blue and alpha of the shown overlay at a place of the page, both from 0 to 1."""
        return list(self.run(_PIXEL, x, y))

    def faults(self) -> list[str]:
        """What the console says since the last call: errors, and requests that the page's policy refused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """Everything asked for since the last call but what the page holds itself."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        urls = {each["request"]["url"].partition("#")[0] for each in asked}
        return {url for url in urls if not url.startswith(("data:", "blob:", "about:"))}


_TEXT = "const node = document.querySelector(arguments[0]); return node ? node.textContent : ''"
_PIXEL = """
const canvas = [...document.querySelectorAll('.picture canvas')].find((each) => each.offsetParent);
const [x, y] = [Math.floor(arguments[0] * canvas.width), Math.floor(arguments[1] * canvas.height)];
const copy = document.createElement('canvas'); // reading the page's own canvas often would make Chromium warn
[copy.width, copy.height] = [1, 1];
const context = copy.getContext('2d', { willReadFrequently: true });
context.drawImage(canvas, x, y, 1, 1, 0, 0, 1, 1);
return Array.from(context.getImageData(0, 0, 1, 1).data);
"""
