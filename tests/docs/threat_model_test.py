"""docs/threat-model.md names, for each threat, tests that ctest knows, or says that it is not defended."""

import json
import os
import pathlib
import re
import subprocess
import unittest

PAGE = pathlib.Path(os.environ["INFENCLAVE_SOURCE_DIR"]) / "docs/threat-model.md"
BUILD = os.environ["INFENCLAVE_BINARY_DIR"]
UNDEFENDED = "not defended"


def rows(text):
    """The cells of every row of the tables whose last column is `test`."""
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[-1] == "test":
            inside = True
        elif inside and not set(line) <= set("|-"):
            yield cells


def known_tests():
    """Names that ctest knows, each with its command; of tests with parameters the name that they share."""
    listed = subprocess.run(["ctest", "--show-only=json-v1"], cwd=BUILD, check=True, capture_output=True, text=True)
    return {re.sub(r"^\w+/|/\w+ .*", "", test["name"]): test.get("command", [])
            for test in json.loads(listed.stdout)["tests"]}


def missing(name, tests):
    """Why `name` stands for no test; None if it does. NAME/test_X is a method of the Python script that NAME runs."""
    name, _, method = name.partition("/test_")
    if name not in tests:
        return f"ctest knows no '{name}'"
    if not method:
        return None
    scripts = [part for part in tests[name] if part.endswith("_test.py")]
    if not any(f"def test_{method}(" in pathlib.Path(script).read_text() for script in scripts):
        return f"'{name}' has no test_{method}"
    return None


class ThreatModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = list(rows(PAGE.read_text()))
        cls.tests = known_tests()

    def test_every_threat_has_tests_or_is_not_defended(self):
        self.assertGreater(len(self.rows), 20)
        for cells in self.rows:
            with self.subTest(threat=cells[0]):
                names = re.findall(r"`([^`]+)`", cells[-1])
                self.assertNotEqual(bool(names), cells[-1] == UNDEFENDED, cells[-1])
                self.assertEqual([reason for reason in (missing(name, self.tests) for name in names) if reason], [])

    def test_a_name_that_is_no_test_is_found(self):
        self.assertIsNone(missing("docs.threat_model/test_a_name_that_is_no_test_is_found", self.tests))
        self.assertIsNotNone(missing("docs.threat_model/test_that_nobody_wrote", self.tests))
        self.assertIsNotNone(missing("EnclaveCoreTest.NobodyWroteThis", self.tests))


if __name__ == "__main__":
    unittest.main()
