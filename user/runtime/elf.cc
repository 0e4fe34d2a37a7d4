#include "user/runtime/elf.h"

#include "base/byte_reader.h"

namespace keel {
namespace {

struct FileHeader {
  u8 ident[16];
  u16 type;
  u16 machine;
  u32 version;
  u64 entry;
  u64 program_headers;
  u64 section_headers;
  u32 flags;
  u16 header_bytes;
  u16 program_header_bytes;
  u16 program_header_count;
  u16 section_header_bytes;
  u16 section_header_count;
  u16 section_names;
};
static_assert(sizeof(FileHeader) == 64);

struct ProgramHeader {
  u32 type;
  u32 flags;
  u64 offset;
  u64 vaddr;
  u64 paddr;
  u64 file_size;
  u64 mem_size;
  u64 alignment;
};
static_assert(sizeof(ProgramHeader) == 56);

constexpr u8 kClass64 = 2;
constexpr u8 kLittleEndian = 1;
constexpr u8 kOsAbiSystemV = 0;
constexpr u8 kOsAbiGnu = 3;
constexpr u16 kTypeDynamic = 3;
constexpr u16 kMachineX86_64 = 62;

constexpr u32 kLoad = 1;
constexpr u32 kDynamic = 2;
constexpr u32 kInterpreter = 3;
constexpr u32 kTls = 7;
constexpr u32 kGnuStack = 0x6474e551;
constexpr u32 kGnuRelro = 0x6474e552;

constexpr u32 kFlagExecute = 1;
constexpr u32 kFlagWrite = 2;
constexpr u32 kFlagRead = 4;

class Parser {
 public:
  Parser(std::span<const std::byte> file, const char** reason) : file_(file), reason_(reason) {}

  Result<ElfImage> parse() {
    TRY(check_file_header());
    for (u32 i = 0; i < header_.program_header_count; ++i) {
      const u64 at = header_.program_headers + u64{i} * sizeof(ProgramHeader);
      const ProgramHeader ph = *file_.read<ProgramHeader>(at);  // check_file_header() has checked the table
      if (ph.type == kLoad) TRY(add_segment(ph));
    }
    if (image_.segment_count == 0) return corrupt("no segment to load");
    image_.first_page = image_.segment_storage[0].first_page();
    image_.end_page = image_.segment_storage[image_.segment_count - 1].end_page();
    if (image_.span_bytes() > kMaxImageBytes) return corrupt("image spans too much");
    for (u32 i = 0; i < header_.program_header_count; ++i) {
      const u64 at = header_.program_headers + u64{i} * sizeof(ProgramHeader);
      TRY(add_other(*file_.read<ProgramHeader>(at)));
    }
    TRY(check_entry());
    find_program_headers();
    return image_;
  }

 private:
  Status fail(Status status, const char* why) {
    if (reason_ != nullptr) *reason_ = why;
    return status;
  }
  Status corrupt(const char* why) { return fail(Status::corrupt, why); }
  Status unsupported(const char* why) { return fail(Status::not_supported, why); }

  Result<void> check_file_header() {
    const Result<FileHeader> header = file_.read<FileHeader>(0);
    if (!header.has_value()) return corrupt("shorter than an ELF header");
    header_ = *header;
    const u8* ident = header_.ident;
    if (ident[0] != 0x7f || ident[1] != 'E' || ident[2] != 'L' || ident[3] != 'F') return corrupt("bad magic");
    if (ident[4] != kClass64) return unsupported("not 64-bit");
    if (ident[5] != kLittleEndian) return unsupported("not little-endian");
    if (ident[6] != 1 || header_.version != 1) return unsupported("unknown ELF version");
    if (ident[7] != kOsAbiSystemV && ident[7] != kOsAbiGnu) return unsupported("unknown OS ABI");
    if (header_.machine != kMachineX86_64) return unsupported("not for x86_64");
    if (header_.type != kTypeDynamic) return unsupported("not position-independent");
    if (header_.header_bytes != sizeof(FileHeader)) return corrupt("bad header size");
    if (header_.program_header_bytes != sizeof(ProgramHeader)) return corrupt("bad program header size");
    if (header_.program_header_count == 0) return corrupt("no program headers");
    if (header_.program_header_count > kMaxProgramHeaders) return unsupported("too many program headers");
    if (!file_.contains(header_.program_headers, u64{header_.program_header_count} * sizeof(ProgramHeader))) {
      return corrupt("program headers outside the file");
    }
    return {};
  }

  Result<void> add_segment(const ProgramHeader& ph) {
    if (image_.segment_count == kMaxSegments) return unsupported("too many segments");
    if (ph.mem_size == 0) return corrupt("empty segment");
    if (ph.mem_size > kMaxSegmentBytes) return unsupported("segment larger than 1 GiB");
    if (ph.file_size > ph.mem_size) return corrupt("segment larger in the file than in memory");
    if (!file_.contains(ph.offset, ph.file_size)) return corrupt("segment outside the file");
    if (ph.alignment < kPageSize || (ph.alignment & (ph.alignment - 1)) != 0)
      return corrupt("segment not page-aligned");
    if (ph.vaddr % kPageSize != ph.offset % kPageSize) return corrupt("segment address and file offset disagree");
    u64 end = 0;
    if (!checked_add(ph.vaddr, ph.mem_size + kPageSize - 1, &end)) return corrupt("segment wraps around");
    if ((ph.flags & kFlagRead) == 0) return corrupt("segment not readable");
    if ((ph.flags & kFlagWrite) != 0 && (ph.flags & kFlagExecute) != 0) {
      return corrupt("segment writable and executable");
    }
    ElfSegment segment{
        ph.offset, ph.file_size, ph.vaddr, ph.mem_size, (ph.flags & kFlagWrite) != 0, (ph.flags & kFlagExecute) != 0};
    if (image_.segment_count > 0 &&
        segment.first_page() < image_.segment_storage[image_.segment_count - 1].end_page()) {
      return corrupt("segments overlap or are not in ascending order");
    }
    image_.segment_storage[image_.segment_count++] = segment;
    return {};
  }

  Result<void> add_other(const ProgramHeader& ph) {
    switch (ph.type) {
      case kInterpreter:
        return unsupported("needs an interpreter");
      case kGnuStack:
        if ((ph.flags & kFlagExecute) != 0) return corrupt("executable stack");
        return {};
      case kTls: {
        if (image_.tls.has_value()) return corrupt("two TLS segments");
        const u64 alignment = ph.alignment == 0 ? 1 : ph.alignment;
        if (alignment > kPageSize || (alignment & (alignment - 1)) != 0) return corrupt("bad TLS alignment");
        if (ph.file_size > ph.mem_size || ph.mem_size > kMaxSegmentBytes) return corrupt("bad TLS size");
        if (ph.file_size > 0 && !inside_file_part(ph.vaddr, ph.file_size)) return corrupt("TLS outside the segments");
        image_.tls = ElfTls{ph.vaddr, ph.file_size, ph.mem_size, alignment};
        return {};
      }
      case kDynamic:
        if (image_.dynamic.has_value()) return corrupt("two dynamic sections");
        if (!inside_file_part(ph.vaddr, ph.mem_size)) return corrupt("dynamic section outside the segments");
        image_.dynamic = ElfRange{ph.vaddr, ph.mem_size};
        return {};
      case kGnuRelro: {
        if (image_.relro.has_value()) return corrupt("two RELRO ranges");
        const ElfSegment* segment = segment_at(ph.vaddr);
        // Linkers round the range up to a page.
        if (segment == nullptr || !segment->writable || ph.mem_size > segment->end_page() - ph.vaddr) {
          return corrupt("RELRO outside a writable segment");
        }
        image_.relro = ElfRange{ph.vaddr, ph.mem_size};
        return {};
      }
      default:
        return {};  // notes, unwind tables and the like
    }
  }

  Result<void> check_entry() {
    const ElfSegment* segment = segment_at(header_.entry);
    if (segment == nullptr || !segment->executable || !inside_file_part(header_.entry, 1)) {
      return corrupt("entry outside an executable segment");
    }
    image_.entry = header_.entry;
    return {};
  }

  void find_program_headers() {
    image_.program_header_count = header_.program_header_count;
    const u64 bytes = u64{header_.program_header_count} * sizeof(ProgramHeader);
    for (const ElfSegment& s : image_.segments()) {
      if (header_.program_headers >= s.file_offset && header_.program_headers - s.file_offset <= s.file_size &&
          bytes <= s.file_size - (header_.program_headers - s.file_offset)) {
        image_.program_headers = s.vaddr + (header_.program_headers - s.file_offset);
        return;
      }
    }
  }

  const ElfSegment* segment_at(u64 vaddr) const {
    for (const ElfSegment& s : image_.segments()) {
      if (vaddr >= s.vaddr && vaddr - s.vaddr < s.mem_size) return &s;
    }
    return nullptr;
  }
  bool inside_file_part(u64 vaddr, u64 size) const {
    const ElfSegment* s = segment_at(vaddr);
    return s != nullptr && vaddr - s->vaddr <= s->file_size && size <= s->file_size - (vaddr - s->vaddr);
  }

  ByteReader file_;
  const char** reason_;
  FileHeader header_{};
  ElfImage image_;
};

}  // namespace

Result<ElfImage> parse_elf(std::span<const std::byte> file, const char** reason) {
  return Parser(file, reason).parse();
}

}  // namespace keel
