// The shell: see shell.h and docs/subsystems/shell.md.
#include "user/apps/shell/shell.h"

int main() {
  static keel::shell::Shell shell;
  shell.run();
}
