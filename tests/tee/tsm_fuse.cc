// A file system that behaves as Linux's configfs-tsm and replays a report made by hardware: mkdir makes an entry with
// its attributes; inblob takes its value when it is closed and counts a generation; outblob fails until there is one.
//   tsm_fuse MOUNTPOINT PROVIDER REPORT INTERLOPERS [AUXBLOB]
// INTERLOPERS is how often, at first, a foreign write comes between our write and our read.
#define FUSE_USE_VERSION 31
#include <fuse.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

namespace {

struct Entry {
  std::string inblob, pending;
  uint64_t generation = 0;
};
std::map<std::string, Entry> entries;
std::string provider, report, auxblob;
int interlopers = 0;

// "/name/attribute" to its parts; the attribute is empty for the entry itself. False if there is no such entry.
bool Split(const char* path, std::string* entry, std::string* attribute) {
  std::string p(path + 1);
  size_t slash = p.find('/');
  *entry = p.substr(0, slash);
  *attribute = slash == std::string::npos ? "" : p.substr(slash + 1);
  return entries.contains(*entry);
}

int ContentOf(const Entry& entry, const std::string& attribute, std::string* out) {
  if (attribute == "provider") {
    *out = provider + "\n";
  } else if (attribute == "generation") {
    *out = std::to_string(entry.generation) + "\n";
  } else if (attribute == "inblob") {
    return -EACCES;
  } else if (attribute == "outblob") {
    if (entry.inblob.empty()) return -EINVAL;
    *out = report;
  } else if (attribute == "auxblob" && provider == "sev_guest") {
    if (entry.inblob.empty()) return -EINVAL;
    *out = auxblob;
  } else {
    return -ENOENT;
  }
  return 0;
}

int GetAttr(const char* path, struct stat* st, fuse_file_info*) {
  std::memset(st, 0, sizeof(*st));
  std::string entry, attribute, content;
  bool known = Split(path, &entry, &attribute);
  if (std::strcmp(path, "/") == 0 || (known && attribute.empty())) {
    st->st_mode = S_IFDIR | 0755;
    st->st_nlink = 2;
    return 0;
  }
  if (!known || ContentOf(entries[entry], attribute, &content) == -ENOENT) return -ENOENT;
  st->st_mode = S_IFREG | 0600;
  st->st_nlink = 1;
  return 0;
}

int MkDir(const char* path, mode_t) {
  std::string name(path + 1);
  if (name.find('/') != std::string::npos) return -EPERM;
  return entries.emplace(name, Entry{}).second ? 0 : -EEXIST;
}

int RmDir(const char* path) { return entries.erase(path + 1) != 0 ? 0 : -ENOENT; }

int ReadDir(const char* path, void* buffer, fuse_fill_dir_t fill, off_t, fuse_file_info*, fuse_readdir_flags) {
  if (std::strcmp(path, "/") != 0) return 0;
  for (const auto& [name, entry] : entries) fill(buffer, name.c_str(), nullptr, 0, fuse_fill_dir_flags(0));
  return 0;
}

int Open(const char* path, fuse_file_info* info) {
  std::string entry, attribute;
  if (!Split(path, &entry, &attribute)) return -ENOENT;
  info->direct_io = 1;
  return 0;
}

int Read(const char* path, char* buffer, size_t size, off_t offset, fuse_file_info*) {
  std::string entry, attribute, content;
  if (!Split(path, &entry, &attribute)) return -ENOENT;
  if (int error = ContentOf(entries[entry], attribute, &content)) return error;
  if (static_cast<size_t>(offset) >= content.size()) return 0;
  size_t n = std::min(size, content.size() - static_cast<size_t>(offset));
  std::memcpy(buffer, content.data() + offset, n);
  return static_cast<int>(n);
}

int Write(const char* path, const char* data, size_t size, off_t offset, fuse_file_info*) {
  std::string entry, attribute;
  if (!Split(path, &entry, &attribute)) return -ENOENT;
  if (attribute != "inblob") return -EACCES;
  if (offset != 0 || size != 64) return -EINVAL;
  entries[entry].pending.assign(data, size);
  return static_cast<int>(size);
}

// Runs at every close(), whose result it is.
int Flush(const char* path, fuse_file_info*) {
  std::string name, attribute;
  if (!Split(path, &name, &attribute)) return -ENOENT;
  Entry& entry = entries[name];
  if (attribute != "inblob" || entry.pending.empty()) return 0;
  entry.inblob.swap(entry.pending);
  entry.pending.clear();
  ++entry.generation;
  if (interlopers > 0) {
    --interlopers;
    ++entry.generation;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) return 2;
  provider = argv[2];
  auto read = [](const char* path) {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  report = read(argv[3]);
  if (argc == 6) auxblob = read(argv[5]);
  interlopers = std::atoi(argv[4]);
  fuse_operations ops{};
  ops.getattr = GetAttr;
  ops.mkdir = MkDir;
  ops.rmdir = RmDir;
  ops.readdir = ReadDir;
  ops.open = Open;
  ops.read = Read;
  ops.write = Write;
  ops.flush = Flush;
  char foreground[] = "-f", single[] = "-s";
  char* args[] = {argv[0], foreground, single, argv[1], nullptr};
  return fuse_main(4, args, &ops, nullptr);
}
