// parse_elf: checks and describes a static position-independent ELF64 program for x86_64. Nothing is loaded here.
//
// Accepts      ET_DYN without an interpreter, little-endian, with 1..kMaxSegments PT_LOAD segments in ascending order.
// Promises     for what it accepts: each segment's file bytes lie in the file; segments share no page, are readable,
//              and never writable and executable at once; vaddr and file offset agree modulo the page size; nothing
//              wraps; the whole image spans at most kMaxImageBytes; the entry lies in the file part of an executable
//              segment; TLS, dynamic section and RELRO lie inside segments.
// Errors       corrupt (damaged or breaks a rule above), not_supported (sound, but for another machine or of another
//              kind). *reason, if asked for, says which rule in a few words; it is static text.
// Costs        O(program headers); no allocation.
// See          System V ABI, "Object Files" and "Program Loading"; elf_test.cc; tests/fuzz/elf_fuzz.cc
#pragma once

#include <array>
#include <optional>
#include <span>

#include "base/result.h"
#include "base/types.h"

namespace keel {

inline constexpr usize kMaxSegments = 16;
inline constexpr usize kMaxProgramHeaders = 64;
inline constexpr u64 kMaxSegmentBytes = u64{1} << 30;
inline constexpr u64 kMaxImageBytes = u64{4} << 30;

struct ElfSegment {
  u64 file_offset = 0;
  u64 file_size = 0;  // bytes from the file; the rest up to mem_size is zero
  u64 vaddr = 0;      // relative to the load address
  u64 mem_size = 0;   // at least file_size, not 0
  bool writable = false;
  bool executable = false;

  u64 first_page() const { return align_down(vaddr, kPageSize); }
  u64 end_page() const { return align_up(vaddr + mem_size, kPageSize); }
};

// A byte range of the image, relative to the load address.
struct ElfRange {
  u64 vaddr = 0;
  u64 size = 0;
};

struct ElfTls {
  u64 vaddr = 0;      // of the initial content
  u64 file_size = 0;  // bytes of initial content
  u64 mem_size = 0;
  u64 alignment = 1;  // a power of two, at most a page
};

struct ElfImage {
  std::array<ElfSegment, kMaxSegments> segment_storage{};
  usize segment_count = 0;
  u64 entry = 0;       // relative to the load address
  u64 first_page = 0;  // [first_page, end_page) holds all segments; multiples of the page size
  u64 end_page = 0;
  u64 program_headers = 0;  // vaddr of the program headers if a segment holds them, else 0 (for AT_PHDR)
  u16 program_header_count = 0;
  std::optional<ElfTls> tls;
  std::optional<ElfRange> dynamic;
  std::optional<ElfRange> relro;  // may be made read-only after relocation

  std::span<const ElfSegment> segments() const { return {segment_storage.data(), segment_count}; }
  u64 span_bytes() const { return end_page - first_page; }
};

Result<ElfImage> parse_elf(std::span<const std::byte> file, const char** reason = nullptr);

}  // namespace keel
