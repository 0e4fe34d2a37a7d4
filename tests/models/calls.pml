/* Calls between a client and a server through a port, on one or two CPUs, under the rules of docs/adr/0007: homes, custody,
   travelling calls, mailboxes, a caller link that is frozen while the server is away; with death, cancellation and timeouts
   at every moment.

   One proctype is one CPU. A kernel entry is one atomic step, because it touches only what its CPU owns, but what it sends
   to other CPUs goes out one message at a time, with everything else in between (push_all). What is read of other CPUs'
   threads is an atomic word each: place (owner and in_transit), exiting, callee.

   Checked      OWNER   nobody but the owner touches a thread or the port
                ONCE    each call gets exactly one answer; a thread is in one place
                DONATE  the server runs on the client's context only while the client waits for it
                END     when nothing moves any more: all mailboxes are empty, the client is through, dead, or waits, without
                        a deadline, for the successor of a dead server; the server waits in the port or is dead
                and, with -DNP, that no message travels for ever.
   Variants     NCPU=1|2, PULL (a receive on a quiet port moves the port to the receiver's CPU)
   Mutations    each breaks one rule, and the checker must notice: REPLY_AWAY (reply_receive replies where the port is),
                TOUCH_AWAY (a caller that gives up touches its server though that is away), NO_LOOK (a server that comes home
                does not look whether its caller still waits),  SET_LATE (a thread's place is written after it was pushed) */

#ifndef NCPU
#define NCPU 2
#endif
#ifndef CALLS
#define CALLS 2
#endif
#define C 0
#define S 1
#define NONE 3
#define BOX 6

mtype = { call_visit, receive_visit, other_visit, comes_home, pair_comes, port_comes, cancel_it, kill_it };
mtype = { runs, sends, waits_reply, receives, away, dead };
mtype = { ok, timed_out, cancelled, peer_died };

chan box[NCPU] = [BOX] of { mtype, byte };

byte owner[2];        /* whose CPU may touch the thread; while in_transit: where it goes */
bit in_transit[2];
byte home[2];
mtype state[2];
bit exiting[2];       /* set from anywhere */
bit cancel_next[2];
byte callee = NONE;   /* of the client */
byte caller = NONE;   /* of the server */
bit borrowed;         /* the server runs on the client's context */
bit timed;            /* the client's wait has a deadline */
bit pending;          /* the client has made a call that is not answered */
byte calls_left = CALLS;
byte visits_left = 1;

byte port_owner;
bit port_in_transit;
byte receiver = NONE;
bit queued;           /* the client is in the port's queue */

#define here(t) (owner[t] == me && !in_transit[t])
#define waits(t) (state[t] == sends || state[t] == waits_reply || state[t] == receives)
#define OWNER(t) assert(here(t))

/* What an entry sends goes out when it is over. */
inline post(to, what, who) { assert(out_n < 3); out_to[out_n] = to; out_what[out_n] = what; out_who[out_n] = who; out_n++ }

/* A thread leaves this CPU. */
inline send_thread(t, to, what) {
  OWNER(t);
#ifndef SET_LATE
  in_transit[t] = 1; owner[t] = to;
#endif
  post(to, what, t)
}

inline go_on(t) {     /* what it waited for is over: it runs on, at home */
  if
  :: home[t] == me -> state[t] = runs
  :: else -> state[t] = away; send_thread(t, home[t], comes_home)
  fi
}

inline answer_client(status) {
  OWNER(C);
  assert(pending);    /* ONCE */
  pending = 0; timed = 0; callee = NONE;
  go_on(C)
}

inline drop_caller() { caller = NONE; borrowed = 0 }

inline abort_client(status) {
  OWNER(C);
  if
  :: state[C] == sends -> queued = 0
  :: else ->
#ifdef TOUCH_AWAY
     OWNER(S); drop_caller()
#else
     if :: here(S) && caller == C -> drop_caller() :: else fi   /* away: it will look when it is home */
#endif
  fi;
  answer_client(status)
}

inline die(t) {
  if
  :: state[t] == dead
  :: else ->
     OWNER(t); assert(home[t] == me);
     if
     :: t == S && caller != NONE -> caller = NONE; borrowed = 0; if :: callee == S -> answer_client(peer_died) :: else fi
     :: else
     fi;
     state[t] = dead;
     if :: t == C -> pending = 0 :: else fi
  fi
}

inline leave_wait(t) {
  if
  :: t == C && state[C] == sends -> queued = 0
  :: t == C && state[C] == waits_reply -> callee = NONE; if :: here(S) && caller == C -> drop_caller() :: else fi
  :: t == S && state[S] == receives -> receiver = NONE
  :: else
  fi;
  if :: t == C -> timed = 0 :: else fi
}

inline kill_here(t) {
  leave_wait(t);
  if
  :: home[t] == me -> die(t)
  :: else -> state[t] = away; send_thread(t, home[t], comes_home)
  fi
}

/* The server, which is here, takes the client's call, which is here too. */
inline join() {
  OWNER(C); OWNER(S);
  queued = 0; receiver = NONE;
  state[C] = waits_reply; callee = S; caller = C;
  borrowed = (home[C] == home[S]);   /* contexts do not cross CPUs */
  if
  :: home[S] == me -> state[S] = runs
  :: else ->                         /* the server goes home and takes the client along */
     state[S] = away;
     in_transit[C] = 1; owner[C] = home[S];
     send_thread(S, home[S], pair_comes)
  fi
}

inline call_here() {
  OWNER(C); assert(port_owner == me && !port_in_transit);
  if
  :: exiting[C] -> kill_here(C)
  :: !exiting[C] && cancel_next[C] -> cancel_next[C] = 0; answer_client(cancelled)
  :: else ->
     if
     :: receiver == S && exiting[S] -> receiver = NONE; state[S] = away; go_on(S)   /* its process is going */
     :: else
     fi;
     if
     :: receiver == S -> join()
     :: else -> state[C] = sends; queued = 1
     fi
  fi
}

inline receive_here() {
  OWNER(S); assert(port_owner == me && !port_in_transit);
#ifndef REPLY_AWAY
  assert(caller == NONE);
#else
  if :: caller == C && callee == S -> drop_caller(); answer_client(ok) :: else -> drop_caller() fi;
#endif
  if
  :: exiting[S] -> kill_here(S)
  :: !exiting[S] && queued -> join()
#ifdef PULL
  :: !exiting[S] && !queued && home[S] != me ->
     state[S] = away; port_in_transit = 1; port_owner = home[S]; send_thread(S, home[S], port_comes)
#endif
  :: else -> receiver = S; state[S] = receives
  fi
}

inline arrive(t) { assert(in_transit[t] && owner[t] == me); in_transit[t] = 0 }

/* The thread is at home again, and runs unless it is to die. */
inline be_home(t) {
  if
  :: t == S && caller != NONE ->
#ifdef NO_LOOK
     skip
#else
     if
     :: callee == S -> OWNER(C)
     :: else -> drop_caller()
     fi
#endif
  :: else
  fi;
  if :: exiting[t] -> die(t) :: else -> state[t] = runs fi
}

inline handle(what, who) {
  if
  :: what == comes_home -> arrive(who); be_home(who)
  :: what == pair_comes -> assert(in_transit[C] && owner[C] == me); in_transit[C] = 0; arrive(S); be_home(S);
     /* what happened to the client on the way */
     if :: here(C) && exiting[C] && state[C] == waits_reply -> kill_here(C) :: else fi
  :: what == port_comes -> port_in_transit = 0; arrive(S); receive_here()
  :: what == other_visit -> arrive(S); if :: exiting[S] && home[S] == me -> die(S) :: else -> go_on(S) fi
  :: what == call_visit || what == receive_visit ->
     arrive(who);
     if
     :: port_owner == me && !port_in_transit -> if :: who == C -> call_here() :: else -> receive_here() fi
     :: else -> send_thread(who, port_owner, what)     /* it has moved, or is about to come: behind it */
     fi
  :: what == cancel_it ->
     if
     :: owner[C] != me || in_transit[C] -> post(owner[C], cancel_it, C)
     :: here(C) && (state[C] == sends || state[C] == waits_reply) -> abort_client(cancelled)
     :: else -> cancel_next[C] = 1
     fi
  :: what == kill_it ->
     if
     :: owner[who] != me || in_transit[who] -> post(owner[who], kill_it, who)
     :: here(who) && state[who] != dead -> kill_here(who)
     :: else
     fi
  fi
}

inline client_runs() {
  calls_left--; pending = 1;
  if :: timed = 1 :: timed = 0 fi;
  if
  :: port_owner == me && !port_in_transit -> call_here()
  :: else -> state[C] = away; send_thread(C, port_owner, call_visit)
  fi
}

inline server_runs() {
  assert(!borrowed || (state[C] == waits_reply && callee == S));   /* DONATE */
  if
  :: NCPU > 1 && visits_left > 0 ->        /* some call to an object of the other CPU, with the caller link frozen */
     visits_left--; state[S] = away; send_thread(S, 1 - me, other_visit)
  :: true ->                               /* reply_receive */
#ifndef REPLY_AWAY
     if
     :: caller == C -> OWNER(C); assert(callee == S); drop_caller(); answer_client(ok)
     :: else
     fi;
#endif
     if
     :: port_owner == me && !port_in_transit -> receive_here()
     :: else -> state[S] = away; send_thread(S, port_owner, receive_visit)
     fi
  fi
}

#define can_run(t) (here(t) && home[t] == me && state[t] == runs)

inline push_all() {
  do
  :: i < out_n -> assert(nfull(box[out_to[i]])); box[out_to[i]]!out_what[i], out_who[i];
#ifdef SET_LATE
     if :: out_what[i] == comes_home || out_what[i] == call_visit || out_what[i] == receive_visit ->
        in_transit[out_who[i]] = 1; owner[out_who[i]] = out_to[i] :: else fi;
#endif
     i++
  :: else -> break
  od;
  atomic { i = 0; out_n = 0; out_to[0] = 0; out_to[1] = 0; out_to[2] = 0; out_what[0] = 0; out_what[1] = 0; out_what[2] = 0;
           out_who[0] = 0; out_who[1] = 0; out_who[2] = 0 }
}

proctype cpu(byte me) {
  mtype m = 0;
  byte t = 0;
  byte i = 0;
  byte out_n = 0;
  byte out_to[3];
  mtype out_what[3];
  byte out_who[3];
end:
  do
  :: atomic { box[me]?m, t -> handle(m, t); m = 0; t = 0 } push_all()
  :: atomic { can_run(C) && exiting[C] -> die(C) } progress_die_c: push_all()
  :: atomic { can_run(S) && exiting[S] -> die(S) } progress_die_s: push_all()
  :: atomic { can_run(C) && !exiting[C] && calls_left > 0 -> client_runs() } progress_client: push_all()
  :: atomic { can_run(S) && !exiting[S] -> server_runs() } progress_server: push_all()
  :: atomic { here(C) && timed && (state[C] == sends || state[C] == waits_reply) -> abort_client(timed_out) } progress_timeout: push_all()
  od
}

/* Somebody kills the client or the server, or cancels the client. The place is read, then the message goes there. */
proctype somebody() {
  byte to;
  if
  :: exiting[C] = 1; to = owner[C]; box[to]!kill_it, C
  :: exiting[S] = 1; to = owner[S]; box[to]!kill_it, S
  :: to = owner[C]; box[to]!cancel_it, C
  :: skip
  fi;
  if
  :: to = owner[C]; box[to]!cancel_it, C
  :: skip
  fi
}

#define empty_boxes (len(box[0]) == 0 && (NCPU == 1 || len(box[NCPU - 1]) == 0))

proctype monitor() {
  timeout ->
  assert(empty_boxes);
  assert(!in_transit[C] && !in_transit[S] && !port_in_transit);
  assert(state[S] == dead || (state[S] == receives && receiver == S));
  assert(state[C] == dead || (state[C] == runs && calls_left == 0 && !pending) ||
         (state[C] == sends && queued && !timed && state[S] == dead));
  assert(caller == NONE && !borrowed);
  assert(!exiting[C] || state[C] == dead);
  assert(!exiting[S] || state[S] == dead)
}

init {
  atomic {
    state[C] = runs; state[S] = runs;
    if :: home[C] = 0 :: home[C] = NCPU - 1 fi;
    if :: home[S] = 0 :: home[S] = NCPU - 1 fi;
    port_owner = 0;
    owner[C] = home[C]; owner[S] = home[S];
    run cpu(0);
#if NCPU > 1
    run cpu(1);
#endif
    run somebody();
    run monitor()
  }
}
