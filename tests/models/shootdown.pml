/* TLB shootdown between two CPUs that both ask at once, while both also switch in and out of the address space
   (docs/adr/0007, kernel/mm/tlb_batch.h). CPU n unmaps page n, with interrupts off, and frees it when nobody can reach it any
   more. A CPU in user mode fills its TLB from the page table whenever it likes.

   The store that publishes which space a CPU runs goes through a store buffer (one entry) until a fence.

   Checked      STALE     no CPU that runs the space has a page in its TLB that was freed
                END       both are through: no deadlock
   Mutations    NO_SERVE (an asker does not serve the other's request while it spins), NO_FENCE (publishing the space is not fenced),
                HOLD_LOCK (the asker spins with the space's lock held) */

#define OTHER (1 - me)

bit present[2];           /* page table */
bit freed[2];
bit runs[2];              /* Cpu::space is the space: what others see */
bit runs_new[2];
bit buffered[2];
bit loaded[2];            /* what the hardware translates with */
bit request[2];
bit acknowledged[2];      /* the asker's */
bit lock;

typedef Tlb { bit has[2] };
Tlb tlb[2];

inline fence() { atomic { if :: buffered[me] -> runs[me] = runs_new[me]; buffered[me] = 0 :: else fi } }
inline publish(value) { atomic { runs_new[me] = value; buffered[me] = 1 } }
inline flush() { atomic { tlb[me].has[0] = 0; tlb[me].has[1] = 0 } }

inline serve() {
  if
  :: request[me] ->
     request[me] = 0;
     flush(); acknowledged[OTHER] = 1
  :: !request[me]
  fi
}

inline take_lock() {
  do
  :: atomic { !lock -> lock = 1; break }
  :: lock && request[me] -> skip; lock == 0      /* a spin lock serves nobody */
  od
}

inline unmap() {
  take_lock();
  present[me] = 0;
#ifndef HOLD_LOCK
  lock = 0;
#endif
  flush();
  fence();
  if
  :: runs[OTHER] ->
     request[OTHER] = 1;                         /* and an interrupt: served in user mode, at the end of an entry, or below */
     do
     :: acknowledged[me] -> acknowledged[me] = 0; break
#ifndef NO_SERVE
     :: request[me] -> serve()
#endif
     od
  :: !runs[OTHER]
  fi;
#ifdef HOLD_LOCK
  lock = 0;
#endif
  freed[me] = 1
}

inline leave_space() { loaded[me] = 0; flush(); publish(0) }
inline enter_space() {
  publish(1);
#ifndef NO_FENCE
  fence();
#endif
  loaded[me] = 1                                 /* CR3: nothing of it is in the TLB yet */
}

inline touch(page) {                             /* user mode */
  atomic {
    if
    :: loaded[me] && tlb[me].has[page] -> assert(!freed[page])             /* STALE */
    :: loaded[me] && !tlb[me].has[page] && present[page] -> tlb[me].has[page] = 1
    :: else
    fi
  }
}

proctype cpu(byte me) {
  bit unmapped = 0;
  byte switches = 2;
  loaded[me] = 0;
  if :: enter_space() :: true fi;
  do
  :: true -> touch(0)
  :: true -> touch(1)
  :: request[me] -> serve()                      /* the interrupt */
  :: !unmapped -> unmapped = 1; unmap(); serve()
  :: switches > 0 && loaded[me] -> switches--; leave_space(); serve()
  :: switches > 0 && !loaded[me] -> switches--; enter_space(); serve()
  :: unmapped -> break
  od;
  do                                             /* idles: interrupts are let in */
  :: request[me] -> serve()
  :: unmapped && freed[OTHER] -> break
  od;
  serve()
}

proctype buffer(byte me) {
end:
  do
  :: atomic { buffered[me] -> runs[me] = runs_new[me]; buffered[me] = 0 }
  od
}

init { atomic { present[0] = 1; present[1] = 1; run cpu(0); run cpu(1); run buffer(0); run buffer(1) } }
