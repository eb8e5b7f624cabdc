#include "protocol/key_config.h"

namespace infenclave {

Bytes EncodeKeyConfig(const KeyConfig& config) {
  ByteWriter out;
  for (uint16_t v : {config.protocol_version, config.kem, config.kdf, config.aead}) out.U16(v);
  out.Block(config.key_id);
  out.Block(config.public_key);
  out.Block(config.manifest_digest);
  return out.Take();
}

namespace {

template <size_t N>
void ReadFixedBlock(ByteReader& in, std::string_view name, std::array<uint8_t, N>& out) {
  const ByteSpan block = in.Block(N);
  if (in.ok() && block.size() != N) in.Fail(Concat(name, " has ", block.size(), " bytes, expected ", N));
  if (in.ok()) std::copy(block.begin(), block.end(), out.begin());
}

}  // namespace

StatusOr<KeyConfig> DecodeKeyConfig(ByteSpan bytes) {
  ByteReader in(bytes, "key configuration");
  KeyConfig config;
  config.protocol_version = in.U16();
  if (in.ok() && config.protocol_version != kProtocolVersion) {
    return Unimplemented("key configuration: protocol version ", config.protocol_version, ", this is version ",
                         kProtocolVersion);
  }
  config.kem = in.U16();
  config.kdf = in.U16();
  config.aead = in.U16();
  if (in.ok() && (config.kem != kHpkeKem || config.kdf != kHpkeKdf || config.aead != kHpkeAead)) {
    return Unimplemented("key configuration: HPKE suite ", config.kem, "/", config.kdf, "/", config.aead,
                         " is not known here, only 32/1/2 (X25519, HKDF-SHA256, AES-256-GCM)");
  }
  ReadFixedBlock(in, "key id", config.key_id);
  ReadFixedBlock(in, "public key", config.public_key);
  ReadFixedBlock(in, "manifest digest", config.manifest_digest);
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return config;
}

Sha256Digest DigestOf(const KeyConfig& config) { return Sha256(EncodeKeyConfig(config)); }

ReportData ReportDataFor(const KeyConfig& config, const std::optional<Nonce>& nonce) {
  ByteWriter out;
  out.Raw(AsBytes("infenclave report data v1"));
  out.Block(EncodeKeyConfig(config));
  out.Bool(nonce.has_value());
  if (nonce.has_value()) out.Raw(*nonce);
  return Sha512(out.bytes());
}

Bytes EncodeEvidenceEnvelope(const EvidenceEnvelope& envelope) {
  ByteWriter out;
  out.U8(static_cast<uint8_t>(envelope.tee));
  out.Block(envelope.evidence);
  out.Block(envelope.collateral);
  return out.Take();
}

StatusOr<EvidenceEnvelope> DecodeEvidenceEnvelope(ByteSpan bytes) {
  ByteReader in(bytes, "evidence");
  EvidenceEnvelope out;
  out.tee = static_cast<TeeKind>(in.U8());
  if (in.ok() && NameOf(out.tee) == "unknown") {
    in.Fail(Concat("TEE number ", static_cast<int>(out.tee), " is not known"));
  }
  out.evidence = ToBytes(in.Block(kMaxEvidenceBytes));
  out.collateral = ToBytes(in.Block(kMaxCollateralBytes));
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

}  // namespace infenclave
