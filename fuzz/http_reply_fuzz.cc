// Answers of collateral services, and URLs.
#include "attestation/collateral/http.h"
#include "base/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = infenclave::AsText({data, size});
  const auto reply = infenclave::ParseHttpReply(text);
  if (reply.ok()) INFENCLAVE_CHECK(reply->body.size() <= size);
  const auto url = infenclave::ParseUrl(text);
  if (url.ok()) INFENCLAVE_CHECK(!url->host.empty() && url->path.starts_with('/'));
  return 0;
}
