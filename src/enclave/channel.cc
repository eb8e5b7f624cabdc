#include "enclave/channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace infenclave {
namespace {

constexpr size_t kHeaderBytes = 4;
constexpr size_t kMaxDescriptors = kMaxLanes + 1;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

Status Closed() { return Unavailable("the peer has closed the channel"); }

// Sends everything; the descriptors go with the first byte.
Status SendAll(int socket, iovec* parts, size_t count, std::span<const int> descriptors) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  while (message.msg_iovlen > 0) {
    ssize_t n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("channel");
    message.msg_control = nullptr;
    message.msg_controllen = 0;
    for (size_t sent = static_cast<size_t>(n); message.msg_iovlen > 0;) {
      iovec& part = message.msg_iov[0];
      if (sent < part.iov_len) {
        part.iov_base = static_cast<char*>(part.iov_base) + sent;
        part.iov_len -= sent;
        break;
      }
      sent -= part.iov_len;
      ++message.msg_iov;
      --message.msg_iovlen;
    }
  }
  return OkStatus();
}

void TakeDescriptors(msghdr& message, std::vector<UniqueFd>* out) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= header->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + at, sizeof(fd));
      out->emplace_back(fd);
    }
  }
}

Status ReceiveAll(int socket, MutableByteSpan out, std::vector<UniqueFd>* descriptors) {
  while (!out.empty()) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)];
    iovec part{out.data(), out.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (descriptors != nullptr) {
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
    }
    ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return DeadlineExceeded("channel: no answer in time");
    if (n < 0) return ErrnoStatus("channel");
    if (descriptors != nullptr) TakeDescriptors(message, descriptors);
    if (n == 0) return Closed();
    out = out.subspan(static_cast<size_t>(n));
  }
  return OkStatus();
}

class StreamPort : public LanePort {
 public:
  StreamPort(UniqueFd connection, uint64_t limit) : connection_(std::move(connection)), limit_(limit) {}
  int descriptor() const override { return connection_.get(); }
  StatusOr<ByteSpan> Receive() override {
    INFENCLAVE_RETURN_IF_ERROR(ReadFrame(connection_.get(), limit_, call_));
    return ByteSpan(call_);
  }
  Status Send(ByteSpan reply) override { return WriteFrame(connection_.get(), reply); }

 private:
  UniqueFd connection_;
  uint64_t limit_;
  Bytes call_;
};

class SlotPort : public LanePort {
 public:
  SlotPort(UniqueFd doorbell, ByteSpan call_area, MutableByteSpan reply_area)
      : doorbell_(std::move(doorbell)), call_area_(call_area), reply_area_(reply_area) {}
  int descriptor() const override { return doorbell_.get(); }
  StatusOr<ByteSpan> Receive() override {
    INFENCLAVE_ASSIGN_OR_RETURN(uint64_t length, AwaitDoorbell(doorbell_.get(), call_area_.size()));
    // The one read of shared memory: from here on only the copy exists.
    if (call_.size() < length) call_.resize(length);
    std::memcpy(call_.data(), call_area_.data(), length);
    return ByteSpan(call_).first(length);
  }
  Status Send(ByteSpan reply) override {
    INFENCLAVE_CHECK(reply.size() <= reply_area_.size());
    std::memcpy(reply_area_.data(), reply.data(), reply.size());
    return RingDoorbell(doorbell_.get(), reply.size());
  }

 private:
  UniqueFd doorbell_;
  ByteSpan call_area_;
  MutableByteSpan reply_area_;
  Bytes call_;
};

uint64_t PageAligned(uint64_t bytes) {
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

}  // namespace

Bytes EncodeHello(const Hello& hello) {
  ByteWriter out;
  out.U8(static_cast<uint8_t>(hello.status.code()));
  out.Text(hello.status.ok() ? hello.start_line : MessageOf(hello.status).substr(0, kMaxHelloBytes / 2));
  if (!hello.status.ok()) return out.Take();
  out.U32(static_cast<uint32_t>(hello.lanes));
  out.U64(hello.max_call_bytes);
  out.U64(hello.max_reply_bytes);
  return out.Take();
}

StatusOr<Hello> DecodeHello(ByteSpan bytes) {
  ByteReader in(bytes, "enclave's hello");
  Hello hello;
  const uint8_t code = in.U8();
  std::string text = in.Text(kMaxHelloBytes);
  if (code > static_cast<uint8_t>(StatusCode::kUnauthenticated)) in.Fail("unknown status code");
  if (code != 0) {
    INFENCLAVE_RETURN_IF_ERROR(in.Finish());
    hello.status = MakeStatus(static_cast<StatusCode>(code), text);
    return hello;
  }
  hello.start_line = std::move(text);
  hello.lanes = static_cast<int>(in.Count(kMaxLanes));
  hello.max_call_bytes = in.U64();
  hello.max_reply_bytes = in.U64();
  if (hello.lanes == 0) in.Fail("no lanes");
  if (hello.max_call_bytes > kMaxMessageBytes || hello.max_reply_bytes > kMaxMessageBytes) in.Fail("sizes too large");
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return hello;
}

Status WriteFrame(int socket, ByteSpan payload, std::span<const int> descriptors) {
  INFENCLAVE_CHECK(payload.size() <= kMaxMessageBytes && descriptors.size() <= kMaxDescriptors);
  uint8_t header[kHeaderBytes];
  for (size_t i = 0; i < kHeaderBytes; ++i) header[i] = static_cast<uint8_t>(payload.size() >> (24 - 8 * i));
  iovec parts[] = {{header, sizeof(header)}, {const_cast<uint8_t*>(payload.data()), payload.size()}};
  return SendAll(socket, parts, payload.empty() ? 1 : 2, descriptors);
}

Status ReadFrame(int socket, size_t limit, Bytes& payload, std::vector<UniqueFd>* descriptors) {
  uint8_t header[kHeaderBytes];
  INFENCLAVE_RETURN_IF_ERROR(ReceiveAll(socket, header, descriptors));
  size_t length = 0;
  for (uint8_t byte : header) length = length << 8 | byte;
  if (length > limit) return InvalidArgument("channel: a frame of ", length, " bytes exceeds the limit of ", limit);
  payload.resize(length);
  return ReceiveAll(socket, payload, descriptors);
}

StatusOr<SharedSlots> SharedSlots::Create(int lanes, uint64_t call_bytes, uint64_t reply_bytes) {
  const uint64_t total = static_cast<uint64_t>(lanes) * (PageAligned(call_bytes) + PageAligned(reply_bytes));
  UniqueFd memory(::memfd_create("infenclave-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.valid() || ::ftruncate(memory.get(), static_cast<off_t>(total)) != 0 ||
      ::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) {
    return ErrnoStatus("shared memory for the channel");
  }
  return Map(std::move(memory), lanes, call_bytes, reply_bytes);
}

StatusOr<SharedSlots> SharedSlots::Map(UniqueFd memory, int lanes, uint64_t call_bytes, uint64_t reply_bytes) {
  INFENCLAVE_CHECK(lanes > 0 && lanes <= kMaxLanes && call_bytes <= kMaxMessageBytes &&
                   reply_bytes <= kMaxMessageBytes);
  SharedSlots out;
  out.call_bytes_ = call_bytes;
  out.reply_bytes_ = reply_bytes;
  out.total_ = static_cast<uint64_t>(lanes) * (PageAligned(call_bytes) + PageAligned(reply_bytes));
  struct stat info {};
  if (::fstat(memory.get(), &info) != 0) return ErrnoStatus("shared memory for the channel");
  const int seals = ::fcntl(memory.get(), F_GET_SEALS);
  if (static_cast<uint64_t>(info.st_size) != out.total_ || seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return InvalidArgument("shared memory for the channel: expected ", out.total_, " bytes, sealed, got ",
                           info.st_size);
  }
  void* base = ::mmap(nullptr, out.total_, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (base == MAP_FAILED) return ErrnoStatus("shared memory for the channel");
  out.base_ = static_cast<uint8_t*>(base);
  out.memory_ = std::move(memory);
  return out;
}

SharedSlots::SharedSlots(SharedSlots&& other) noexcept
    : memory_(std::move(other.memory_)),
      base_(std::exchange(other.base_, nullptr)),
      call_bytes_(other.call_bytes_),
      reply_bytes_(other.reply_bytes_),
      total_(other.total_) {}

SharedSlots::~SharedSlots() {
  if (base_ != nullptr) ::munmap(base_, total_);
}

MutableByteSpan SharedSlots::call(int lane) const {
  const uint64_t stride = PageAligned(call_bytes_) + PageAligned(reply_bytes_);
  return {base_ + static_cast<uint64_t>(lane) * stride, call_bytes_};
}

MutableByteSpan SharedSlots::reply(int lane) const {
  return {call(lane).data() + PageAligned(call_bytes_), reply_bytes_};
}

Status RingDoorbell(int socket, uint64_t length) {
  ssize_t n;
  do n = ::send(socket, &length, sizeof(length), MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n == sizeof(length) ? OkStatus() : ErrnoStatus("channel");
}

StatusOr<uint64_t> AwaitDoorbell(int socket, uint64_t limit) {
  uint64_t length = 0;
  ssize_t n;
  do n = ::recv(socket, &length, sizeof(length), MSG_TRUNC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus("channel");
  if (n == 0) return Closed();
  if (n != sizeof(length)) return InvalidArgument("channel: a doorbell of ", n, " bytes");
  if (length > limit) return InvalidArgument("channel: a message of ", length, " bytes exceeds the limit of ", limit);
  return length;
}

Status MakeDoorbell(UniqueFd& ours, UniqueFd& theirs) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return ErrnoStatus("channel");
  ours.Reset(pair[0]);
  theirs.Reset(pair[1]);
  return OkStatus();
}

std::unique_ptr<LanePort> MakeStreamPort(UniqueFd connection, uint64_t max_call_bytes) {
  return std::make_unique<StreamPort>(std::move(connection), max_call_bytes);
}

std::unique_ptr<LanePort> MakeSlotPort(UniqueFd doorbell, ByteSpan call_area, MutableByteSpan reply_area) {
  return std::make_unique<SlotPort>(std::move(doorbell), call_area, reply_area);
}

}  // namespace infenclave
