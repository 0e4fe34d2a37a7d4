// The members that libc++ declares `extern template` and expects in its library. User space only: the kernel has no
// heap behind operator new. shared_ptr is left out on purpose: without <thread> its counts are not atomic; use RefPtr.
#include <algorithm>
#include <stdexcept>
#include <string>
#include <unordered_map>

namespace std {
inline namespace __k1 {

template class basic_string<char>;

// The number of buckets of a hash table that should hold at least n: the next number that has no small divisor.
size_t __next_prime(size_t n) {
  if (n <= 2) return n;
  for (n |= 1;; n += 2) {
    bool prime = true;
    for (size_t d = 3; d <= n / d; d += 2) {
      if (n % d == 0) {
        prime = false;
        break;
      }
    }
    if (prime) return n;
  }
}

// std::sort of built-in types with the default order. The lambda keeps std::sort from calling back into this.
template <class Compare, class Iterator>
void __sort(Iterator first, Iterator last, Compare) {
  std::sort(first, last, [](auto a, auto b) { return a < b; });
}
// NOLINTNEXTLINE(bugprone-macro-parentheses): T is a type.
#define SORT(T) template void __sort<__less<T>&, T*>(T*, T*, __less<T>&);
SORT(char)
SORT(signed char)
SORT(unsigned char)
SORT(short)
SORT(unsigned short)
SORT(int)
SORT(unsigned)
SORT(long)
SORT(unsigned long)
SORT(long long)
SORT(unsigned long long)
SORT(float)
SORT(double)
#undef SORT

}  // namespace __k1
}  // namespace std

// The load factor of hash tables rounds up with this.
extern "C" float ceilf(float x) {
  if (!(x > -8388608.0f && x < 8388608.0f)) return x;  // beyond 2^23 every float is whole; also catches NaN
  float whole = static_cast<float>(static_cast<int>(x));
  return whole < x ? whole + 1.0f : whole;
}
