#include "host/server_picker.h"

#include <gtest/gtest.h>

namespace infenclave {
namespace {

using Outcome = ServerPicker::Outcome;
using std::chrono::milliseconds;
using std::chrono::seconds;

const std::vector<bool> kNoneTried(3);

class ServerPickerTest : public testing::Test {
 protected:
  size_t Pick() { return picker_.Pick(kNoneTried, now_)->server; }
  void Fail(size_t server) {
    while (picker_.Pick(Only(server), now_)->server != server) FAIL();
    picker_.Finish(server, Outcome::kFailure, now_, now_);
  }
  void Succeed(size_t server, ServerPicker::Duration took) {
    (void)picker_.Pick(Only(server), now_);
    picker_.Finish(server, Outcome::kSuccess, now_, now_ + took);
  }
  static std::vector<bool> Only(size_t server) {
    std::vector<bool> tried(3, true);
    tried[server] = false;
    return tried;
  }
  void Eject(size_t server) {
    for (int i = 0; i < ServerPicker::kFailuresToEject; ++i) Fail(server);
  }

  ServerPicker picker_{3};
  ServerPicker::Time now_{seconds(1000)};
};

TEST_F(ServerPickerTest, TakesTheLeastLoaded) {
  std::vector<int> load(3);
  for (int i = 0; i < 9; ++i) ++load[Pick()];
  EXPECT_EQ(load, std::vector<int>(3, 3));
  picker_.Finish(1, Outcome::kSuccess, now_, now_);
  EXPECT_EQ(Pick(), 1u);
}

TEST_F(ServerPickerTest, ThoseThatWereTriedAreOut) {
  EXPECT_EQ(picker_.Pick({true, true, false}, now_)->server, 2u);
  EXPECT_FALSE(picker_.Pick({true, true, true}, now_).has_value());
}

TEST_F(ServerPickerTest, EjectsWhoFailsInARow) {
  Fail(0), Fail(0);
  Succeed(0, milliseconds(1));
  Fail(0), Fail(0);
  EXPECT_FALSE(picker_.ejected(0, now_));
  Fail(0);
  EXPECT_TRUE(picker_.ejected(0, now_));
  for (int i = 0; i < 8; ++i) EXPECT_NE(Pick(), 0u);
}

TEST_F(ServerPickerTest, AFullQueueEjectsNobody) {
  for (int i = 0; i < 10; ++i) {
    (void)picker_.Pick(Only(0), now_);
    picker_.Finish(0, Outcome::kNeither, now_, now_);
  }
  EXPECT_FALSE(picker_.ejected(0, now_));
}

TEST_F(ServerPickerTest, OneRequestTriesTheReturn) {
  Eject(0);
  for (int i = 0; i < 4; ++i) EXPECT_NE(Pick(), 0u);
  now_ += ServerPicker::kFirstEjection;
  EXPECT_EQ(Pick(), 0u) << "idle, and its time is over";
  EXPECT_NE(Pick(), 0u) << "not before that one has come back";
  picker_.Finish(0, Outcome::kSuccess, now_, now_);
  EXPECT_EQ(Pick(), 0u);
}

TEST_F(ServerPickerTest, EachEjectionIsTwiceAsLong) {
  Eject(0);
  auto length = ServerPicker::kFirstEjection;
  for (int i = 0; i < 10; ++i) {
    now_ += length - milliseconds(1);
    EXPECT_TRUE(picker_.ejected(0, now_)) << i;
    now_ += milliseconds(1);
    EXPECT_FALSE(picker_.ejected(0, now_)) << i;
    Fail(0);
    length = std::min(2 * length, ServerPicker::kLongestEjection);
  }
}

TEST_F(ServerPickerTest, WithNobodyElseLeftAnEjectedOneIsAsked) {
  for (size_t server : {0, 1, 2}) Eject(server);
  EXPECT_TRUE(picker_.Pick(kNoneTried, now_).has_value());
}

TEST_F(ServerPickerTest, PatienceIsForThoseWhoHaveAnAlternative) {
  EXPECT_FALSE(picker_.Pick(kNoneTried, now_)->patience.has_value()) << "nobody knows yet how long an answer takes";
  Succeed(0, milliseconds(500));
  EXPECT_EQ(picker_.Pick(kNoneTried, now_)->patience, seconds(5));
  EXPECT_FALSE(picker_.Pick(Only(0), now_)->patience.has_value());
  Eject(1), Eject(2);
  EXPECT_FALSE(picker_.Pick(kNoneTried, now_)->patience.has_value());
}

TEST_F(ServerPickerTest, PatienceIsAtLeastASecond) {
  Succeed(0, milliseconds(1));
  EXPECT_EQ(picker_.Pick(kNoneTried, now_)->patience, seconds(1));
}

}  // namespace
}  // namespace infenclave
