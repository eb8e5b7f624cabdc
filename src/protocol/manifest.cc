#include "protocol/manifest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "protocol/secret_writer.h"

namespace infenclave {
namespace {

constexpr size_t kMaxRank = 6;
constexpr float kLeastIrStep = 1e-6f, kMostIrStep = 1e6f;
constexpr size_t kMaxTensorBytes = 64 << 20;  // of one request at the cut, and of what comes back

constexpr std::pair<IrPrecision, std::string_view> kPrecisionNames[] = {{IrPrecision::kF32, "f32"},
                                                                        {IrPrecision::kBf16, "bf16"},
                                                                        {IrPrecision::kInt8, "int8"},
                                                                        {IrPrecision::kInt4, "int4"}};

constexpr std::pair<TeeKind, std::string_view> kTeeNames[] = {
    {TeeKind::kSimulated, "simulated"}, {TeeKind::kSgx, "sgx"}, {TeeKind::kTdx, "tdx"}, {TeeKind::kSevSnp, "sev-snp"}};

void EncodeShape(const Shape& shape, ByteWriter& out) {
  out.Count(shape.size());
  for (int64_t d : shape) out.I64(d);
}

Shape DecodeShape(ByteReader& in, std::string_view name) {
  Shape shape(in.Count(kMaxRank));
  for (int64_t& d : shape) d = in.I64();
  if (!in.ok()) return {};
  const bool positive = std::all_of(shape.begin(), shape.end(), [](int64_t d) { return d >= 1; });
  const auto elements = NumElements(shape);
  if (shape.empty() || !positive || !elements.ok() || static_cast<size_t>(*elements) > kMaxTensorBytes / 4) {
    in.Fail(Concat(name, " ", ToString(shape), " is empty, not positive, or over ", kMaxTensorBytes >> 20, " MiB"));
  }
  return shape;
}

uint32_t DecodeRange(ByteReader& in, std::string_view name, uint32_t low, uint32_t high) {
  const uint32_t v = in.U32();
  if (in.ok() && (v < low || v > high)) in.Fail(Concat(name, " is ", v, ", expected ", low, " to ", high));
  return v;
}

float DecodeNonNegative(ByteReader& in, std::string_view name) {
  const float v = in.F32();
  if (!std::isfinite(v) || std::signbit(v)) in.Fail(Concat(name, " is ", v, ", expected a finite number from 0"));
  return v;
}

std::string DecodeModelName(ByteReader& in) {
  std::string name = in.Text(64);
  auto alphanumeric = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  auto allowed = [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; };
  if (in.ok() && (name.empty() || !alphanumeric(name[0]) || !std::all_of(name.begin(), name.end(), allowed))) {
    in.Fail("model name must be 1 to 64 of [A-Za-z0-9._-] and begin with a letter or digit");
  }
  return name;
}

}  // namespace

std::string_view NameOf(TeeKind kind) {
  for (const auto& [k, name] : kTeeNames) {
    if (k == kind) return name;
  }
  return "unknown";
}

StatusOr<TeeKind> ParseTeeKind(std::string_view name) {
  for (const auto& [kind, n] : kTeeNames) {
    if (n == name) return kind;
  }
  return InvalidArgument("'", name, "' is no TEE; expected sgx, tdx, sev-snp or simulated");
}

std::string_view NameOf(IrPrecision precision) {
  for (const auto& [p, name] : kPrecisionNames) {
    if (p == precision) return name;
  }
  return "unknown";
}

StatusOr<IrPrecision> ParseIrPrecision(std::string_view name) {
  for (const auto& [precision, n] : kPrecisionNames) {
    if (n == name) return precision;
  }
  return InvalidArgument("'", name, "' is no precision of the IR; expected f32, bf16, int8 or int4");
}

IrWire IrWireOf(const Manifest& manifest) {
  if (LargestCode(manifest.ir_precision) == 0) {
    return {manifest.ir_precision == IrPrecision::kBf16 ? DType::kBf16 : DType::kF32, manifest.ir_shape};
  }
  IrWire wire{DType::kU8, manifest.ir_shape};
  if (manifest.ir_precision == IrPrecision::kInt4) wire.shape[0] = (wire.shape[0] + 1) / 2;
  return wire;
}

// ---- the manifest ---------------------------------------------------------------------------------------------------

Bytes EncodeManifest(const Manifest& m) {
  ByteWriter out;
  out.U16(m.format_version);
  out.Raw(m.bundle_id);
  out.Text(m.model_name);
  out.U64(m.model_version);
  EncodeShape(m.ir_shape, out);
  out.U8(static_cast<uint8_t>(m.ir_precision));
  if (LargestCode(m.ir_precision) > 0) out.F32(m.ir_step);
  out.F32(m.ir_noise);
  out.U32(m.tail_layers);
  if (m.tail_layers > 0) out.Raw(m.tail_digest);
  out.U32(m.classes);
  EncodeShape(m.backnet_output_shape, out);
  out.U32(m.answer_classes);
  out.U32(m.label_bytes);
  EncodePreprocessing(m.preprocessing, out);
  for (const auto& digest : {m.frontnet_digest, m.mapping_digest, m.backnet_digest}) out.Raw(digest);
  out.Bool(m.open);
  out.U8(static_cast<uint8_t>(m.tee_class));
  out.U32(m.audit_per_million);
  out.F32(m.audit_tolerance);
  if (m.audit_per_million > 0) out.Raw(m.audit_digest);
  out.Bool(m.verdict.assessed);
  out.Bool(m.verdict.safe);
  out.Text(m.verdict.summary);
  out.Raw(m.verdict.assessment_digest);
  out.Count(m.release_keys.size());
  for (const auto& k : m.release_keys) {
    out.Raw(k.key);
    out.U64(k.last_version);
  }
  out.Raw(m.owner);
  return out.Take();
}

namespace {

void DecodeTensorInterface(ByteReader& in, Manifest& m) {
  m.ir_shape = DecodeShape(in, "IR shape");
  m.ir_precision = static_cast<IrPrecision>(in.U8());
  if (in.ok() && NameOf(m.ir_precision) == "unknown") {
    in.Fail(Concat("IR type is ", static_cast<int>(m.ir_precision), ", expected f32, bf16, int8 or int4"));
  }
  if (LargestCode(m.ir_precision) > 0) {
    m.ir_step = in.F32();
    if (in.ok() && !(m.ir_step >= kLeastIrStep && m.ir_step <= kMostIrStep)) {
      in.Fail(Concat("IR step is ", m.ir_step, ", expected ", kLeastIrStep, " to ", kMostIrStep));
    }
    if (in.ok() && m.ir_shape.size() != 3) {
      in.Fail(Concat("IR shape ", ToString(m.ir_shape), " has codes and is not that of maps"));
    }
  }
  m.ir_noise = DecodeNonNegative(in, "IR noise");
  m.tail_layers = DecodeRange(in, "number of tail layers", 0, 1 << 16);
  if (m.tail_layers > 0) m.tail_digest = in.Array<32>();
  m.classes = DecodeRange(in, "number of classes", 1, kMaxClasses);
  m.backnet_output_shape = DecodeShape(in, "BackNet output shape");
  if (in.ok() && m.tail_layers == 0 && m.backnet_output_shape != Shape{m.classes}) {
    in.Fail(Concat("BackNet output shape ", ToString(m.backnet_output_shape), " is not that of ", m.classes,
                   " class scores, and there is no tail"));
  }
  m.answer_classes =
      DecodeRange(in, "number of classes in an answer", 1, std::max(1u, std::min(m.classes, kMaxAnswerClasses)));
  m.label_bytes = DecodeRange(in, "padded length of labels", 1, kMaxLabelBytes);
}

void DecodeTerms(ByteReader& in, Manifest& m) {
  m.open = in.Bool();
  const uint8_t tee_class = in.U8();
  if (in.ok() && tee_class != 1 && tee_class != 2)
    in.Fail(Concat("TEE class is ", int{tee_class}, ", expected 1 or 2"));
  m.tee_class = static_cast<TeeClass>(tee_class);
  m.audit_per_million = DecodeRange(in, "audit rate", 0, 1000000);
  m.audit_tolerance = DecodeNonNegative(in, "audit tolerance");
  if (m.audit_per_million > 0) m.audit_digest = in.Array<32>();
  m.verdict.assessed = in.Bool();
  m.verdict.safe = in.Bool();
  if (m.verdict.safe && !m.verdict.assessed) in.Fail("verdict is safe without an assessment");
  m.verdict.summary = in.Text(kMaxVerdictSummaryBytes);
  m.verdict.assessment_digest = in.Array<32>();
  m.release_keys.resize(in.Count(kMaxReleaseKeys));
  for (auto& k : m.release_keys) {
    k.key = in.Array<32>();
    k.last_version = in.U64();
  }
  m.owner = in.Array<32>();
}

}  // namespace

StatusOr<Manifest> DecodeManifest(ByteSpan bytes) {
  if (bytes.size() > kMaxManifestBytes) {
    return InvalidArgument("manifest has ", bytes.size(), " bytes, at most ", kMaxManifestBytes, " are allowed");
  }
  ByteReader in(bytes, "manifest");
  Manifest m;
  m.format_version = in.U16();
  if (in.ok() && m.format_version != kBundleFormatVersion) {
    return Unimplemented("manifest: format version ", m.format_version, " is not known here; this is version ",
                         kBundleFormatVersion);
  }
  m.bundle_id = in.Array<16>();
  m.model_name = DecodeModelName(in);
  m.model_version = in.U64();
  DecodeTensorInterface(in, m);
  m.preprocessing = DecodePreprocessing(in);
  m.frontnet_digest = in.Array<32>();
  m.mapping_digest = in.Array<32>();
  m.backnet_digest = in.Array<32>();
  DecodeTerms(in, m);
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return m;
}

// ---- its signature --------------------------------------------------------------------------------------------------

namespace {

Bytes SignedManifest(ByteSpan manifest) {
  ByteWriter out;
  out.Raw(AsBytes(kManifestContext));
  out.Raw(manifest);
  return out.Take();
}

}  // namespace

Bytes EncodeManifestSignature(const ManifestSignature& signature) {
  ByteWriter out;
  out.Raw(signature.owner);
  out.Raw(signature.signature);
  return out.Take();
}

StatusOr<ManifestSignature> DecodeManifestSignature(ByteSpan bytes) {
  ByteReader in(bytes, "manifest signature");
  ManifestSignature out{in.Array<32>(), in.Array<64>()};
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

StatusOr<ManifestSignature> SignManifest(const Ed25519Signer& owner, ByteSpan manifest) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Ed25519Signature signature, owner.TrySign(SignedManifest(manifest)));
  return ManifestSignature{owner.public_key(), signature};
}

Status VerifyManifest(ByteSpan manifest, const ManifestSignature& signature) {
  if (!Ed25519Verify(signature.owner, SignedManifest(manifest), signature.signature)) {
    return PermissionDenied("manifest: its signature is not that of the key it names, ed25519:",
                            HexEncode(signature.owner), "; it was altered, or signed for something else");
  }
  return OkStatus();
}

Status VerifyManifest(ByteSpan manifest, const ManifestSignature& signature, const Ed25519PublicKey& owner) {
  if (signature.owner != owner) {
    return PermissionDenied("manifest: signed by ed25519:", HexEncode(signature.owner),
                            ", expected the owner ed25519:", HexEncode(owner));
  }
  return VerifyManifest(manifest, signature);
}

// ---- the sealed parts -----------------------------------------------------------------------------------------------

namespace {

Bytes PartAad(const BundleId& id, std::string_view part) {
  ByteWriter out;
  out.U16(kBundleFormatVersion);
  out.Raw(id);
  out.Text(part);
  return out.Take();
}

}  // namespace

Bytes SealPart(ByteSpan key, const BundleId& id, std::string_view part, ByteSpan plaintext) {
  const auto nonce = RandomArray<kAeadNonceBytes>();
  auto sealed = AeadSeal(key, nonce, PartAad(id, part), plaintext);
  INFENCLAVE_CHECK(sealed.ok());
  ByteWriter out;
  out.Raw(nonce);
  out.Raw(*sealed);
  return out.Take();
}

StatusOr<SecretBytes> OpenPart(ByteSpan key, const BundleId& id, std::string_view part, ByteSpan sealed) {
  if (sealed.size() < kAeadNonceBytes + kAeadTagBytes) {
    return PermissionDenied("sealed part '", part, "': ", sealed.size(), " bytes are too few; it was cut off");
  }
  auto opened = AeadOpen(key, sealed.first(kAeadNonceBytes), PartAad(id, part), sealed.subspan(kAeadNonceBytes));
  if (!opened.ok()) return Annotate(opened.status(), Concat("sealed part '", part, "'"));
  return opened;
}

// ---- the class mapping ----------------------------------------------------------------------------------------------

SecretBytes EncodeClassMapping(const ClassMapping& mapping) {
  INFENCLAVE_CHECK(mapping.order.size() == mapping.labels.size());
  size_t longest = 0;
  for (const std::string& label : mapping.labels) longest = std::max(longest, label.size());
  internal::SecretWriter out(8 + (4 + longest) * mapping.order.size());
  out.U32(static_cast<uint32_t>(mapping.order.size()));
  out.U32(static_cast<uint32_t>(longest));
  for (uint32_t i : mapping.order) out.U32(i);
  for (const std::string& label : mapping.labels) {
    out.Raw(AsBytes(label));
    out.Skip(longest - label.size());
  }
  return out.Take();
}

namespace {

// Whether `order` holds each of 0 .. n-1 once, found without a branch or an address that depends on it: the polynomials
// with these roots are equal, and by Schwartz and Zippel two that differ agree at a random point of a field of p
// elements with a chance of n/p at most; here p = 2^61 - 1.
bool IsPermutation(std::span<const uint32_t> order) {
  using Wide = unsigned __int128;
  constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;
  auto reduce = [](uint64_t v) {
    v = (v & kPrime) + (v >> 61);
    return v - (kPrime & (uint64_t{0} - static_cast<uint64_t>(v >= kPrime)));
  };
  auto multiply = [&reduce](uint64_t a, uint64_t b) {
    const Wide product = static_cast<Wide>(a) * b;
    return reduce((static_cast<uint64_t>(product) & kPrime) + static_cast<uint64_t>(product >> 61));
  };
  const std::array<uint8_t, 8> random = RandomArray<8>();
  uint64_t point;
  std::memcpy(&point, random.data(), sizeof(point));
  point &= kPrime >> 1;  // so that adding a class does not overflow
  uint64_t found = 1, wanted = 1;
  for (size_t i = 0; i < order.size(); ++i) {
    found = multiply(found, reduce(point + order[i]));
    wanted = multiply(wanted, reduce(point + i));
  }
  return found == wanted;
}

}  // namespace

StatusOr<ClassMapping> DecodeClassMapping(ByteSpan bytes) {
  ByteReader in(bytes, "class mapping");
  ClassMapping out;
  const size_t n = in.Count(std::min<size_t>(kMaxClasses, bytes.size() / 4));
  const uint32_t label_bytes = DecodeRange(in, "length of labels", 0, kMaxLabelBytes);
  if (in.ok() && n == 0) in.Fail("no classes");
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  out.order.resize(n);
  for (uint32_t& i : out.order) i = in.U32();
  out.labels.reserve(n);
  for (size_t i = 0; i < n && in.ok(); ++i) out.labels.emplace_back(AsText(in.Raw(label_bytes)));
  if (in.ok() && !IsPermutation(out.order)) in.Fail("the class order is no permutation");
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

}  // namespace infenclave
