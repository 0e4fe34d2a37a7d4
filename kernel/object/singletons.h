// Objects without state of their own: what they stand for is the machine, and how much of it is in the capability.
#pragma once

#include "kernel/object/object.h"

namespace keel {

template <ObjectKind Kind>
class Authority : public KObject {
 public:
  static constexpr ObjectKind kKind = Kind;
  explicit Authority(ResourceGroup& group) : KObject(Kind, group) {}

 private:
  void destroy(Cpu&) override {}  // part of the machine
};

class InterruptControl final : public Authority<ObjectKind::interrupt_control> {
  using Authority::Authority;
};
class IoPorts final : public Authority<ObjectKind::io_ports> {
  using Authority::Authority;
};
class KernelControl final : public Authority<ObjectKind::kernel_control> {
  using Authority::Authority;
  // The log's readers wait through it.
  void on_event(Cpu& cpu) override;
  void wake_revoked(Cpu& cpu) override;
};

}  // namespace keel
