#include "report/text.h"

#include <cmath>
#include <cstdio>

namespace infenclave {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";
constexpr std::string_view kThinSpace = "\xe2\x80\xaf";  // narrow, no break

// The length of the well-formed UTF-8 sequence at `text` (RFC 3629), 0 if there is none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  const size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (length < 3) return length;
  const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
  const bool surrogate = lead == 0xed && byte(1) >= 0xa0;
  const bool beyond = lead == 0xf4 && byte(1) >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

// Three significant digits of value / 1000^k with the k-th unit.
std::string Scaled(double value, const char* const* units, int count) {
  int unit = 0;
  while (value >= 999.5 && unit + 1 < count) {
    value /= 1000;
    ++unit;
  }
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return Fixed(value, digits) + std::string(kThinSpace) + units[unit];
}

}  // namespace

std::string Escape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(text.substr(i));
    const char c = text[i];
    if (length == 0 || (length == 1 && (c < 0x20 || c == 0x7f) && c != '\n' && c != '\t')) {
      out += kReplacement;
      ++i;
      continue;
    }
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += text.substr(i, length);
    }
    i += length;
  }
  return out;
}

std::string Fixed(double value, int digits) {
  if (std::isnan(value)) return "–";
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  char text[400];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text[0] == '-' ? Concat("−", text + 1) : text;
}

std::string Percent(double share, int digits) { return Fixed(100 * share, digits) + std::string(kThinSpace) + "%"; }

std::string FormatBytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  return Scaled(bytes, kUnits, 5);
}

std::string FormatFlops(double flops) {
  static constexpr const char* kUnits[] = {"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"};
  return Scaled(flops, kUnits, 5);
}

std::string FormatCount(int64_t n) {
  std::string digits = std::to_string(n);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, kThinSpace);
  return digits;
}

std::string FormatInterval(const Estimate& e, int digits) {
  return Concat('[', Fixed(e.lower, digits), ", ", Fixed(e.upper, digits), ']');
}

std::string FormatShape(const Shape& shape) {
  std::string text;
  for (size_t i = 1; i < shape.size(); ++i) text += Concat(i > 1 ? " × " : "", shape[i]);
  return text;
}

std::string DataUri(std::string_view mime, ByteSpan bytes) {
  static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out = Concat("data:", mime, ";base64,");
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t rest = bytes.size() - i;
    const uint32_t v =
        uint32_t{bytes[i]} << 16 | (rest > 1 ? uint32_t{bytes[i + 1]} << 8 : 0) | (rest > 2 ? bytes[i + 2] : 0);
    out += kAlphabet[v >> 18];
    out += kAlphabet[v >> 12 & 63];
    out += rest > 1 ? kAlphabet[v >> 6 & 63] : '=';
    out += rest > 2 ? kAlphabet[v & 63] : '=';
  }
  return out;
}

std::string Table(std::string_view id, std::string_view caption, std::string_view head, std::string_view rows) {
  return Concat("<div class=\"scroll\" role=\"region\" aria-labelledby=\"", id,
                "\" tabindex=\"0\"><table><caption id=\"", id, "\">", caption, "</caption><thead><tr>", head,
                "</tr></thead><tbody>", rows, "</tbody></table></div>");
}

// A name that begins with '<' heads a column of text, which is aligned left.
std::string Head(std::initializer_list<std::string_view> names) {
  std::string head;
  for (std::string_view name : names) {
    const bool text = name.starts_with('<');
    head += Concat("<th scope=\"col\"", text ? " class=\"l\"" : "", ">", name.substr(text), "</th>");
  }
  return head;
}

}  // namespace infenclave
