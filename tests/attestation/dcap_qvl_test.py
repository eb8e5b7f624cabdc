"""Intel quotes against dcap-qvl: the same status and advisories, and never accepted where dcap-qvl refuses.

Quotes and collateral that hardware and Intel made, as they are, at other times, and with single bytes altered.
"""

import datetime
import json
import os
import random
import subprocess
import unittest

VECTORS = os.path.join(os.environ["INFENCLAVE_SHARED"], "vectors", "attestation")
try:
    import dcap_qvl
except ImportError:
    dcap_qvl = None


def seconds(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


@unittest.skipIf(dcap_qvl is None, "SKIPPED: this Python lacks dcap-qvl (tests/requirements.txt)")
@unittest.skipUnless(os.path.exists(VECTORS), "SKIPPED: no " + VECTORS)
class DcapQvl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.peer = subprocess.Popen([os.path.join(os.environ["INFENCLAVE_BINARY_DIR"], "verify_peer")],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.cases = []
        with open(os.path.join(VECTORS, "index.json")) as index:
            for entry in json.load(index):
                if "collateral" in entry:
                    with open(os.path.join(VECTORS, entry["file"]), "rb") as f:
                        quote = f.read()
                    with open(os.path.join(VECTORS, entry["collateral"])) as f:
                        cls.cases.append((entry, quote, json.load(f)))

    @classmethod
    def tearDownClass(cls):
        cls.peer.communicate()

    def ours(self, quote, collateral, at):
        self.peer.stdin.write(f"{at} {quote.hex()} {json.dumps(collateral).encode().hex()}\n")
        self.peer.stdin.flush()
        answer = self.peer.stdout.readline().split()
        return None if answer[0] == "refused" else (answer[0], set(answer[1:]))

    def theirs(self, quote, collateral, at):
        try:
            report = dcap_qvl.verify(quote, dcap_qvl.QuoteCollateralV3.from_json(json.dumps(collateral)), at)
        except ValueError:
            return None
        return (report.status, set(report.advisory_ids))

    def test_same_verdicts_at_all_times(self):
        accepted = 0
        for entry, quote, collateral in self.cases:
            at = seconds(entry["verify_at"])
            self.assertEqual(self.ours(quote, collateral, at), self.theirs(quote, collateral, at), entry["name"])
            for day in range(-400, 800, 3):
                when = at + day * 86400
                ours, theirs = self.ours(quote, collateral, when), self.theirs(quote, collateral, when)
                self.assertEqual(ours, theirs, f"{entry['name']}, {day} days from {entry['verify_at']}")
                accepted += ours is not None
        self.assertGreater(accepted, 10)

    def test_never_looser_on_altered_bytes(self):
        chance = random.Random(7)
        looser, tighter, both = [], [], 0
        for entry, quote, collateral in self.cases:
            at = seconds(entry["verify_at"])
            for _ in range(600):
                altered, parts = bytearray(quote), dict(collateral)
                if chance.random() < 0.6:
                    where = chance.randrange(len(quote))
                    altered[where] ^= 1 << chance.randrange(8)
                else:
                    name = where = chance.choice(sorted(parts))
                    text = parts[name]
                    i = chance.randrange(len(text))
                    parts[name] = text[:i] + chance.choice("0123456789abcdefABXYZ \"{}") + text[i + 1:]
                ours, theirs = self.ours(bytes(altered), parts, at), self.theirs(bytes(altered), parts, at)
                both += ours is not None and ours == theirs
                if ours is not None and theirs != ours:
                    looser.append((entry["name"], where, ours, theirs))
                if ours is None and theirs is not None:
                    tighter.append((entry["name"], where, theirs))
        print(f"accepted by both {both}, by dcap-qvl alone {len(tighter)}, by ours alone {len(looser)}")
        self.assertEqual(looser, [])

    def test_never_looser_on_any_byte(self):
        """Byte after byte of each quote and of each part of its collateral, one bit of it altered: every seventh, and
        with INFENCLAVE_EVERY_MUTATION in the environment each one by each bit (an hour of one core)."""
        every = "INFENCLAVE_EVERY_MUTATION" in os.environ
        ours_accepts = tried = 0
        for entry, quote, collateral in self.cases:
            at = seconds(entry["verify_at"])
            parts = {"quote": quote, **{name: text.encode("latin-1") for name, text in collateral.items()}}
            for name, original in parts.items():
                for i in range(0, len(original), 1 if every else 7):
                    for bit in range(8) if every else (i % 8,):
                        altered = bytearray(original)
                        altered[i] ^= 1 << bit
                        changed = {**parts, name: bytes(altered)}
                        given = changed.pop("quote"), {n: text.decode("latin-1") for n, text in changed.items()}
                        ours = self.ours(*given, at)
                        tried += 1
                        if ours is not None:
                            ours_accepts += 1
                            self.assertEqual(ours, self.theirs(*given, at), (entry["name"], name, i, bit))
        print(f"{tried} altered, of which ours accepts {ours_accepts}, and dcap-qvl each of these with the same status")
        self.assertGreater(tried, 5000)


if __name__ == "__main__":
    unittest.main()
