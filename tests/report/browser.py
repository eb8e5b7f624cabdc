"""Chromium, headless, for the tests of the page."""
import os
import pathlib
import shutil
import subprocess
import tempfile

BINARY_DIR = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"])
PAGES = BINARY_DIR / "report-pages"
CHROMIUM = shutil.which("chromium")
# Widths of a desk and of a phone, in either colour scheme.
SETTINGS = {
    "light": ["--window-size=1200,2000"],
    "dark": ["--window-size=1200,2000", "--force-dark-mode", "--blink-settings=preferredColorScheme=0"],
    "phone": ["--window-size=500,2000"],  # the narrowest window that Chromium makes
}


def make_pages():
    """Writes report-pages/*.html: report_test keeps the pages that it checks."""
    subprocess.run([BINARY_DIR / "report_test", "--gtest_filter=Report.*"], check=True, stdout=subprocess.DEVNULL)


def open_page(page, *arguments):
    """Opens a page; returns standard output and the console's messages."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-dev-shm-usage", "--enable-logging=stderr", f"--user-data-dir={profile}", *arguments,
             pathlib.Path(page).as_uri()],
            capture_output=True, timeout=180, check=True, encoding="utf-8", errors="replace")
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
