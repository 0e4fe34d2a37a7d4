// Ends with the status that its first argument says.
#include <charconv>

#include "user/runtime/start.h"

int main() {
  int status = 99;
  const std::string_view text = keel::argument(0);
  std::from_chars(text.data(), text.data() + text.size(), status);
  return status;
}
