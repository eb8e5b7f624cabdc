// Numbers and text for the page.
#ifndef INFENCLAVE_REPORT_TEXT_H_
#define INFENCLAVE_REPORT_TEXT_H_

#include <cstdint>
#include <initializer_list>
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
// A table that scrolls where it does not fit. Of Head's names one that begins with '<' heads a column of text.
std::string Table(std::string_view id, std::string_view caption, std::string_view head, std::string_view rows);
std::string Head(std::initializer_list<std::string_view> names);
std::string DataUri(std::string_view mime, ByteSpan bytes);

}  // namespace infenclave

#endif  // INFENCLAVE_REPORT_TEXT_H_
