"""HPKE between our implementation (hpke_peer, by hexadecimal lines) and pyhpke 0.6.5, in both directions."""

import os
import subprocess
import sys

try:
    from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
except ImportError:
    print("SKIPPED: this Python lacks pyhpke (tests/requirements.txt); interoperability was not tested")
    sys.exit(0)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
peer = subprocess.Popen([os.path.join(os.environ["INFENCLAVE_BINARY_DIR"], "hpke_peer")], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, text=True)


def ask(command, *values):
    peer.stdin.write(" ".join([command] + [v.hex() or "-" for v in values]) + "\n")
    peer.stdin.flush()
    answer = peer.stdout.readline().split()
    return None if answer == ["refused"] else [b"" if a == "-" else bytes.fromhex(a) for a in answer]


def flip(data):
    return data[:-1] + bytes([data[-1] ^ 1]) if data else b"x"


CASES = [(info, aad, size) for info in (b"", b"a", os.urandom(32), os.urandom(300))
         for aad in (b"", os.urandom(10), os.urandom(500)) for size in (0, 1, 16, 4097, 150528)]

for info, aad, size in CASES:
    plaintext, label = os.urandom(size), os.urandom(size % 50)

    # We seal, pyhpke opens.
    theirs = X25519PrivateKey.generate()
    enc, sealed, exported = ask("seal", theirs.public_key().public_bytes_raw(), info, aad, plaintext, label)
    recipient = suite.create_recipient_context(enc, KEMKey.from_pyca_cryptography_key(theirs), info=info)
    assert recipient.open(sealed, aad=aad) == plaintext, "pyhpke opened something else"
    assert recipient.export(label, 32) == exported, "pyhpke exports another secret"

    # pyhpke seals, we open.
    private, public = ask("keygen")
    enc, sender = suite.create_sender_context(
        KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(public)), info=info)
    sealed = sender.seal(plaintext, aad=aad)
    assert ask("open", private, enc, info, aad, sealed, label) == [plaintext, sender.export(label, 32)]

    # What was altered is refused: each input in turn.
    assert ask("open", private, enc, flip(info), aad, sealed, label) is None
    assert ask("open", private, enc, info, flip(aad), sealed, label) is None
    assert ask("open", private, enc, info, aad, flip(sealed), label) is None
    assert ask("open", private, flip(enc), info, aad, sealed, label) is None

peer.stdin.close()
assert peer.wait() == 0
print(f"{len(CASES)} messages each way")
