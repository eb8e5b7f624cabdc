#include "cli/pkcs11.h"

#include <p11-kit/p11-kit.h>
#include <p11-kit/pin.h>
#include <p11-kit/uri.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/file.h"

namespace infenclave {
namespace {

struct Deleter {
  void operator()(P11KitUri* p) const { p11_kit_uri_free(p); }
};
using UriPtr = std::unique_ptr<P11KitUri, Deleter>;

constexpr size_t kMaxPinBytes = 256;

// Ed25519 in CKA_EC_PARAMS: its object identifier, or its name as PKCS#11 3.0 has it. Tokens know one or the other.
constexpr std::array<uint8_t, 5> kCurveOid = {0x06, 0x03, 0x2b, 0x65, 0x70};
constexpr std::array<uint8_t, 14> kCurveName = {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'};

Status TokenError(std::string_view what, CK_RV rv) {
  return Unavailable("PKCS#11: ", what, ": ", p11_kit_strerror(rv));
}

CK_ATTRIBUTE Attribute(CK_ATTRIBUTE_TYPE type, const void* value, size_t size) {
  return {type, const_cast<void*>(value), static_cast<CK_ULONG>(size)};
}

// A logged-in session with the token that a URI names; the module is let go at the end.
class Token {
 public:
  static StatusOr<std::unique_ptr<Token>> Open(const std::string& text) {
    std::unique_ptr<Token> token(new Token);
    token->uri_.reset(p11_kit_uri_new());
    if (p11_kit_uri_parse(text.c_str(), P11_KIT_URI_FOR_ANY, token->uri_.get()) != P11_KIT_URI_OK) {
      return InvalidArgument("'", text.substr(0, text.find('?')),
                             "' is no PKCS#11 URI such as pkcs11:token=infenclave;object=owner");
    }
    INFENCLAVE_RETURN_IF_ERROR(token->LoadModules());
    INFENCLAVE_RETURN_IF_ERROR(token->OpenSession());
    INFENCLAVE_RETURN_IF_ERROR(token->Login());
    return token;
  }
  Token(const Token&) = delete;
  Token& operator=(const Token&) = delete;
  ~Token() {
    if (session_ != 0) module_->C_CloseSession(session_);
    for (CK_FUNCTION_LIST* module : own_) {
      p11_kit_module_finalize(module);
      p11_kit_module_release(module);
    }
    if (system_ != nullptr) p11_kit_modules_finalize_and_release(system_);
  }

  // The object of this class that the URI names; 0 if there is none.
  StatusOr<CK_OBJECT_HANDLE> Find(CK_OBJECT_CLASS object_class) {
    const CK_KEY_TYPE type = CKK_EC_EDWARDS;
    std::vector<CK_ATTRIBUTE> wanted = Names();
    wanted.push_back(Attribute(CKA_CLASS, &object_class, sizeof(object_class)));
    wanted.push_back(Attribute(CKA_KEY_TYPE, &type, sizeof(type)));
    CK_OBJECT_HANDLE found[2] = {};
    CK_ULONG n = 0;
    CK_RV rv = module_->C_FindObjectsInit(session_, wanted.data(), wanted.size());
    if (rv == CKR_OK) rv = module_->C_FindObjects(session_, found, 2, &n);
    module_->C_FindObjectsFinal(session_);
    if (rv != CKR_OK) return TokenError("cannot look for the key", rv);
    if (n > 1) return FailedPrecondition("PKCS#11: the URI names more than one Ed25519 key: add object= or id=");
    return n == 1 ? found[0] : 0;
  }

  StatusOr<Ed25519PublicKey> PublicKey(CK_OBJECT_HANDLE object) {
    std::array<uint8_t, 64> point{};
    CK_ATTRIBUTE attribute = Attribute(CKA_EC_POINT, point.data(), point.size());
    const CK_RV rv = module_->C_GetAttributeValue(session_, object, &attribute, 1);
    if (rv != CKR_OK) return TokenError("cannot read the public key", rv);
    // The point, in an OCTET STRING or bare.
    const size_t size = attribute.ulValueLen;
    Ed25519PublicKey out{};
    if (size != 32 && (size != 34 || point[0] != 0x04 || point[1] != 32)) {
      return Unavailable("PKCS#11: a public key of ", size, " bytes, expected Ed25519's 32");
    }
    std::copy_n(point.begin() + (size - 32), 32, out.begin());
    return out;
  }

  StatusOr<Ed25519Signature> Sign(CK_OBJECT_HANDLE key, ByteSpan message) {
    CK_MECHANISM mechanism{CKM_EDDSA, nullptr, 0};
    Ed25519Signature out{};
    CK_ULONG size = out.size();
    CK_RV rv = module_->C_SignInit(session_, &mechanism, key);
    if (rv == CKR_OK) {
      rv = module_->C_Sign(session_, const_cast<CK_BYTE*>(message.data()), message.size(), out.data(), &size);
    }
    if (rv != CKR_OK || size != out.size()) return TokenError("cannot sign", rv);
    return out;
  }

  Status MakeKey() {
    CK_MECHANISM mechanism{CKM_EC_EDWARDS_KEY_PAIR_GEN, nullptr, 0};
    const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_RV rv = CKR_OK;
    for (ByteSpan curve : {ByteSpan(kCurveOid), ByteSpan(kCurveName)}) {
      std::vector<CK_ATTRIBUTE> open = Names(), closed = Names();
      open.push_back(Attribute(CKA_EC_PARAMS, curve.data(), curve.size()));
      open.push_back(Attribute(CKA_TOKEN, &yes, sizeof(yes)));
      open.push_back(Attribute(CKA_VERIFY, &yes, sizeof(yes)));
      for (CK_ATTRIBUTE_TYPE type : {CKA_TOKEN, CKA_PRIVATE, CKA_SENSITIVE, CKA_SIGN}) {
        closed.push_back(Attribute(type, &yes, sizeof(yes)));
      }
      closed.push_back(Attribute(CKA_EXTRACTABLE, &no, sizeof(no)));
      CK_OBJECT_HANDLE pair[2] = {};
      rv = module_->C_GenerateKeyPair(session_, &mechanism, open.data(), open.size(), closed.data(), closed.size(),
                                      &pair[0], &pair[1]);
      if (rv == CKR_OK) return OkStatus();
    }
    return TokenError("cannot make an Ed25519 key", rv);
  }

 private:
  Token() = default;

  Status LoadModules() {
    if (const char* path = p11_kit_uri_get_module_path(uri_.get())) {
      CK_FUNCTION_LIST* module = p11_kit_module_load(path, 0);
      if (module == nullptr) return NotFound("PKCS#11: cannot load ", path, ": ", p11_kit_message());
      if (const CK_RV rv = p11_kit_module_initialize(module); rv != CKR_OK) {
        p11_kit_module_release(module);
        return TokenError(path, rv);
      }
      own_.push_back(module);
      return OkStatus();
    }
    system_ = p11_kit_modules_load_and_initialize(0);
    return system_ != nullptr ? OkStatus() : NotFound("PKCS#11: no modules are configured; add ?module-path=");
  }

  Status OpenSession() {
    std::vector<CK_FUNCTION_LIST*> modules = own_;
    for (CK_FUNCTION_LIST** m = system_; m != nullptr && *m != nullptr; ++m) modules.push_back(*m);
    for (CK_FUNCTION_LIST* module : modules) {
      CK_SLOT_ID slots[64];
      CK_ULONG n = std::size(slots);
      if (module->C_GetSlotList(CK_TRUE, slots, &n) != CKR_OK) continue;
      for (CK_ULONG i = 0; i < n; ++i) {
        CK_TOKEN_INFO info{};
        if (module->C_GetTokenInfo(slots[i], &info) != CKR_OK || p11_kit_uri_match_token_info(uri_.get(), &info) != 1) {
          continue;
        }
        module_ = module;
        needs_login_ = (info.flags & CKF_LOGIN_REQUIRED) != 0;
        const CK_RV rv =
            module->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr, &session_);
        return rv == CKR_OK ? OkStatus() : TokenError("cannot open a session", rv);
      }
    }
    return NotFound("PKCS#11: there is no token such as the URI names");
  }

  Status Login() {
    if (!needs_login_) return OkStatus();
    SecretBytes pin;
    if (const char* value = p11_kit_uri_get_pin_value(uri_.get())) {
      pin = SecretBytes::CopyOf(AsBytes(value));
    } else if (const char* source = p11_kit_uri_get_pin_source(uri_.get())) {
      std::string_view path = source;
      if (path.starts_with("file:")) path.remove_prefix(5);
      INFENCLAVE_ASSIGN_OR_RETURN(Bytes file, ReadFile(std::string(path), kMaxPinBytes));
      const size_t end = static_cast<size_t>(std::find(file.begin(), file.end(), '\n') - file.begin());
      pin = SecretBytes::CopyOf(ByteSpan(file).first(end));
      Wipe(file);
    } else {
      return FailedPrecondition("PKCS#11: the token wants a PIN: add ?pin-source=file:PATH to the URI");
    }
    const CK_RV rv = module_->C_Login(session_, CKU_USER, const_cast<CK_UTF8CHAR*>(pin.data()), pin.size());
    return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? OkStatus() : TokenError("cannot log in", rv);
  }

  // Label and id of the URI.
  std::vector<CK_ATTRIBUTE> Names() const {
    std::vector<CK_ATTRIBUTE> out;
    for (CK_ATTRIBUTE_TYPE type : {CKA_LABEL, CKA_ID}) {
      if (const CK_ATTRIBUTE* a = p11_kit_uri_get_attribute(uri_.get(), type)) out.push_back(*a);
    }
    return out;
  }

  UriPtr uri_;
  std::vector<CK_FUNCTION_LIST*> own_;
  CK_FUNCTION_LIST** system_ = nullptr;
  CK_FUNCTION_LIST* module_ = nullptr;
  CK_SESSION_HANDLE session_ = 0;
  bool needs_login_ = false;
};

class Pkcs11Key final : public Ed25519Signer {
 public:
  Pkcs11Key(std::unique_ptr<Token> token, CK_OBJECT_HANDLE key, const Ed25519PublicKey& public_key)
      : token_(std::move(token)), key_(key), public_key_(public_key) {}

  const Ed25519PublicKey& public_key() const override { return public_key_; }
  StatusOr<Ed25519Signature> TrySign(ByteSpan message) const override {
    INFENCLAVE_ASSIGN_OR_RETURN(const Ed25519Signature signature, token_->Sign(key_, message));
    if (!Ed25519Verify(public_key_, message, signature)) {
      return Unavailable("PKCS#11: the token's signature is not one of its public key");
    }
    return signature;
  }

 private:
  const std::unique_ptr<Token> token_;
  const CK_OBJECT_HANDLE key_;
  const Ed25519PublicKey public_key_;
};

StatusOr<std::unique_ptr<Ed25519Signer>> KeyOf(std::unique_ptr<Token> token) {
  INFENCLAVE_ASSIGN_OR_RETURN(const CK_OBJECT_HANDLE closed, token->Find(CKO_PRIVATE_KEY));
  INFENCLAVE_ASSIGN_OR_RETURN(const CK_OBJECT_HANDLE open, token->Find(CKO_PUBLIC_KEY));
  if (closed == 0 || open == 0) return NotFound("PKCS#11: the token has no Ed25519 key pair such as the URI names");
  INFENCLAVE_ASSIGN_OR_RETURN(const Ed25519PublicKey public_key, token->PublicKey(open));
  return std::make_unique<Pkcs11Key>(std::move(token), closed, public_key);
}

}  // namespace

bool IsPkcs11Uri(std::string_view text) { return text.starts_with("pkcs11:"); }

StatusOr<std::unique_ptr<Ed25519Signer>> OpenPkcs11Key(const std::string& uri) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<Token> token, Token::Open(uri));
  return KeyOf(std::move(token));
}

StatusOr<std::unique_ptr<Ed25519Signer>> MakePkcs11Key(const std::string& uri) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<Token> token, Token::Open(uri));
  INFENCLAVE_ASSIGN_OR_RETURN(const CK_OBJECT_HANDLE present, token->Find(CKO_PRIVATE_KEY));
  if (present != 0) return AlreadyExists("PKCS#11: the token has such a key already");
  INFENCLAVE_RETURN_IF_ERROR(token->MakeKey());
  return KeyOf(std::move(token));
}

}  // namespace infenclave
