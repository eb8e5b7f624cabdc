"""axe-core finds no violation of accessibility in the page, in light, dark and on a phone.

Needs Chromium, and axe-core: INFENCLAVE_AXE names axe.min.js, else npm fetches the package into the build folder once.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import browser

AXE_VERSION = "4.10.3"
RUN = """<pre id="axe-result"></pre><script>axe.run(document,{resultTypes:['violations']}).then(r=>{
document.getElementById('axe-result').textContent='BEGIN'+JSON.stringify(r.violations.map(v=>[v.id,v.help,
v.nodes.slice(0,3).map(n=>n.html)]))+'END'})</script>"""


def find_axe():
    script = pathlib.Path(os.environ.get("INFENCLAVE_AXE", browser.BINARY_DIR / "axe/node_modules/axe-core/axe.min.js"))
    if not script.exists() and shutil.which("npm"):
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", browser.BINARY_DIR / "axe",
                        f"axe-core@{AXE_VERSION}"], timeout=120, check=False)
    return script if script.exists() else None


class IsAccessible(unittest.TestCase):
    def test_axe(self):
        axe = find_axe() if browser.CHROMIUM else None
        if not axe:
            self.skipTest("SKIPPED: needs chromium, and axe-core (npm, or INFENCLAVE_AXE=axe.min.js)")
        browser.make_pages()
        for page in ["safe", "unsafe", "attacked"]:
            html = (browser.PAGES / f"{page}.html").read_text()
            html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)  # it forbids scripts
            html = html.replace("</body>", "<script>" + axe.read_text() + "</script>" + RUN + "</body>")
            for name, arguments in browser.SETTINGS.items():
                with self.subTest(page=page, setting=name), tempfile.TemporaryDirectory() as folder:
                    copy = pathlib.Path(folder, "page.html")
                    copy.write_text(html)
                    dom, _ = browser.open_page(copy, "--dump-dom", "--virtual-time-budget=60000", *arguments)
                    result = re.search(r"BEGIN(\[.*\])END</pre>", dom, re.S)
                    self.assertIsNotNone(result, "axe did not finish")
                    violations = json.loads(result.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
                    violations = [v for v in violations if not all("axe-result" in node for node in v[2])]
                    self.assertEqual(violations, [])


if __name__ == "__main__":
    unittest.main()
