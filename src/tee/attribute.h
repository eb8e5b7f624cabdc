// Pseudo-files of a kernel or a library OS: small, read and written whole at once, relative to an open directory.
#ifndef INFENCLAVE_TEE_ATTRIBUTE_H_
#define INFENCLAVE_TEE_ATTRIBUTE_H_

#include <string>

#include "base/bytes.h"
#include "base/file.h"

namespace infenclave {

StatusOr<UniqueFd> OpenFolder(const std::string& path);

// At most `limit` bytes; more is an error. Errors name the attribute.
StatusOr<Bytes> ReadAttribute(int folder, const char* name, size_t limit);
// As text, the newline at its end taken off.
StatusOr<std::string> ReadTextAttribute(int folder, const char* name);
Status WriteAttribute(int folder, const char* name, ByteSpan bytes);

}  // namespace infenclave

#endif  // INFENCLAVE_TEE_ATTRIBUTE_H_
