#include "cli/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <iterator>
#include <limits>

namespace infenclave {
namespace {

constexpr char kSummary[] =
    "Confidential inference for image classifiers by ternary model partitioning.\n"
    "The model owner assesses where to cut, partitions, serves and provisions; users classify.";
constexpr char kEnd[] =
    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused (evidence, signature or policy).\n"
    "Help for one command, with an example: infenclave COMMAND --help";

// Messages quote what files and servers say, which may not steer a terminal.
std::string Printable(std::string message) {
  std::ranges::replace_if(
      message, [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return message;
}

class CliFlags : public Flags {
 public:
  explicit CliFlags(CLI::App* app) : app_(app) {}

  void Text(const std::string& name, std::string* target, const std::string& help, bool required) override {
    Finish(app_->add_option(name, *target, help), name, required);
  }
  void Texts(const std::string& name, std::vector<std::string>* target, const std::string& help,
             bool required) override {
    CLI::Option* option = app_->add_option(name, *target, help);
    if (IsOption(name)) option->delimiter(',')->allow_extra_args(false);
    Finish(option, name, required);
  }
  void Int(const std::string& name, int64_t* target, const std::string& help, int64_t low, int64_t high) override {
    Finish(app_->add_option(name, *target, help)->check(InRange(low, high)), name, false);
  }
  void Real(const std::string& name, double* target, const std::string& help, double low, double high) override {
    Finish(app_->add_option(name, *target, help)->check(InRange(low, high)), name, false);
  }
  void Switch(const std::string& name, bool* target, const std::string& help) override {
    app_->add_flag(name, *target, help);
  }
  void OneOf(const std::string& name, std::string* target, const std::vector<std::string>& choices,
             const std::string& help, bool required) override {
    std::string list;
    for (const std::string& choice : choices) list += (list.empty() ? "" : "|") + choice;
    auto known = [choices, list](const std::string& value) {
      bool found = std::find(choices.begin(), choices.end(), value) != choices.end();
      return found ? std::string() : Concat("'", value, "' is not one of ", list);
    };
    Finish(app_->add_option(name, *target, help)->check(CLI::Validator(known, "")), name, required, list);
  }

 private:
  static bool IsOption(const std::string& name) { return name.starts_with('-'); }

  template <typename T>
  static CLI::Validator InRange(T low, T high) {
    auto check = [low, high](const std::string& text) {
      T value{};
      bool ok = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
      if (ok) return std::string();
      if (high == std::numeric_limits<T>::max()) return Concat("'", text, "' is not a number of at least ", low);
      return Concat("'", text, "' is not a number from ", low, " to ", high);
    };
    return CLI::Validator(check, "");
  }

  static void Finish(CLI::Option* option, const std::string& name, bool required, const std::string& kind = "VALUE") {
    if (required) option->required();
    if (IsOption(name)) option->option_text(kind + (required ? " (required)" : ""));
  }

  CLI::App* app_;
};

class Formatter : public CLI::Formatter {
 public:
  Formatter() {
    column_width(34);
    label("SUBCOMMAND", "COMMAND");
    label("Positionals", "Arguments");
  }
  // "--precision f32|bf16|int8", "--cut TEXT (required)"; CLI11's own adds types, defaults and brackets.
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string& kind = option->get_option_text();
    return kind.empty() ? "" : " " + kind;
  }
};

int ExitStatusOf(const Status& status) {
  if (status.ok()) return kExitDone;
  if (IsUsageError(status)) return kExitUsage;
  return status.code() == StatusCode::kPermissionDenied ? kExitRefused : kExitFailed;
}

// Says what went wrong, be it only that nobody can read what was said, and gives the exit status.
int End(Status status, const std::string& prefix, std::ostream& out, std::ostream& err) {
  out.flush();
  if (status.ok() && !out) status = ResourceExhausted("standard output: cannot be written");
  if (!status.ok()) {
    err << prefix << ": " << Printable(MessageOf(status)) << "\n";
    if (IsUsageError(status)) err << "Try '" << prefix << " --help'.\n";
  }
  return ExitStatusOf(status);
}

// No exception leaves a command: what a library throws becomes a message like any other.
Status RunGuarded(const Command& command) {
  try {
    return command.run();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  } catch (const std::exception& error) {
    return Internal("unexpected: ", error.what());
  }
}

}  // namespace

int RunCommandLine(std::span<const Command> commands, std::vector<std::string> arguments, std::ostream& out,
                   std::ostream& err) {
  CLI::App app(kSummary, "infenclave");
  app.formatter(std::make_shared<Formatter>());
  app.footer(kEnd);
  app.set_help_flag("-h,--help", "show this help");
  app.set_version_flag("--version", "infenclave " INFENCLAVE_VERSION, "show the version");
  app.require_subcommand(1);
  for (const Command& command : commands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary)->group("Commands");
    sub->footer("Example:\n  " + command.example + "\n");
    CliFlags flags(sub);
    command.declare(flags);
  }
  auto named = [&](const std::string& name) {
    return std::find_if(commands.begin(), commands.end(), [&](const Command& c) { return c.name == name; });
  };
  if (arguments.empty() || (!arguments[0].starts_with('-') && named(arguments[0]) == commands.end())) {
    err << "infenclave: " << (arguments.empty() ? "a command is needed" : "there is no command '" + arguments[0] + "'")
        << "\nTry 'infenclave --help'.\n";
    return kExitUsage;
  }
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them last first
  std::string prefix = "infenclave";
  auto name_command = [&] {
    if (auto parsed = app.get_subcommands(); !parsed.empty()) prefix += " " + parsed.front()->get_name();
  };
  try {
    app.parse(std::move(arguments));
    name_command();
  } catch (const CLI::CallForVersion&) {
    out << app.version() << "\n";
    return End(OkStatus(), prefix, out, err);
  } catch (const CLI::CallForHelp&) {
    auto parsed = app.get_subcommands();
    out << (parsed.empty() ? app.help() : parsed.front()->help("infenclave"));
    return End(OkStatus(), prefix, out, err);
  } catch (const CLI::ParseError& error) {
    name_command();
    err << prefix << ": " << error.what() << "\nTry '" << prefix << " --help'.\n";
    return kExitUsage;
  }
  auto command = named(app.get_subcommands().front()->get_name());
  return End(RunGuarded(*command), prefix, out, err);
}

}  // namespace infenclave
