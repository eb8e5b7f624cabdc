"""Stock parts against the server: Triton's client lists and calls it, and with an independent HPKE (pyhpke) it can even
ask: everything that a client has to do is in the protocol, not in our code."""

import hashlib
import io
import os
import struct
import unittest

import grpc
import numpy as np
import tritonclient.grpc as triton
from PIL import Image
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

from deployment import PHOTOGRAPHS, DeployedTest, run


def get_evidence(address, nonce):
    """infenclave.v1.Enclave/GetEvidence without generated code: the fields of its answer by number."""
    with grpc.insecure_channel(address) as channel:
        request = b"\x0a" + bytes([len(nonce)]) + nonce
        message = channel.unary_unary("/infenclave.v1.Enclave/GetEvidence")(request)
    fields = {}
    stream = io.BytesIO(message)

    def varint():
        value = shift = 0
        while True:
            byte = stream.read(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while stream.tell() < len(message):
        tag = varint()
        fields[tag >> 3] = stream.read(varint()) if tag & 7 == 2 else varint()
    return fields


def hkdf(salt, secret, info, length):
    def mac(key, data):
        h = HMAC(key, SHA256())
        h.update(data)
        return h.finalize()

    return mac(mac(salt, secret), info + b"\x01")[:length]


class StockClient(DeployedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(cls.deployment.serve(provision=False))
        cls.client = triton.InferenceServerClient(cls.server.address)
        cls.addClassCleanup(cls.client.close)

    def name(self):
        manifest = (self.deployment.bundle / "manifest.json").read_text()
        return manifest.split('"model_name": "')[1].split('"')[0]

    def infer(self, sealed, **kwargs):
        tensor = triton.InferInput("sealed_request", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([sealed], dtype=object))
        return self.client.infer(self.name(), [tensor], **kwargs)

    def test_1_lists_a_server_that_waits_for_keys(self):
        self.assertTrue(self.client.is_server_live())
        self.assertFalse(self.client.is_server_ready())
        self.assertFalse(self.client.is_model_ready(self.name()))
        with self.assertRaisesRegex(triton.InferenceServerException, "infenclave provision"):
            self.infer(struct.pack(">H", 1) + bytes(200))
        self.deployment.provision(self.server)

    def test_2_lists_it(self):
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready(self.name()))
        self.assertTrue(self.client.is_model_ready(self.name(), "1"))
        server = self.client.get_server_metadata()
        self.assertEqual(server.name, "infenclave (SIMULATED TEE)")
        model = self.client.get_model_metadata(self.name())
        self.assertEqual(model.platform, "infenclave_SIMULATED_TEE")
        self.assertEqual(list(model.versions), ["1"])
        self.assertEqual([(t.name, t.datatype, list(t.shape)) for t in model.inputs], [("sealed_request", "BYTES", [1])])
        self.assertEqual([(t.name, t.datatype, list(t.shape)) for t in model.outputs], [("sealed_answer", "BYTES", [1])])
        with self.assertRaisesRegex(triton.InferenceServerException, "NOT_FOUND"):
            self.client.get_model_metadata("other")

    def test_3_bytes_that_are_not_sealed_are_refused(self):
        with self.assertRaisesRegex(triton.InferenceServerException, "INVALID_ARGUMENT"):
            self.infer(b"a picture in the clear")
        with self.assertRaisesRegex(triton.InferenceServerException, "FAILED_PRECONDITION"):
            self.infer(struct.pack(">H", 1) + bytes(200))

    def seal(self, config, picture):
        header = config[:2] + config[12:20]  # version and key id
        suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
        key = suite.kem.deserialize_public_key(config[24:56])
        enc, context = suite.create_sender_context(key, info=hashlib.sha256(config).digest())
        height, width, _ = picture.shape
        plaintext = struct.pack(">III", 0, height, width) + picture.tobytes()  # no credential
        return header + enc + context.seal(plaintext, aad=header), enc, context

    def open(self, sealed, enc, context):
        secret = context.export(b"infenclave answer v1", 32)
        nonce, ciphertext = sealed[:32], sealed[32:]
        key = hkdf(enc + nonce, secret, b"key", 32)
        plaintext = AESGCM(key).decrypt(hkdf(enc + nonce, secret, b"nonce", 12), ciphertext, b"")
        self.assertEqual(plaintext[:5], bytes(5))  # code OK, no message
        count, = struct.unpack_from(">I", plaintext, 5)
        at, classes = 9, []
        for _ in range(count):
            length, = struct.unpack_from(">I", plaintext, at)
            label = plaintext[at + 4:at + 4 + length].rstrip(b"\0").decode()
            classes.append((label, struct.unpack_from(">f", plaintext, at + 4 + length)[0]))
            at += 8 + length
        return classes

    def picture(self, path):
        """The client's half of the preprocessing, by Pillow."""
        image = Image.open(path).convert("RGB")
        if "lite0" in str(self.deployment.model):
            side = int(224 / 256 * min(image.size))
            left, top = (image.width - side + 1) // 2, (image.height - side + 1) // 2
            image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.BICUBIC)
        else:
            scale = 256 / min(image.size)
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BICUBIC)
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            image = image.crop((left, top, left + 224, top + 224))
        return np.asarray(image)

    def test_4_asks_with_an_independent_hpke(self):
        evidence = get_evidence(self.server.address, os.urandom(32))
        config = evidence[2]
        for photograph in PHOTOGRAPHS[:5]:
            sealed, enc, context = self.seal(config, self.picture(photograph))
            answer = self.infer(sealed, parameters={"infenclave_key_id": config[12:20].hex()})
            classes = self.open(answer.as_numpy("sealed_answer")[0], enc, context)
            ours = run("classify", photograph, "--policy", self.deployment.policy, "--server", self.server.address)
            self.assertIn(classes[0][0], ours.stdout.splitlines()[1])

    def test_5_a_request_is_answered_once(self):
        config = get_evidence(self.server.address, os.urandom(32))[2]
        sealed, _, _ = self.seal(config, self.picture(PHOTOGRAPHS[0]))
        self.infer(sealed)
        with self.assertRaisesRegex(triton.InferenceServerException, "ALREADY_EXISTS"):
            self.infer(sealed)

    def test_6_answers_have_one_length(self):
        config = get_evidence(self.server.address, os.urandom(32))[2]
        lengths = set()
        for photograph in PHOTOGRAPHS[:8]:
            sealed, _, _ = self.seal(config, self.picture(photograph))
            lengths.add(len(self.infer(sealed).as_numpy("sealed_answer")[0]))
        self.assertEqual(len(lengths), 1)


if __name__ == "__main__":
    unittest.main()
