/* Breaker. Proves, for calls that may each be stopped for ever between any two steps (a kill, a
   hung call) and, with -DREUSE, an owner that is declared dead at any moment, whether it is or
   not, a slot that is taken again at once, and whoever clears the leases of the dead, slowly:

   - in any generation, probes outstanding and successes are PROBES at most, those of owners that
     were declared dead left out; an episode that closes had exactly PROBES admitted, if none of
     them was ignored and nobody was declared dead;
   - what ends late changes nothing but its own lease, and nobody else gives that back;
   - words change by legal steps only (BREAKER_*, LEASE_* of control.h): each transition of the
     breaker begins the next generation, so none is entered twice;
   - when all calls have ended and the dead are cleared, no lease is left.

   With -DLIVE, where an owner may die (-DDEATHS) or a call hang (-DHANGS): while callers keep
   coming, the breaker leaves OPEN and HALF_OPEN. Leases of the dead are cleared, so nobody waits
   for the lease of the episode; only what hangs is waited for. Assumed there: calls do not look at
   the same time for ever, and the lease of an episode is longer than any probe that ends.

   Two calls of one owner and one of another; with -DREUSE, one of each of two owners, and one of a
   third, who takes the slot of the first; -DOPERATOR: somebody opens it by force, may disable it,
   and closes it. The window that trips, and the clock, are any choice. Code: none yet.

   Negative controls: -DSUM_FIRST (the sum is read before the own lease is taken), -DWORD_FIRST
   (the word is read before the sum), -DGIVE_FIRST (a lease is given back before its success is
   counted), -DANY_TICKET (a late result is not compared with the generation), -DPLAIN_STORE (an
   episode is begun by a store, not a swap), -DPLAIN_COUNT (a success is counted so), -DPLAIN_TAKE
   (a lease is taken so), -DCOUNTED_TWICE (a success is counted twice, as by a child that was
   forked meanwhile), -DANY_GENERATION (a lease is taken over one of a later generation),
   -DANY_INCARNATION (or of the slot's next owner), -DCLEAR_ANY (a lease is cleared whatever it is
   by then), -DOWNER_FIRST (who has the slot is read before the lease), -DCLEAR_ONLY_OWNERS (only
   leases of the slot's present owner are cleared). With -DLIVE: -DNO_CLEAR (leases of the dead
   stay), -DNO_EPISODE (an episode has no lease), -DSLOW (its lease may run out before a probe
   ends), -DOVERLAP (calls may look at the same time for ever), -DOWN_TWICE (the own lease is added
   to a sum that has it). */
#ifdef LIVE
#define GENERATION_MASK 7             /* they come round: what is slow makes ever more of them */
#else
#define GENERATION_MASK 31
#endif
#include "control.h"

#ifndef PROBES
#define PROBES 2
#endif
#define SLOTS 2
#define CALLERS 3
#define INCARNATIONS 4
#define RENEWALS 1
#ifndef CALLS
#define CALLS 1
#endif

/* The breaker word; and P[o]: incarnation, generation, probes. Each is one word. */
byte state = BREAKER_OPEN, generation = 1, successes;
byte whose[SLOTS], within[SLOTS], probes[SLOTS];
byte owner[SLOTS];                    /* the incarnation that has the slot */
bool gone[INCARNATIONS];              /* declared dead; with LIVE: killed */
byte probing[CALLERS];                /* the generation of the probe that each has outstanding */
#ifdef REUSE
#define INCARNATION(p) ((p) + 1)
#else
#define INCARNATION(p) ((p) / 2 + 1)
#endif

#ifdef LIVE
bool due;                             /* the time of OPEN has passed */
byte hung;                            /* the generation of a probe that never ends */
bool ignored;                         /* one probe, no more */
bool left;                            /* OPEN and HALF_OPEN are behind us */
byte looking;                         /* who has a lease and has not been admitted */
#define LAPSED (hung == generation)
#ifdef SLOW
#undef LAPSED
#define LAPSED (probing[0] == generation || probing[1] == generation || probing[2] == generation)
#endif
#ifdef NO_EPISODE
#undef LAPSED
#define LAPSED false
#endif
#define STANDS !LAPSED
#else
#define STANDS true
#define due true
#define LAPSED (renewals < RENEWALS)
byte renewals;
byte admitted, counted;               /* of this generation; counted: not those of the dead */
bool clean;                           /* no probe ignored, nobody declared dead */
bool ended[CALLERS];
#define OUTSTANDING(p) (probing[p] == generation && !gone[INCARNATION(p)])
#define BOUNDED (OUTSTANDING(0) + OUTSTANDING(1) + OUTSTANDING(2) + counted <= PROBES)
#endif

inline word_step(s2, g2, n2) {
#ifdef LIVE
  left = (left || s2 != BREAKER_HALF_OPEN);
#else
  if
  :: g2 != generation ->
     assert(state != BREAKER_HALF_OPEN || s2 != BREAKER_CLOSED || !clean || admitted == PROBES);
     admitted = 0; counted = 0;
     clean = (s2 == BREAKER_HALF_OPEN && !gone[1])
  :: else
  fi;
#endif
  assert(BREAKER_TRIP(state, generation, successes, s2, g2, n2)
         || BREAKER_PROBE(state, generation, successes, s2, g2, n2)
         || BREAKER_RENEW(state, generation, successes, s2, g2, n2)
         || BREAKER_COUNT(state, generation, successes, s2, g2, n2)
         || BREAKER_CLOSE(state, generation, successes, s2, g2, n2)
         || BREAKER_REOPEN(state, generation, successes, s2, g2, n2)
         || BREAKER_SET(state, generation, successes, s2, g2, n2)
         || BREAKER_RESET(state, generation, successes, s2, g2, n2));
  state = s2; generation = g2; successes = n2
}
#define AFTER(g) (((g) + 1) & GENERATION_MASK)

inline lease_step(o, i2, g2, n2) {
#if !defined(LIVE) && !defined(ANY_GENERATION) && !defined(ANY_INCARNATION)
  assert(LEASE_TAKE(whose[o], within[o], probes[o], i2, g2, n2)
         || LEASE_BEGIN(whose[o], within[o], probes[o], i2, g2, n2)
         || LEASE_GIVE(whose[o], within[o], probes[o], i2, g2, n2)
         || LEASE_CLEAR(whose[o], within[o], probes[o], i2, g2, n2));
#endif
  whose[o] = i2; within[o] = g2; probes[o] = n2
}
#define IS_LEASE(o, i, g) (whose[o] == (i) && within[o] == (g))

/* A loop of load and swap is one step: what a failed swap has read is forgotten. A lease of another
   generation is replaced only if the word is still of ours: so that one is an earlier one. */
inline take() {
  do
#ifdef PLAIN_TAKE
  :: atomic { IS_LEASE(o, i, g) -> n = probes[o] }; d_step { lease_step(o, i, g, n + 1) }; break
#else
  :: d_step { IS_LEASE(o, i, g) -> lease_step(o, i, g, probes[o] + 1) }; break
#endif
#ifdef ANY_INCARNATION
  :: atomic { !IS_LEASE(o, i, g) -> w = whose[o]; h = within[o]; m = probes[o] }
#else
#ifdef REUSE
  :: whose[o] > i -> over = true; break /* we were declared dead, and another has the slot */
#endif
  :: atomic { whose[o] <= i && !IS_LEASE(o, i, g) -> w = whose[o]; h = within[o]; m = probes[o] }
#endif
#ifndef ANY_GENERATION
     if
     :: atomic {
          state != BREAKER_HALF_OPEN || generation != g -> again = true; w = 0; h = 0; m = 0
        }
        break
     :: state == BREAKER_HALF_OPEN && generation == g
     fi;
#endif
     atomic {
       if
       :: whose[o] == w && within[o] == h && probes[o] == m ->
          lease_step(o, i, g, 1); w = 0; h = 0; m = 0; break
       :: else -> w = 0; h = 0; m = 0
       fi
     }
  od
}

inline give_back() {
  d_step {
#ifndef LIVE
    assert(gone[i] || LATER(g, within[o]) || (IS_LEASE(o, i, g) && probes[o] > 0));
#endif
    if
    :: IS_LEASE(o, i, g) && probes[o] > 0 -> lease_step(o, i, g, probes[o] - 1)
    :: else
    fi
  }
}

inline add(o) {
  sum = sum + (within[o] == g -> probes[o] : 0)
}

inline read_word() {
  again = (state != BREAKER_HALF_OPEN || generation != g);
  n = successes
}

inline decide() {
#ifdef OWN_TWICE
  sum++;
#endif
  yes = (!again && sum + n <= PROBES);
  if
  :: yes ->
     probing[p] = g;
#ifndef LIVE
     admitted++;
     assert(BOUNDED)
#endif
  :: else
  fi;
  sum = 0; n = 0;
#ifdef LIVE
  looking = (yes -> 0 : looking)
#endif
}

#ifdef ANY_TICKET
#define IS_TICKET(g) true
#else
#define IS_TICKET(g) (generation == (g))
#endif

inline failed(from) {
  if
  :: state == from && IS_TICKET(g) ->
     assert(generation == g);
     word_step(BREAKER_OPEN, AFTER(generation), 0)
  :: else
  fi;
  probing[p] = 0
}

inline ended_well() {
#ifdef PLAIN_COUNT
  probing[p] = 0;
  if
  :: again
  :: !again && n + 1 == PROBES -> word_step(BREAKER_CLOSED, AFTER(g), 0)
  :: !again && n + 1 != PROBES -> word_step(BREAKER_HALF_OPEN, g, n + 1)
  fi;
#else
  again = (state != BREAKER_HALF_OPEN || !IS_TICKET(g));
  n = successes;
  probing[p] = 0;
  if
  :: again
  :: else ->
     assert(generation == g);
#ifndef LIVE
     counted = counted + !gone[i];
     assert(BOUNDED);
#endif
     if
     :: n + 1 == PROBES -> word_step(BREAKER_CLOSED, AFTER(generation), 0)
     :: else -> word_step(BREAKER_HALF_OPEN, generation, n + 1)
     fi
  fi;
#endif
  again = false; n = 0
}

inline probe() {
#ifdef LIVE
#ifndef OVERLAP
  atomic { looking == 0 -> looking = p + 1 }
#endif
#endif
#ifdef SUM_FIRST
  add(0);
  add(1);
#endif
  take();
  if
  :: atomic {
       over || again -> again = false; sum = 0; s = 0; g = 0; n = 0;
#ifdef LIVE
       looking = 0
#endif
     }
#ifdef WORD_FIRST
  :: atomic { !over && !again -> read_word() }
#else
  :: !over && !again ->
#endif
#ifndef SUM_FIRST
     add(0);
     add(1);
#endif
     atomic {
#ifndef WORD_FIRST
       read_word();
#endif
       decide()
     }
#ifdef GIVE_FIRST
     give_back();
#endif
     if
     :: !yes
#ifdef PLAIN_COUNT
     :: atomic { yes -> read_word() }; d_step { ended_well() }
#else
     :: d_step { yes -> ended_well() }
#ifdef COUNTED_TWICE
        d_step { ended_well() }
#endif
#endif
     :: d_step { yes -> failed(BREAKER_HALF_OPEN) }
#ifdef LIVE
     :: atomic { yes && !ignored -> ignored = true; probing[p] = 0 }
#ifdef HANGS
     :: atomic { yes && !hung && i == 1 -> hung = g }; false
#endif
#else
     :: atomic { yes -> clean = false; probing[p] = 0 } /* ignored, or cancelled */
#endif
     fi;
     atomic {
#ifndef GIVE_FIRST
       give_back();
#endif
#ifdef LIVE
       looking = (yes -> looking : 0);
#else
       calls = calls - !again;
#endif
       yes = false; again = false; s = 0; g = 0; n = 0
     }
  fi
}

/* OPEN when its time has passed, HALF_OPEN when the lease of its episode has run out. */
inline begin_episode() {
  d_step {
    if
#ifdef PLAIN_STORE
    :: true ->
#else
    :: state == s && generation == g && successes == n ->
#endif
#ifndef LIVE
       renewals = renewals + (s == BREAKER_HALF_OPEN);
#endif
       word_step(BREAKER_HALF_OPEN, AFTER(g), 0)
    :: else
    fi;
    s = 0; g = 0; n = 0
  }
}

proctype caller(byte p, o, i, calls) {
  byte s, g, n, sum, w, h, m;         /* g: the ticket */
  bool over, again, yes;
#ifdef LIVE
  {
#elif defined(REUSE)
  if
  :: i == 3 -> atomic { gone[owner[o]] -> owner[o] = i }
  :: else
  fi;
#endif
  do
#ifdef LIVE
  :: left -> break
#define READ(condition) !left && (condition) -> \
  s = state; g = generation; n = successes
#else
  :: atomic { calls == 0 || over -> ended[p] = true; over = false; calls = 0 }; break
#define READ(condition) \
  calls > 0 && !over && (condition) -> s = state; g = generation; n = successes
  :: atomic { READ(state == BREAKER_CLOSED) }; /* no probe: one failure too many */
     atomic { failed(BREAKER_CLOSED); calls--; s = 0; g = 0; n = 0 }
  :: atomic {                         /* rejected, or no probe, and all went well */
       READ(state != BREAKER_HALF_OPEN) -> calls--; s = 0; g = 0; n = 0
     }
#endif
  :: atomic { READ(state == BREAKER_HALF_OPEN && STANDS) }; probe()
#if !defined(REUSE) && !defined(OPERATOR)
  :: atomic { READ(state == BREAKER_HALF_OPEN && LAPSED) }; begin_episode()
#endif
  :: atomic { READ(state == BREAKER_OPEN && due) }; begin_episode()
  od;
#ifdef LIVE
  } unless {
    atomic {
      gone[i];
      if
      :: looking == p + 1 -> looking = 0
      :: else
      fi;
      s = 0; g = 0; n = 0; sum = 0; again = false; yes = false
    }
  }
#else
  skip
#endif
}

#if defined(REUSE) || defined(LIVE)
#ifdef CLEAR_ONLY_OWNERS
#define OF_THE_DEAD(i, w) ((i) != 0 && (i) == (w) && gone[i])
#else
#define OF_THE_DEAD(i, w) ((i) != 0 && ((i) != (w) || gone[i]))
#endif

/* The lease is read first, then who has the slot: that one came later, or is the lease's owner. */
proctype clearer(byte times) {
  byte i, g, n, w;
end:
  do
  :: times == 0 -> break
  :: times > 0 && OF_THE_DEAD(whose[0], owner[0]) ->
#ifdef OWNER_FIRST
     w = owner[0];
#endif
     atomic { i = whose[0]; g = within[0]; n = probes[0] }
#ifndef OWNER_FIRST
     w = owner[0];
#endif
     if
     :: OF_THE_DEAD(i, w) ->
        d_step {
          if
#ifdef CLEAR_ANY
          :: whose[0] != 0 ->
#else
          :: whose[0] == i && within[0] == g && probes[0] == n ->
#endif
             lease_step(0, 0, 0, 0)
          :: else
          fi
        }
     :: else
     fi;
     atomic { i = 0; g = 0; n = 0; w = 0; times-- }
  od
}
#endif

#ifdef OPERATOR
proctype operator() {
  d_step { word_step(BREAKER_FORCED_OPEN, AFTER(generation), 0) }
  if
  :: d_step { word_step(BREAKER_DISABLED, AFTER(generation), 0) }
  :: true
  fi;
  d_step { word_step(BREAKER_CLOSED, AFTER(generation), 0) }
}
#endif

init {
  atomic {
    owner[0] = 1; owner[1] = 2;
#ifdef OPERATOR
    run operator();
#endif
#ifdef LIVE
    run caller(0, 0, 1, 0); run caller(1, 0, 1, 0); run caller(2, 1, 2, 0);
#ifndef NO_CLEAR
    run clearer(1);
#endif
  };
  due = true;
#ifdef DEATHS
  if                                  /* at any moment, or never */
  :: gone[1] = true
  :: true
  fi
#endif
#else
#ifdef REUSE
    run caller(0, 0, 1, 1); run caller(1, 1, 2, CALLS); run caller(2, 0, 3, 1);
    run clearer(1)
#else
    if
    :: true
    :: state = BREAKER_CLOSED
    fi;
    run caller(0, 0, 1, 1); run caller(1, 0, 1, 1); run caller(2, 1, 2, CALLS)
#endif
  }
#ifdef REUSE
  atomic { gone[1] = true; clean = false } /* at any moment, whether or not it lives on */
#endif
#endif
}

#ifndef LIVE
#ifdef REUSE
#define OVER(p) (ended[p] || gone[INCARNATION(p)])
#else
#define OVER(p) ended[p]
#endif
active proctype judge() {
end:
  atomic {
    OVER(0) && OVER(1) && OVER(2);
#ifdef REUSE
    if
    :: OF_THE_DEAD(whose[0], owner[0]) -> lease_step(0, 0, 0, 0)
    :: else
    fi;
#endif
    assert(probes[0] == 0 && probes[1] == 0)
  }
}
#endif
