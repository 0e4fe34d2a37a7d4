/* Revocation against derivation, transfer, deletion, use and a second revocation, after kernel/cap/tree.cc and space.cc and
   ARCHITECTURE section 3, with slots and nodes that are given back after a grace period (docs/adr/0007).

   One object. Node 0 is the root (slot 0), node 1 its child (slot 1); the others are made by derivation. Each process is
   a thread in the kernel on a CPU of its own; what is under the tree lock is one atomic step, what is not may be interleaved.
   A slot: live, its node. A lookup reads the slot and then uses the node it found, later: a borrow, until kernel exit.

   Checked      COMPLETE  when a revocation has returned, nothing that was derived from its root is live, linked, mapped or borrowed
                FREED     nobody touches a node that was freed; each node is freed once
                HANDLE    each live slot is cleared by exactly one: handles = live slots
                FINITE    once a root is dying, nothing is added below it
                END       revoking is back to 0, and nothing is in hand
   Variant      SMALL (no fourth CPU that uses and deletes)
   Mutations    NO_GRACE (free at once), TOMB_NOW (free tombstones at once), NO_WAIT (a revocation returns without a grace period), NO_ANCESTORS (a derivation does not look at its ancestors),
                ANY_NODE (a revocation may begin at a tombstone), CLEAR_LATE (a slot is cleared after the tree lock was released),
                NO_IN_HAND (a revocation does not wait for regions that another one is unmapping) */

#ifndef NODES
#define NODES 5
#endif
#define NONE 7
#define BORROWERS 4

#define ROOT 0

mtype = { unlinked, slot, region, tombstone };

mtype kind[NODES];
byte parent[NODES];
bit dying[NODES];
bit later[NODES];               /* to be freed after a grace period */
bit freed[NODES];
bit mapped[NODES];
byte used = 2;
byte revoking;
byte in_hand;                  /* regions taken off the tree and not unmapped yet */

bit live[NODES];               /* the slot of node n */
byte handles = 2;
byte borrow[BORROWERS];        /* the node whose memory each kernel entry may touch, or NONE */
bit in_kernel[BORROWERS];
byte lacks[BORROWERS + 1];     /* by asker: who has not left the kernel yet since the grace period began */

#define is_linked(n) (kind[n] != unlinked)
#ifdef ANY_NODE
#define MAY_BEGIN(n) is_linked(n)
#else
#define MAY_BEGIN(n) (kind[n] == slot)
#endif
#define TOUCH(n) assert(!freed[n])

inline has_child(n, yes) {
  yes = 0; k = 0;
  do
  :: k < NODES -> if :: is_linked(k) && parent[k] == n -> yes = 1 :: else fi; k++
  :: else -> break
  od;
  k = 0
}

inline dying_above(n, yes) {
  yes = 0; k = n;
  do
  :: k != NONE -> if :: dying[k] -> yes = 1 :: else fi; k = parent[k]
  :: else -> break
  od;
  k = 0
}

inline below_dying(n) { dying_above(parent[n], found); assert(!found) }   /* FINITE: what was linked just now */

/* Takes a node out, and the tombstones above it that it was the last child of. They are freed. */
inline take_out(n) {
  assert(is_linked(n));
  if :: dying[n] -> dying[n] = 0; revoking-- :: else fi;
  kind[n] = unlinked;
  p = parent[n]; parent[n] = NONE;
  do
  :: p != NONE && kind[p] == tombstone ->
     has_child(p, found);
     if
     :: found -> break
     :: else ->
        kind[p] = unlinked;
#ifdef TOMB_NOW
        freed[p] = 1;
#else
        free_later(p);
#endif
        q = parent[p]; parent[p] = NONE; p = q
     fi
  :: else -> break
  od;
  p = 0; q = 0
}

/* Everybody who is in the kernel leaves it once. */
inline grace() {
  atomic {
    w = 0;
    do
    :: w < BORROWERS -> if :: w != me && in_kernel[w] -> lacks[me] = lacks[me] | (1 << w) :: else fi; w++
    :: else -> break
    od;
    w = 0
  }
  lacks[me] == 0
}

/* The reaper frees it after a grace period. */
inline free_later(n) {
  assert(!later[n] && !freed[n]);
#ifdef NO_GRACE
  freed[n] = 1
#else
  later[n] = 1
#endif
}

proctype reaper(byte me) {
  byte n, w;
end:
  do
  :: atomic { later[0] || later[1] || later[2] || later[3] || later[4] ->
       n = 0; do :: later[n] -> break :: else -> n++ od }
     grace();
     atomic { later[n] = 0; freed[n] = 1; n = 0 }
  od
}

inline enter() { atomic { in_kernel[me] = 1 } }
inline leave() {
  atomic {
    borrow[me] = NONE; in_kernel[me] = 0;
    w = 0; do :: w <= BORROWERS -> lacks[w] = lacks[w] & ~(1 << me); w++ :: else -> break od; w = 0
  }
}

/* Derives a slot or a region from node n, whatever n is by now. */
inline derive(n) {
  enter();
  if
  :: live[n] -> borrow[me] = n;
     atomic {
       TOUCH(n);
       if
       :: used < NODES && is_linked(n) ->
#ifndef NO_ANCESTORS
          if :: revoking > 0 -> dying_above(n, found) :: else -> found = 0 fi;
#else
          found = 0;
#endif
          if
          :: !found ->
             x = used; used++;
             parent[x] = n;
             if :: kind[x] = slot; live[x] = 1; handles++ :: kind[x] = region; mapped[x] = 1 fi;
             below_dying(x)
          :: else
          fi
       :: else
       fi
     }
  :: !live[n]
  fi;
  leave()
}

/* cap_delete: clears the slot, then gives up the node. A region is unmapped the same way. */
inline delete(n) {
  enter();
  if
  :: atomic { live[n] -> live[n] = 0; handles--; borrow[me] = n }       /* the one that clears it owns what follows */
     atomic {
       TOUCH(n);
       x = 0;
       if
       :: !is_linked(n)                                                 /* a revocation was first, and frees it */
       :: else ->
          has_child(n, found);
          if
          :: found -> kind[n] = tombstone; if :: dying[n] -> dying[n] = 0; revoking-- :: else fi
          :: else -> take_out(n); x = 1
          fi
       fi
     }
     if :: x -> free_later(n) :: else fi;
     leave()
  :: !live[n] -> leave()
  fi;
  x = 0
}

/* cap_revoke of the slot of node r, one leaf a step. Another kernel entry may come after each. */
inline revoke(r) {
  enter();
  if
  :: live[r] -> borrow[me] = r;
     complete = 0;
     atomic {
       TOUCH(r);
       x = 0;
       if
       :: MAY_BEGIN(r) && !dying[r] -> dying[r] = 1; revoking++; x = 1
       :: MAY_BEGIN(r) && dying[r] -> x = 1
       :: else
       fi
     }
     do
     :: x ->
        atomic {
          TOUCH(r);
          /* the first leaf below r: a linked node without children that has r above it */
          n = NONE; i = 0;
          do
          :: i < NODES && n == NONE ->
             if
             :: is_linked(i) && i != r ->
                has_child(i, found);
                if
                :: !found ->
                   k = parent[i];
                   do :: k != NONE && k != r -> k = parent[k] :: else -> break od;
                   if :: k == r -> n = i :: else fi;
                   k = 0
                :: else
                fi
             :: else
             fi;
             i++
          :: else -> break
          od;
          i = 0;
          if
          :: n == NONE -> x = 0; complete = 1
          :: else ->
             x = (kind[n] == region -> 2 : 1);
             take_out(n);
             if
             :: x == 2 -> in_hand++
#ifndef CLEAR_LATE
             :: x == 1 && live[n] -> live[n] = 0; handles--
#endif
             :: else
             fi
          fi
        }
        if
        :: x == 1 ->
#ifdef CLEAR_LATE
           if :: atomic { live[n] -> live[n] = 0; handles-- } :: !live[n] fi;
#endif
           free_later(n); leave(); enter()
        :: x == 2 ->
           do
           :: leave(); enter()                      /* unmapping is preempted */
           :: atomic { mapped[n] = 0; in_hand-- } break
           od;
           leave(); enter()
        :: else
        fi;
        /* the next entry looks the capability up again */
        if
        :: x && live[r] -> borrow[me] = r; atomic { if :: is_linked(r) -> x = 1 :: else -> x = 0 fi }
        :: x && !live[r] -> x = 0
        :: else
        fi
     :: else -> break
     od;
     if
     :: borrow[me] == r -> atomic { TOUCH(r); if :: dying[r] -> dying[r] = 0; revoking-- :: else fi }
     :: else
     fi;
     leave();
#ifndef NO_IN_HAND
     in_hand == 0;
#endif
#ifndef NO_WAIT
     grace();
#endif
     if :: complete -> done(r) :: else fi
  :: !live[r] -> leave()
  fi;
  n = 0; x = 0
}

/* COMPLETE: node 2.. were derived from 1 or from each other; 1 from 0. So all of them were below either root. What was derived
   after the revocation ended is excluded by `used`, which the caller noted. */
inline done(r) {
  atomic {
    i = r + 1;
    do
    :: i < NODES ->
       if
       :: i < seen && below[i] ->
          assert(!live[i]); assert(kind[i] == unlinked || kind[i] == tombstone); assert(!mapped[i]);
          k = 0;
          do :: k < BORROWERS -> assert(borrow[k] != i); k++ :: else -> break od;
          k = 0
       :: else
       fi;
       i++
    :: else -> break
    od;
    i = 0
  }
}

#define LOCALS byte k = 0, p = 0, q = 0, x = 0, w = 0, i = 0, n = 0; bit found = 0, complete = 0; byte seen = 0; bit below[NODES]

/* Revokes the root: everything else is below it. */
proctype outer(byte me) {
  LOCALS;
  atomic { seen = used; i = 1; do :: i < NODES -> below[i] = 1; i++ :: else -> break od; i = 0 }
  revoke(0)
}

/* Revokes node 1, or deletes it. */
proctype inner(byte me) {
  LOCALS;
  if
  :: atomic { seen = used; i = 2; do :: i < NODES -> below[i] = 1; i++ :: else -> break od; i = 0 }
     revoke(1)
  :: delete(1)
  fi
}

/* Derives twice: from 1, and then from 1 or from what it made. */
proctype deriver(byte me) {
  LOCALS;
  derive(1);
  if :: derive(1) :: derive(2) fi
}

/* Uses or deletes what there is. */
proctype user(byte me) {
  LOCALS;
  byte n2;
  if :: n2 = 1 :: n2 = 2 fi;
  if
  :: delete(n2)
  :: enter();
     if
     :: live[n2] -> borrow[me] = n2; TOUCH(n2); TOUCH(n2)
     :: !live[n2]
     fi;
     leave()
  fi
}

proctype monitor() {
  byte i, count;
  timeout ->
  atomic {
    do :: i < NODES -> count = count + live[i]; i++ :: else -> break od;
    assert(count == handles);                      /* HANDLE */
    assert(revoking == 0 && in_hand == 0)          /* END */
  }
}

init {
  byte i;
  atomic {
    do :: i < NODES -> kind[i] = unlinked; parent[i] = NONE; i++ :: else -> break od;
    i = 0;
    do :: i < BORROWERS -> borrow[i] = NONE; i++ :: else -> break od;
    kind[0] = slot; live[0] = 1; kind[1] = slot; live[1] = 1; parent[1] = 0;
    run outer(0); run inner(1); run deriver(2);
#ifndef SMALL
    run user(3);
#endif
    run reaper(BORROWERS); run monitor()
  }
}
