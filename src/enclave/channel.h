// The channel between host and enclave: one framing, two transports.
//
// Each lane has a connection of its own, on which the host sends a call and waits for the reply. The enclave speaks
// first: on every new connection (in the spawned mode once, for all lanes) it sends a Hello.
//
//   stream         a call or a reply is a frame, u32 length || payload, on a socket. Used by an enclave that listens.
//   shared memory  the enclave makes one sealed memfd, with a call area and a reply area per lane, and a pair of
//   sockets
//                  per lane as doorbells; the Hello carries the memfd and the host's ends. A doorbell message is a u64
//                  length, nothing else. The enclave copies a call out of shared memory once, before it looks at it,
//                  and never reads a reply area back, so a host that writes while the enclave reads gains nothing.
//
// The enclave chooses the sizes and seals the memfd, so that neither side can pull pages away from under the other.
#ifndef INFENCLAVE_ENCLAVE_CHANNEL_H_
#define INFENCLAVE_ENCLAVE_CHANNEL_H_

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "base/status.h"

namespace infenclave {

inline constexpr size_t kMaxHelloBytes = 4096;
inline constexpr int kMaxLanes = 64;
inline constexpr uint64_t kMaxMessageBytes = uint64_t{1} << 31;

// What the enclave says of itself. A start that failed says why, and nothing else.
struct Hello {
  Status status;
  std::string start_line;
  int lanes = 0;
  uint64_t max_call_bytes = 0, max_reply_bytes = 0;
};
Bytes EncodeHello(const Hello& hello);
StatusOr<Hello> DecodeHello(ByteSpan bytes);

// ---- stream -------------------------------------------------------------------------------------------------------
// UNAVAILABLE when the peer has closed. No SIGPIPE. Descriptors (at most kMaxLanes + 1) go along on a Unix socket.
Status WriteFrame(int socket, ByteSpan payload, std::span<const int> descriptors = {});
Status ReadFrame(int socket, size_t limit, Bytes& payload, std::vector<UniqueFd>* descriptors = nullptr);

// ---- shared memory ------------------------------------------------------------------------------------------------
// An area per lane and direction, each on pages of its own: call 0, reply 0, call 1, reply 1, …
class SharedSlots {
 public:
  static StatusOr<SharedSlots> Create(int lanes, uint64_t call_bytes, uint64_t reply_bytes);
  // The host's side: `memory` must be a memfd of exactly the size that these numbers give, sealed against shrinking.
  static StatusOr<SharedSlots> Map(UniqueFd memory, int lanes, uint64_t call_bytes, uint64_t reply_bytes);
  SharedSlots(SharedSlots&& other) noexcept;
  SharedSlots& operator=(SharedSlots&&) = delete;
  ~SharedSlots();

  int descriptor() const { return memory_.get(); }
  MutableByteSpan call(int lane) const;
  MutableByteSpan reply(int lane) const;

 private:
  SharedSlots() = default;
  UniqueFd memory_;
  uint8_t* base_ = nullptr;
  uint64_t call_bytes_ = 0, reply_bytes_ = 0, total_ = 0;
};

Status RingDoorbell(int socket, uint64_t length);
// UNAVAILABLE when the peer has closed, INVALID_ARGUMENT for a length over `limit` or a message that is no doorbell.
StatusOr<uint64_t> AwaitDoorbell(int socket, uint64_t limit);
// A pair of doorbell sockets.
Status MakeDoorbell(UniqueFd& ours, UniqueFd& theirs);

// ---- the enclave's end of one lane --------------------------------------------------------------------------------
class LanePort {
 public:
  virtual ~LanePort() = default;
  virtual int descriptor() const = 0;  // readable when a call is waiting
  // The next call, in private memory; valid until the next Receive.
  virtual StatusOr<ByteSpan> Receive() = 0;
  virtual Status Send(ByteSpan reply) = 0;
};
std::unique_ptr<LanePort> MakeStreamPort(UniqueFd connection, uint64_t max_call_bytes);
// The areas must outlive the port.
std::unique_ptr<LanePort> MakeSlotPort(UniqueFd doorbell, ByteSpan call_area, MutableByteSpan reply_area);

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_CHANNEL_H_
