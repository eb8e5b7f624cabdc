// What one run of the program remembers for the next, and that nothing wrong with it is an error.
#include "cli/layer_choices.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/compiled_network.h"
#include "gtest/gtest.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

class LayerChoicesFile : public ::testing::Test {
 protected:
  LayerChoicesFile() : folder_(fs::path(::testing::TempDir()) / "layer-choices") {
    fs::remove_all(folder_);
    ::setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
  }
  ~LayerChoicesFile() override {
    fs::remove_all(folder_);
    ::unsetenv("XDG_CACHE_HOME");
  }

  fs::path file() const { return folder_ / "infenclave/layers"; }
  std::string Read() const {
    std::stringstream text;
    text << std::ifstream(file()).rdbuf();
    return text.str();
  }

  const fs::path folder_;
};

TEST_F(LayerChoicesFile, IsWrittenWhereThereIsNews) {
  { const RememberedLayerChoices remembered; }
  EXPECT_FALSE(fs::exists(file()));
  {
    const RememberedLayerChoices remembered;
    AddLayerChoices("a layer\ta kernel\n");
  }
  EXPECT_NE(Read().find("a layer\ta kernel\n"), std::string::npos);
}

TEST_F(LayerChoicesFile, IsRead) {
  fs::create_directories(file().parent_path());
  std::ofstream(file()) << "another layer\tanother kernel\n";
  const RememberedLayerChoices remembered;
  EXPECT_NE(LayerChoices().find("another layer\tanother kernel\n"), std::string::npos);
}

TEST_F(LayerChoicesFile, MayBeNonsenseOrAFolder) {
  fs::create_directories(file().parent_path());
  std::ofstream(file()) << std::string(100'000, '\t') << std::string(1, '\0') << "\n\n\t\n";
  { const RememberedLayerChoices remembered; }
  fs::remove(file());
  fs::create_directories(file());
  const RememberedLayerChoices remembered;
  AddLayerChoices("a third\tkernel\n");
}

}  // namespace
}  // namespace infenclave
