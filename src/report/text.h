// Numbers and text for the page.
#ifndef INFENCLAVE_REPORT_TEXT_H_
#define INFENCLAVE_REPORT_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "assessment/statistics.h"
#include "base/bytes.h"
#include "tensor/tensor.h"

namespace infenclave {

// For element content and double-quoted attributes. Control characters, and bytes that are not UTF-8, become U+FFFD.
std::string Escape(std::string_view text);

std::string Fixed(double value, int digits);                // "0.62"; "∞", "–" for NaN
std::string Percent(double share, int digits = 0);          // "41 %"
std::string FormatBytes(double bytes);                      // "1.20 MB", powers of ten
std::string FormatFlops(double flops);                      // "770 MFLOP"
std::string FormatCount(int64_t n);                         // "12 345"
std::string FormatInterval(const Estimate& e, int digits);  // "[0.55, 0.69]"
std::string FormatShape(const Shape& shape);                // "24 × 56 × 56", batch left out
std::string DataUri(std::string_view mime, ByteSpan bytes);

}  // namespace infenclave

#endif  // INFENCLAVE_REPORT_TEXT_H_
