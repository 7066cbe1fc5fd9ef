/* Bulkhead. Proves, for calls that may each be stopped for ever between any two steps, and, with
   -DREUSE, an owner that is declared dead at any moment, whether it is or not, a slot that is
   taken again at once, and whoever clears the permits of the dead, slowly:

   - no more than LIMIT calls are inside, those of owners that were declared dead left out;
   - a refusal is right: the limit was reached when that call came, or another came while it
     looked;
   - when all calls have ended and the dead are cleared, no permit is left;
   - the word changes as HOLD_* of control.h have it.

   Of two who come at the same time for the last permit, none may get it. Two calls of one owner
   and one of another; with -DREUSE, one of each of two owners, and one of a third, who takes the
   slot of the first. Code: none yet.

   Negative controls: -DSUM_FIRST (the sum is read before the own permit is taken), -DPLAIN_TAKE
   (the own permit is stored, not swapped), -DGIVE_FIRST (a permit is given back before the call
   has ended), -DOWN_TWICE (the own permit is added to a sum that has it), -DKEEP_REFUSED (who is
   refused keeps its permit), -DANY_INCARNATION (a permit is taken over those of the slot's next
   owner), -DPRESENT_OWNER (it is given back as one of whoever has the slot by then), -DNO_CLEAR
   (permits of the dead stay), -DCLEAR_ANY (permits are cleared whatever they are by then),
   -DOWNER_FIRST (who has the slot is read before its permits), -DCLEAR_ONLY_OWNERS (only permits
   of the slot's present owner are cleared). */
#include "control.h"

#ifndef LIMIT
#define LIMIT 1
#endif
#define SLOTS 2
#define CALLERS 3
#define INCARNATIONS 4

byte whose[SLOTS], permits[SLOTS];    /* Q[o]: incarnation, permits: one word */
byte owner[SLOTS];                    /* the incarnation that has the slot */
bool gone[INCARNATIONS];              /* declared dead */
bool inside[CALLERS];
bool looking[CALLERS];                /* has a permit, and has not been told that it is one */
bool right[CALLERS];                  /* may be refused */
bool ended[CALLERS];
#ifdef REUSE
#define INCARNATION(p) ((p) + 1)
#else
#define INCARNATION(p) ((p) / 2 + 1)
#endif
#define IN(p) (inside[p] && !gone[INCARNATION(p)])

inline hold_step(o, i2, n2) {
#ifndef ANY_INCARNATION
  assert(HOLD_TAKE(whose[o], permits[o], i2, n2) || HOLD_BEGIN(whose[o], permits[o], i2, n2)
         || HOLD_GIVE(whose[o], permits[o], i2, n2) || HOLD_CLEAR(whose[o], permits[o], i2, n2));
#endif
  whose[o] = i2; permits[o] = n2
}

/* Whoever looks at the same time may be the reason for a refusal. */
inline come() {
  right[p] = (permits[0] + permits[1] >= LIMIT || looking[0] || looking[1] || looking[2]);
  right[0] = (right[0] || looking[0]);
  right[1] = (right[1] || looking[1]);
  right[2] = (right[2] || looking[2]);
  looking[p] = true
}

/* A loop of load and swap is one step: what a failed swap has read is forgotten. */
inline take() {
#ifdef PLAIN_TAKE
  atomic { n = (whose[o] == i -> permits[o] : 0) }
  d_step { hold_step(o, i, n + 1); n = 0 }
#else
  d_step {
#ifndef ANY_INCARNATION
    over = (whose[o] > i);            /* we were declared dead, and another has the slot */
#endif
    if
#ifdef REUSE
    :: over
#endif
    :: !over && whose[o] == i -> hold_step(o, i, permits[o] + 1)
    :: !over && whose[o] != i -> hold_step(o, i, 1)
    fi
  }
#endif
}

#ifdef PRESENT_OWNER
#define OURS owner[o]
#else
#define OURS i
#endif
inline give_back() {
  d_step {
    assert(gone[i] || (whose[o] == i && permits[o] > 0));
    if
    :: whose[o] == OURS && permits[o] > 0 -> hold_step(o, OURS, permits[o] - 1)
    :: else
    fi
  }
}

inline decide() {
#ifdef OWN_TWICE
  sum++;
#endif
  yes = (sum <= LIMIT);
  assert(yes || right[p]);
  inside[p] = yes;
  looking[p] = (looking[p] && !yes);
  right[p] = false;
  sum = 0;
  assert(IN(0) + IN(1) + IN(2) <= LIMIT)
}

proctype caller(byte p, o, i, calls) {
  byte sum, n;
  bool over, yes;
#ifdef REUSE
  if
  :: atomic { i == 3 && gone[owner[o]] -> owner[o] = i }
  :: atomic { i == 3 && gone[owner[o]] -> owner[o] = i; calls = 0 }
  :: i != 3
  fi;
#endif
  do
  :: atomic { calls == 0 || over -> ended[p] = true; over = false; calls = 0 }; break
  :: atomic { calls > 0 && !over -> calls-- }
#ifdef SUM_FIRST
     atomic { come(); sum = permits[0] + 1 }
     sum = sum + permits[1];
     take();
#else
     atomic { come() }
     take();
#endif
     if
#ifdef REUSE
     :: atomic { over -> sum = 0; looking[p] = false }
#endif
     :: !over ->
#ifndef SUM_FIRST
        sum = permits[0];
        sum = sum + permits[1];
#endif
        atomic { decide() }
#ifdef GIVE_FIRST
        give_back();
#endif
        if
        :: atomic { yes -> inside[p] = false; yes = false } /* the call has ended */
#ifdef KEEP_REFUSED
           give_back()
#endif
        :: !yes
        fi;
#ifndef GIVE_FIRST
#ifndef KEEP_REFUSED
        atomic { give_back(); looking[p] = false }
#endif
#endif
     fi
  od
}

#ifdef REUSE
#ifdef CLEAR_ONLY_OWNERS
#define OF_THE_DEAD(i, w) ((i) != 0 && (i) == (w) && gone[i])
#else
#define OF_THE_DEAD(i, w) ((i) != 0 && ((i) != (w) || gone[i]))
#endif

/* The permits are read first, then who has the slot: that one came later, or has these. */
proctype clearer(byte times) {
  byte i, n, w;
end:
  do
  :: times == 0 -> break
  :: times > 0 && OF_THE_DEAD(whose[0], owner[0]) ->
#ifdef OWNER_FIRST
     w = owner[0];
#endif
     atomic { i = whose[0]; n = permits[0] }
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
          :: whose[0] == i && permits[0] == n ->
#endif
             hold_step(0, 0, 0)
          :: else
          fi
        }
     :: else
     fi;
     atomic { i = 0; n = 0; w = 0; times-- }
  od
}
#endif

init {
  atomic {
    owner[0] = 1; owner[1] = 2;
#ifdef REUSE
    run caller(0, 0, 1, 2); run caller(1, 1, 2, 2); run caller(2, 0, 3, 1);
#ifndef NO_CLEAR
    run clearer(1)
#endif
  };
  gone[1] = true                      /* at any moment, whether or not it lives on */
#else
    run caller(0, 0, 1, 2); run caller(1, 0, 1, 1); run caller(2, 1, 2, 2)
  }
#endif
}

#define OVER(p) (ended[p] || gone[INCARNATION(p)])
active proctype judge() {
end:
  atomic {
    OVER(0) && OVER(1) && OVER(2);
#ifdef REUSE
#ifndef NO_CLEAR
    if
    :: OF_THE_DEAD(whose[0], owner[0]) -> hold_step(0, 0, 0)
    :: else
    fi;
#endif
#endif
    assert(permits[0] == 0 && permits[1] == 0)
  }
}
