/* Mailboxes, grace periods and idle CPUs (docs/adr/0007): CPU 0 and CPU 1 run, enter the kernel and idle; each also sends the
   other a message and asks for one grace period, after which it frees what it had unlinked before.

   Stores to a CPU's own idle word go through a store buffer (one entry), as on x86: others see them later, unless a fence follows.
   Interrupts are sticky (one bit a CPU) and are let in only in user mode and by the halt.

   Checked      FREED   nobody touches the object after it was freed
                END     when nothing moves: every message was handled, every grace period is over (no lost wake-up, no CPU that
                        halts on work)
   Mutations    NO_FENCE (leaving idle is not fenced), NO_SELF (a drain that stops half way
                does not interrupt itself), LATE_ACK (an interrupt is acknowledged after the mailbox was drained),
                SKIP_BUSY (no interrupt to a CPU that is not idle, and no look at the mailbox before the halt) */

#define BATCH 1           /* messages handled in one entry */
#ifndef MESSAGES
#define MESSAGES 2        /* that each CPU sends */
#endif
#define OTHER (1 - me)

bit idle[2];              /* what others see */
bit idle_new[2];          /* what the store buffer holds */
bit buffered[2];
byte mailbox[2];          /* messages pushed, not taken out yet */
byte taken[2];            /* taken out, not handled yet */
byte sent[2];             /* to the other one */
byte handled[2];
bit interrupt[2];
bit request[2];           /* from the other one, for a grace period */
byte waiting_for[2];      /* acknowledgements that the asker still lacks */
bit reachable[2];         /* the object that CPU n is going to free */
bit freed[2];

inline store_idle(value) { atomic { assert(!buffered[me]); idle_new[me] = value; buffered[me] = 1 } }
inline fence() { atomic { if :: buffered[me] -> idle[me] = idle_new[me]; buffered[me] = 0 :: else fi } }

inline push() {
  atomic {
    sent[me]++;
    if
#ifdef SKIP_BUSY
    :: mailbox[OTHER] == 0 && idle[OTHER] -> interrupt[OTHER] = 1
#else
    :: mailbox[OTHER] == 0 -> interrupt[OTHER] = 1
#endif
    :: else
    fi;
    mailbox[OTHER]++
  }
}

/* Unlinks the object and asks: an exchange, so a fence. A CPU that is idle touches nothing and is not asked. */
inline ask() {
  atomic { reachable[me] = 0; asked = 1 }
  fence();
  if
  :: atomic { !idle[OTHER] -> waiting_for[me] = 1; request[OTHER] = 1; interrupt[OTHER] = 1 }
  :: idle[OTHER]
  fi
}

inline leave_serving() {
  atomic { if :: request[me] -> request[me] = 0; waiting_for[OTHER]-- :: else fi }
}

inline drain() {
  atomic { if :: taken[me] == 0 -> taken[me] = mailbox[me]; mailbox[me] = 0 :: else fi }
  atomic {
    if :: taken[me] > 0 -> taken[me]--; handled[me]++ :: else fi;
#ifndef NO_SELF
    if :: taken[me] > 0 -> interrupt[me] = 1 :: else fi
#endif
  }
}

/* What an entry may do with the other's object: look it up, then touch it. */
inline use() {
  if
  :: reachable[OTHER] -> assert(!freed[OTHER]); assert(!freed[OTHER])
  :: true
  fi
}

inline entry() {
  leave_serving();
  use();
  if
  :: sent[me] < MESSAGES -> push()
  :: !asked && waiting_for[me] == 0 -> ask()
  :: asked && !freed[me] && waiting_for[me] == 0 -> freed[me] = 1
  :: true
  fi;
  drain()
}

proctype cpu(byte me) {
  bit asked = 0;
user:
  if
#ifdef LATE_ACK
  :: interrupt[me] -> entry(); interrupt[me] = 0; goto decide
#else
  :: interrupt[me] -> interrupt[me] = 0; entry(); goto decide
#endif
  :: sent[me] < MESSAGES || !asked -> entry(); goto decide       /* a system call */
  :: goto decide                                             /* the thread waits or ends */
  fi;
decide:
  if
  :: sent[me] < MESSAGES || !asked -> goto user                  /* somebody is ready */
  :: true
  fi;
  store_idle(1);
  fence();
halted:
end:
  atomic { interrupt[me] ->
#ifndef LATE_ACK
  interrupt[me] = 0
#else
  skip
#endif
  }
  store_idle(0);
#ifndef NO_FENCE
  fence();
#endif
  entry();
#ifdef LATE_ACK
  interrupt[me] = 0;
#endif
  fence();                                                   /* in time every store is seen */
  if
  :: asked && !freed[me] && waiting_for[me] == 0 -> freed[me] = 1
  :: else
  fi;
  goto decide
}

/* The store buffer drains by itself. */
proctype buffer(byte me) {
end:
  do
  :: atomic { buffered[me] -> idle[me] = idle_new[me]; buffered[me] = 0 }
  od
}

proctype monitor() {
  timeout ->
  assert(handled[0] == sent[1] && handled[1] == sent[0]);
  assert(mailbox[0] == 0 && mailbox[1] == 0 && taken[0] == 0 && taken[1] == 0);
  assert(waiting_for[0] == 0 && waiting_for[1] == 0)
}

init {
  atomic {
    reachable[0] = 1; reachable[1] = 1;
    run cpu(0); run cpu(1); run buffer(0); run buffer(1); run monitor()
  }
}
