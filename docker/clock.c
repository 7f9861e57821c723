/* A clock that can be stepped while a program runs: LD_PRELOAD=clock.so CLOCK_FILE=/clock/now program.
 *
 * The file holds by how many seconds the time of day is wrong; it is read again twice a second. Monotonic clocks and
 * the times of files stay right, as they do where a host's clock is stepped. (libfaketime 0.9.10 does this too, but
 * with its FAKETIME_DONT_FAKE_MONOTONIC every sleep of Python 3.11 fails with EINVAL.)
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long wrong_by;
static volatile long next_look;

/* No lock and no allocation: it may be called from a signal's handler, or after fork. */
static long step(void) {
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, &now);
  long moment = now.tv_sec * 1000 + now.tv_nsec / 1000000;
  if (moment < next_look) return wrong_by;
  next_look = moment + 500;
  const char *name = getenv("CLOCK_FILE");
  int file = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return wrong_by;
  char text[32] = {0};
  if (syscall(SYS_read, file, text, sizeof text - 1) > 0) wrong_by = atol(text);
  syscall(SYS_close, file);
  return wrong_by;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += step();
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *kept) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME_COARSE, &exact);
  if (kept) *kept = exact.tv_sec;
  return exact.tv_sec;
}
