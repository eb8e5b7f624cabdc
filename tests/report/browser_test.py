"""The page in Chromium: it renders, at every width and on paper, and the console stays empty."""
import re
import tempfile
import pathlib
import unittest

import browser
from PIL import Image


class RendersInChromium(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not browser.CHROMIUM:
            raise unittest.SkipTest("SKIPPED: no chromium (apt-get install chromium)")
        browser.make_pages()

    def test_screen(self):
        for name, arguments in browser.SETTINGS.items():
            for page in ["safe", "unsafe", "attacked", "cuts-2", "cuts-150"]:
                with self.subTest(page=page, setting=name), tempfile.TemporaryDirectory() as folder:
                    shot = pathlib.Path(folder, "shot.png")
                    _, console = browser.open_page(browser.PAGES / f"{page}.html", f"--screenshot={shot}", *arguments)
                    self.assertEqual(console, [])
                    image = Image.open(shot).convert("L")
                    light = image.getpixel((2, 2)) > 128
                    self.assertEqual(light, name != "dark", "the colour scheme of the user is not followed")
                    self.assertGreater(image.getextrema()[1] - image.getextrema()[0], 150, "nothing is drawn")

    def test_nothing_is_wider_than_a_phone(self):
        probe = ("<script>document.title=[...document.querySelectorAll('body *')].filter(e=>!e.closest('.scroll')&&"
                 "!e.closest('svg')&&e.getBoundingClientRect().right>innerWidth+1).map(e=>e.tagName+'.'+e.className).join(' ')"
                 "||'fits'</script>")
        html = (browser.PAGES / "attacked.html").read_text()
        html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("</body>", probe + "</body>")
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder, "probe.html")
            page.write_text(html)
            dom, _ = browser.open_page(page, "--dump-dom", *browser.SETTINGS["phone"])
        self.assertEqual(re.search(r"<title>(.*?)</title>", dom, re.S).group(1), "fits")

    def test_paper(self):
        with tempfile.TemporaryDirectory() as folder:
            pdf = pathlib.Path(folder, "page.pdf")
            _, console = browser.open_page(browser.PAGES / "safe.html", f"--print-to-pdf={pdf}")
            self.assertEqual(console, [])
            pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
            self.assertIn(pages, range(4, 20))


if __name__ == "__main__":
    unittest.main()
