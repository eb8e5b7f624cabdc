#include "attestation/abi/snp_certificates.h"

#include "attestation/abi/layout.h"

namespace infenclave {
namespace {

constexpr size_t kEntryBytes = 24, kMaxEntries = 64;

using Guid = std::array<uint8_t, 16>;  // in the order in which it is written
struct Kind {
  Guid guid;
  ByteSpan SnpCertificates::*field;
};
constexpr Kind kKinds[] = {
    // 63da758d-e664-4564-adc5-f4b93be8accd
    {{0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd},
     &SnpCertificates::vcek},
    // a8074bc2-a25a-483e-aae6-39c045a0b8a1
    {{0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1},
     &SnpCertificates::vlek},
    // 92f81bc3-5811-4d3d-97ff-d19f88dc67ea
    {{0x92, 0xf8, 0x1b, 0xc3, 0x58, 0x11, 0x4d, 0x3d, 0x97, 0xff, 0xd1, 0x9f, 0x88, 0xdc, 0x67, 0xea},
     &SnpCertificates::crl},
};

struct Entry {
  Guid guid{};
  uint32_t offset = 0, length = 0;
  bool operator==(const Entry&) const = default;
};

template <typename EntryT, typename Archive>
void VisitEntry(EntryT& e, Archive& a) {
  a(e.guid);
  a(e.offset);
  a(e.length);
}

}  // namespace

StatusOr<SnpCertificates> DecodeSnpCertificates(ByteSpan table) {
  SnpCertificates out;
  LayoutReader in(table, "SEV-SNP certificate table");
  for (size_t n = 0; !table.empty(); ++n) {
    Entry entry;
    VisitEntry(entry, in);
    if (in.ok() && n == kMaxEntries) in.Fail(Concat("more than ", kMaxEntries, " entries"));
    INFENCLAVE_RETURN_IF_ERROR(in.status());
    if (entry == Entry{}) break;
    if (entry.offset > table.size() || entry.length > table.size() - entry.offset) {
      return InvalidArgument("SEV-SNP certificate table: entry ", n, " of ", entry.length, " bytes at ", entry.offset,
                             " reaches outside of its ", table.size(), " bytes");
    }
    for (const Kind& kind : kKinds) {
      if (kind.guid != entry.guid) continue;
      if (!(out.*kind.field).empty()) return InvalidArgument("SEV-SNP certificate table: a kind is there twice");
      out.*kind.field = table.subspan(entry.offset, entry.length);
    }
  }
  return out;
}

Bytes EncodeSnpCertificates(const SnpCertificates& certificates) {
  size_t entries = 1;  // the zero one at the end
  for (const Kind& kind : kKinds) entries += !(certificates.*kind.field).empty();
  LayoutWriter out;
  size_t offset = entries * kEntryBytes;
  for (const Kind& kind : kKinds) {
    const ByteSpan bytes = certificates.*kind.field;
    if (bytes.empty()) continue;
    const Entry entry{kind.guid, static_cast<uint32_t>(offset), static_cast<uint32_t>(bytes.size())};
    VisitEntry(entry, out);
    offset += bytes.size();
  }
  const Entry last;
  VisitEntry(last, out);
  for (const Kind& kind : kKinds) out.Put(certificates.*kind.field);
  return out.Take();
}

}  // namespace infenclave
