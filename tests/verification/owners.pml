/* Owners: one slot, which processes take, lose and take again. Proves, for two processes in PID
   namespaces of their own, each of which may be killed or lose its lock alive at any moment, and
   maintainers, one of which may be killed between any two steps:

   - every count is in the domain's sum exactly once, at every moment: also that of a process that
     was declared dead, slept, and wakes up when its slot has another owner;
   - who finds that it was declared dead registers anew before it counts;
   - burying closes the lanes of the buried alone (OWNER_*, FENCE_* of steps.h).

   Assumed, as docs/protocol.md says: a process that is alive and silent is not stopped in the
   middle of a record for longer than the maintainer waits, and none closes its descriptors while
   it registers. Folding is one step here; fold.pml has its steps.

   Code: _take_slot, change_state, say_exited (store/owners), _bury, _declare_dead
   (store/maintain), _give_back (store/fold), awake (_core/recorder), record (_pure/record).

   Negative controls: -DFENCE_IS_A_FLAG (a new owner lowers the fence of the slot, for whoever looks
   at it), -DSAME_INCARNATION (numbers of owners come back), -DNO_WAIT (counts of a silent owner are
   copied at once), -DNO_BUMP (a slot is given back with the same generation). */
#include "steps.h"

#define PROCESSES 2
#define INCARNATIONS 4

byte incarnation, generation, state;  /* the owner word: one word, changed in one step */
byte fence;                           /* a word of its own */
byte next_incarnation = 1;
byte file;                            /* agg-<slot>: the incarnation in its header, 0 for none */
byte counts[INCARNATIONS];            /* of the file of each incarnation, named or not */
byte holder;                          /* who holds the slot's lock byte: process + 1 */
bool alive[PROCESSES] = true;
bool owns[PROCESSES];
bool busy[PROCESSES];                 /* between the look at the fence and the commit */
byte process_of[INCARNATIONS];
byte lane[PROCESSES], lane_tag[PROCESSES], lane_of[PROCESSES];
byte totals, listed;                  /* agg-retired, and whom the last fold added */
byte counted;                         /* what has been counted, by whomever */

inline owner_step(i2, g2, s2) {
  assert(OWNER_REGISTER(incarnation, generation, state, i2, g2, s2)
         || OWNER_EXIT(incarnation, generation, state, i2, g2, s2)
         || OWNER_DIE(incarnation, generation, state, i2, g2, s2)
         || OWNER_FOLD(incarnation, generation, state, i2, g2, s2)
#ifdef NO_BUMP
         || (state == FOLDED && s2 == NOBODY)
#endif
         || OWNER_FREE(incarnation, generation, state, i2, g2, s2));
  incarnation = i2; generation = g2; state = s2
}

inline drop_lock(p) {
  if
  :: holder == p + 1 -> holder = 0
  :: else
  fi
}

#ifdef FENCE_IS_A_FLAG
#define MAY_WRITE(i) (fence == 0)
#define GRANT(i) fence = 0
#define RAISE(i) fence = 1
#else
#define MAY_WRITE(i) (fence == (i))
#define GRANT(i) assert(FENCE_GRANT(fence, i, state, 0)); fence = i
#define RAISE(i) assert(FENCE_RAISE(fence, 0, state, i)); fence = 0
#endif

proctype process(byte p, registrations, most) {
  byte g, i, times, records;
  {
    do
    :: times == registrations -> break
    :: else ->
       times++;
       atomic {
         if
         :: holder == 0 -> holder = p + 1
         :: else -> break
         fi
       }
       atomic {
         g = generation; i = state
       }
       if
       :: i != NOBODY -> holder = 0; break
       :: else
       fi;
#ifdef SAME_INCARNATION
       i = 1;
#else
       atomic { i = next_incarnation; next_incarnation++ }
#endif
       atomic { GRANT(i) }
       atomic { file = i; counts[i] = 0; process_of[i] = p }
       atomic {                       /* cannot fail: the lock is ours (it would show as a stop) */
         state == NOBODY && generation == g -> owner_step(i, g, LIVE); owns[p] = true
       }
       do
       :: records == most -> break
       :: else ->
          busy[p] = true;
          if
          :: MAY_WRITE(i) ->
             atomic { counts[i]++; counted++ }
             atomic {                 /* commit, or claim another lane and commit */
               if
               :: lane[p] == OPEN
               :: else -> lane[p] = OPEN; lane_tag[p] = g; lane_of[p] = i
               fi;
               records++;
               busy[p] = false
             }
          :: else -> break            /* declared dead */
          fi
       od;
       /* wake, or leave in order: close the lane, say so, let go */
       atomic { lane[p] = CLOSED; busy[p] = false }
       atomic {
         if
         :: state == LIVE && incarnation == i && generation == g -> owner_step(i, g, EXITED)
         :: else
         fi;
         owns[p] = false
       }
       drop_lock(p)
    od;
    alive[p] = false
  } unless {
    atomic { !alive[p] -> busy[p] = false }
  }
}

/* What happens to a process: it closes all its descriptors, or is killed. */
proctype fate(byte p) {
  if
  :: atomic { p == 0 && alive[p] && owns[p] -> drop_lock(p) }
  :: true
  fi;
  if
  :: atomic { alive[p] = false; drop_lock(p) }
  :: true
  fi
}

bool killed;                          /* the maintainer, once: another goes on */

inline give_back() {
  atomic {
    if
    :: state != FOLDED -> owner_step(incarnation, generation, FOLDED)
    :: else
    fi
  }
  file = 0;
  atomic {
#ifdef NO_BUMP
    owner_step(0, generation, NOBODY)
#else
    owner_step(0, generation + 1, NOBODY)
#endif
  }
}

/* One at a time, as LOCK_MAINTAIN has it; what a killed one knew is lost. */
proctype maintainer() {
  byte i, g, q;
  bool gone;
again:
  atomic { i = 0; g = 0; q = 0; gone = 0 }
  {
end:
    do
    :: atomic { state != NOBODY && holder == 0 -> skip }
       /* finish_last */
       if
       :: state == FOLDED || ((state == DEAD || state == EXITED) && incarnation == listed) ->
          give_back()
       :: else ->
          atomic { i = incarnation; g = generation }
          if
          :: state != NOBODY && holder == 0 ->
             gone = !alive[process_of[i]];
             if
#ifdef FENCE_IS_A_FLAG
             :: fence == 0 -> atomic { RAISE(i) }
#else
             :: fence == i -> atomic { RAISE(i) }
#endif
             :: else
             fi;
             atomic {
               if
               :: state == LIVE && incarnation == i -> owner_step(i, g, DEAD)
               :: else
               fi
             }
             for (q : 0 .. PROCESSES - 1) {
               atomic {
                 if
                 :: lane[q] == OPEN && lane_tag[q] == g -> assert(lane_of[q] == i); lane[q] = CLOSED
                 :: else
                 fi
               }
             }
#ifndef NO_WAIT
             if
             :: gone
             :: !gone -> !busy[process_of[i]] /* a second, from the fence on */
             fi;
#endif
             if
             :: (state == DEAD || state == EXITED) && incarnation == i ->
                atomic {              /* the rename of agg-retired */
                  if
                  :: file == i -> totals = totals + counts[i]
                  :: else
                  fi;
                  listed = i
                }
                give_back()
             :: else
             fi
          :: else
          fi
       fi;
       atomic { i = 0; g = 0; q = 0; gone = 0 }
    od
  } unless {
    atomic { killed -> killed = false; goto again }
  }
}

init {
  atomic {
    run process(0, 2, 2); run process(1, 1, 1); run fate(0); run fate(1);
    run maintainer()
  };
  killed = true                       /* at any moment */
}

active proctype judge() {
  byte sum;
end:
  do
  :: atomic {
    sum = totals;
    if
    :: state != NOBODY && state != FOLDED && incarnation != listed && file == incarnation ->
       sum = sum + counts[incarnation]
    :: else
    fi;
    assert(sum == counted);
    sum = 0
  }
  od
}
