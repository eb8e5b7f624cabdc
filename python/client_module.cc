// The C++ client for Python: infenclave._client. A thin layer of which python/infenclave/__init__.py makes the API.
//
// Errors are values here too: functions give (code, message, value), with gRPC's code numbers, and the Python half
// turns them into exceptions. Whatever blocks lets go of the interpreter's lock.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>

#include "client/client.h"

namespace nb = nanobind;

namespace infenclave {
namespace {

using Class = std::tuple<std::string, float>;                     // label, probability
using Result = std::tuple<int, std::string, std::vector<Class>>;  // code, message, classes
using Array = nb::ndarray<const uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;

Result ToResult(const StatusOr<Answer>& answer) {
  if (!answer.ok()) return {static_cast<int>(answer.status().code()), MessageOf(answer.status()), {}};
  std::vector<Class> classes;
  for (const AnswerClass& found : answer->classes) classes.emplace_back(found.label, found.probability);
  return {0, "", std::move(classes)};
}

Image FromArray(const Array& array) {
  const auto* data = array.data();
  return {.width = static_cast<uint32_t>(array.shape(1)),
          .height = static_cast<uint32_t>(array.shape(0)),
          .rgb = Bytes(data, data + array.size())};
}

// A client that Python holds. Its end waits for the requests in flight, whose callbacks need the interpreter.
class PyClient {
 public:
  explicit PyClient(std::unique_ptr<Client> client) : client_(std::move(client)) {}
  ~PyClient() { Close(); }
  PyClient(PyClient&&) = default;

  void Close() {
    const nb::gil_scoped_release unlocked;
    client_.reset();
  }

  // The model's name and version, the TEE's class, the picture's width and height.
  std::tuple<std::string, uint64_t, bool, uint32_t, uint32_t> Model() const {
    const Manifest manifest = client_->appraisal().manifest;
    return {manifest.model_name, manifest.model_version, manifest.tee_class == TeeClass::kSimulated,
            manifest.preprocessing.width, manifest.preprocessing.height};
  }

  // `done` is called once with code, message and classes, on a thread that Python does not know.
  void Submit(StatusOr<Image> image, nb::object done) {
    auto* held = new nb::object(std::move(done));  // let go of where the lock is held
    const nb::gil_scoped_release unlocked;
    const auto call = [held](const StatusOr<Answer>& answer) {
      const nb::gil_scoped_acquire locked;
      const std::unique_ptr<nb::object> own(held);
      try {
        const Result result = ToResult(answer);
        (*own)(std::get<0>(result), std::get<1>(result), std::get<2>(result));
      } catch (nb::python_error& error) {
        error.discard_as_unraisable("infenclave: the callback of a request");
      }
    };
    if (!image.ok()) return call(image.status());
    client_->ClassifyAsync(*image, call);
  }
  void SubmitFile(const std::string& path, nb::object done) {
    Submit(Unlocked([&] { return LoadImage(path); }), done);
  }
  void SubmitBytes(const nb::bytes& file, nb::object done) {
    const ByteSpan bytes{static_cast<const uint8_t*>(file.data()), file.size()};
    Submit(Unlocked([&] { return DecodeImage(bytes); }), done);
  }
  void SubmitArray(const Array& array, nb::object done) {
    if (array.size() == 0 || array.size() / 3 > kMaxImagePixels) {
      return Submit(InvalidArgument("an array of ", array.shape(0), " by ", array.shape(1), " pixels"), done);
    }
    Submit(FromArray(array), done);
  }

 private:
  template <typename Decode>
  static StatusOr<Image> Unlocked(const Decode& decode) {
    const nb::gil_scoped_release unlocked;
    return decode();
  }

  std::unique_ptr<Client> client_;
};

// (code, message, client)
std::tuple<int, std::string, nb::object> Connect(const std::string& server, const std::string& policy,
                                                 const nb::bytes& credential, double timeout_seconds,
                                                 const std::string& seen_versions) {
  const auto connect = [&]() -> StatusOr<std::unique_ptr<Client>> {
    Client::Options options;
    options.server = server;
    INFENCLAVE_ASSIGN_OR_RETURN(options.policy, LoadPolicy(policy));
    options.credential = ToBytes({static_cast<const uint8_t*>(credential.data()), credential.size()});
    options.seen_versions = seen_versions;
    options.timeout = std::chrono::milliseconds(std::llround(timeout_seconds * 1000));
    const nb::gil_scoped_release unlocked;
    return Client::Connect(std::move(options));
  };
  StatusOr<std::unique_ptr<Client>> client = connect();
  if (!client.ok()) return {static_cast<int>(client.status().code()), MessageOf(client.status()), nb::none()};
  return {0, "", nb::cast(PyClient(*std::move(client)))};
}

}  // namespace
}  // namespace infenclave

NB_MODULE(_client, m) {
  using namespace infenclave;  // NOLINT(google-build-using-namespace)
  nb::class_<PyClient>(m, "Client")
      .def("model", &PyClient::Model)
      .def("submit_file", &PyClient::SubmitFile, nb::arg("path"), nb::arg("done"))
      .def("submit_bytes", &PyClient::SubmitBytes, nb::arg("file"), nb::arg("done"))
      .def("submit_array", &PyClient::SubmitArray, nb::arg("array"), nb::arg("done"))
      .def("close", &PyClient::Close);
  m.def("connect", &Connect, nb::arg("server"), nb::arg("policy"), nb::arg("credential"), nb::arg("timeout"),
        nb::arg("seen_versions"));
}
