// A host that does to an enclave all that a host can do, and a referee beside it: what each call must come to is worked
// out from the rules of enclave/enclave_core.h, restated here in their plainest form, and compared. In every reply it
// looks for what no host may see. Tests walk it through all short orders of calls and through long random ones, and a
// fuzzer chooses its calls, too.
//
// The host also holds the owner's keys and a user's credential, so that it can make whatever an honest party makes.
#ifndef INFENCLAVE_TESTS_ENCLAVE_HOSTILE_HOST_H_
#define INFENCLAVE_TESTS_ENCLAVE_HOSTILE_HOST_H_

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/enclave/harness.h"

namespace infenclave {

enum class Move {
  kAskForEvidence,
  kGrant,
  kGrantToAnOldKey,
  kReplayAGrant,
  kAlterAGrant,
  kBegin,
  kBeginForAnOldKey,
  kBeginWithoutCredential,
  kReplayARequest,
  kReuseAnEncapsulatedKey,
  kAlterARequest,
  kBeginMany,
  kFinish,
  kFinishWithScoresOfAnother,
  kFinishWithScoresThatAreNotFinite,
  kFinishTwiceInOneCall,
  kFinishWhatIsOver,
  kFinishWithAWrongCount,
  kGiveUp,
  kSendNoise,
};
inline constexpr int kMoves = static_cast<int>(Move::kSendNoise) + 1;

class HostileHost {
 public:
  // Of n possibilities the one to take, below n.
  using Choose = std::function<size_t(size_t n)>;

  // The bundle's audit rate must be 0 or all.
  HostileHost(const TestBundle& bundle, const EnclaveOptions& options, Caller caller, Choose choose);

  // Makes a move, if there is something to make it with. False once the enclave has broken a rule.
  bool Make(Move move);
  const std::string& broken_rule() const { return broken_rule_; }
  size_t answered() const { return answered_; }

 private:
  using Enc = std::array<uint8_t, kHpkeEncBytes>;
  // Of a bundle, what is the same in all walks; fuzzing makes many.
  struct Known {
    std::vector<Bytes> pictures;
    std::vector<std::string> labels;  // of the pictures
    std::vector<Bytes> secrets;       // enough of each to be no accident
    Bytes credential;
    explicit Known(const TestBundle& bundle);
    static const Known& Of(const TestBundle& bundle);
  };
  struct Request {
    SealedRequest sealed;
    uint32_t picture;
    bool credential;
  };
  // What goes into a Begin: a request as it is, or bytes that are none any more.
  struct Submission {
    size_t request;
    std::optional<Bytes> altered;
  };
  struct Pending {
    size_t request;
    uint64_t begin;
    Bytes ir;
  };
  struct Key {
    KeyConfig config;
    std::set<Enc> accepted;
  };
  enum class Scores { kOwn, kOfAnother, kNotFinite };

  void Require(bool held, std::string_view rule);
  Bytes Call(const Bytes& call);
  void AskForEvidence();
  void SendGrant(const Bytes& call, StatusCode expected);
  void Grant(const KeyConfig& config);
  // Both give the index of a new request.
  size_t Seal(const KeyConfig& config, bool credential);
  size_t SealUnder(const X25519KeyPair& ephemeral);
  Bytes Altered(Bytes bytes);
  void Begin(const std::vector<Submission>& submissions);
  StatusCode Opened(const Submission& submission, size_t taken);
  void Finish(const std::vector<RequestId>& ids, Scores kind);
  void CheckAnswer(const Pending& pending, ByteSpan sealed, std::span<const float> scores, Scores kind);
  void SendNoise();
  // Of the pending requests, one; 0, which is no id, if there are none.
  RequestId AnyPending();

  // ---- the rules
  Key* Held(const KeyId& id);
  StatusCode Accept(Key& key, const Enc& enc);

  const TestBundle& bundle_;
  const EnclaveOptions options_;
  const Caller caller_;
  const Choose choose_;
  const Known& known_;

  bool provisioned_ = false;
  uint64_t lease_ = 0, begins_ = 0, since_rotation_ = 0;
  Key newest_;
  std::optional<Key> previous_;
  std::map<RequestId, Pending> pending_;
  std::set<RequestId> ids_;

  std::vector<KeyConfig> configs_;  // all that were seen
  std::vector<Request> requests_;
  std::vector<Bytes> grants_, calls_;
  uint32_t next_picture_ = 0;
  size_t answered_ = 0;
  std::string broken_rule_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_ENCLAVE_HOSTILE_HOST_H_
