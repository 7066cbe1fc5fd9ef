/* Folding. Proves, for a folder that may be killed between any two steps, twice, with another taking
   over, a reader without locks at any speed, and a slot that is taken again meanwhile:

   - the counts of every process are in the sum of any reader exactly once, whatever was folded
     while it read;
   - at every moment: in the totals once, or in a file that readers look at, never both;
   - a slot is free again only when its counts are in the totals (OWNER_*, TOTALS_FLIP of steps.h).

   Code: finish_last, _fold_batch, _give_back (store/fold), snapshot (store/counts), register
   (store/owners). Two dead owners, a batch of one each, so that one batch waits behind another.

   Negative controls: -DNO_LIST (the totals do not say whom the last fold added), -DNO_EPOCH (a
   reader does not look again), -DFOLDED_FIRST (an owner is marked before the rename),
   -DIN_PLACE (the totals are changed, not replaced: sums, then the list). */
#include "steps.h"

#define SLOTS 2
#define OWNERS 4                      /* incarnations 1 and 2 are dead, 3 comes later; 0 is none */
#define KILLS 2

byte incarnation[SLOTS], generation[SLOTS], state[SLOTS];
byte file[SLOTS];                     /* agg-<slot>: whose counts it has, 0 for none */
bool dead[OWNERS];
byte epoch, listed;                   /* agg-retired: one file, renamed over the one before */
byte total[OWNERS];                   /* how often it has the counts of each incarnation */
byte kills;
byte begun[OWNERS];                   /* an incarnation that has counted */

inline owner_step(o, i2, g2, s2) {
  assert(OWNER_REGISTER(incarnation[o], generation[o], state[o], i2, g2, s2)
         || OWNER_EXIT(incarnation[o], generation[o], state[o], i2, g2, s2)
         || OWNER_DIE(incarnation[o], generation[o], state[o], i2, g2, s2)
         || OWNER_FOLD(incarnation[o], generation[o], state[o], i2, g2, s2)
         || OWNER_FREE(incarnation[o], generation[o], state[o], i2, g2, s2));
  incarnation[o] = i2; generation[o] = g2; state[o] = s2
}

inline give_back(o, i) {
  atomic {
    if
    :: state[o] != FOLDED -> owner_step(o, i, generation[o], FOLDED)
    :: else
    fi
  }
  file[o] = 0;
  atomic { assert(i == 0 || total[i] == 1); owner_step(o, 0, generation[o] + 1, NOBODY) }
}

proctype folder() {
  byte o, i, e, read[OWNERS];
again:
  {
    /* finish_last */
    for (o : 0 .. SLOTS - 1) {
      i = incarnation[o];
      if
      :: state[o] == FOLDED || ((state[o] == DEAD || state[o] == EXITED) && i == listed && i != 0) ->
         give_back(o, i)
      :: else
      fi
    }
    for (o : 0 .. SLOTS - 1) {
      i = incarnation[o];
      if
      :: state[o] == LIVE && dead[i] -> atomic { owner_step(o, i, generation[o], DEAD) }
      :: else
      fi;
      if
      :: state[o] == DEAD || state[o] == EXITED ->
         atomic {                     /* totals and files, read while nobody else changes them */
           e = epoch;
           for (i : 1 .. OWNERS - 1) { read[i] = total[i] }
           i = incarnation[o]
         }
         if
         :: file[o] == i -> read[i]++
         :: else
         fi;
#ifdef FOLDED_FIRST
         atomic { owner_step(o, i, generation[o], FOLDED) }
#endif
         /* a temporary file: nobody sees it */
#ifdef IN_PLACE
         atomic { total[1] = read[1]; total[2] = read[2]; total[3] = read[3] }
         atomic { epoch = e + 1; listed = i }
#else
         atomic {                     /* the rename */
           assert(TOTALS_FLIP(epoch, e + 1));
           total[1] = read[1]; total[2] = read[2]; total[3] = read[3];
           epoch = e + 1;
#ifdef NO_LIST
           listed = 0
#else
           listed = i
#endif
         }
#endif
         give_back(o, i)
      :: else
      fi;
      atomic { e = 0; read[1] = 0; read[2] = 0; read[3] = 0 }
    }
    o = 0; i = 0
  } unless {
    atomic {
      kills > 0 && kills % 2 == 1 -> kills++;
      o = 0; i = 0; e = 0; read[1] = 0; read[2] = 0; read[3] = 0;
      goto again
    }
  }
}

proctype killer() {
  byte n;
  for (n : 1 .. KILLS) {
    atomic { kills % 2 == 0 -> kills++ }
  }
}

/* A new process takes the first slot that is free, and counts. */
proctype newcomer() {
  byte o;
  if
  :: atomic { state[0] == NOBODY -> o = 0 }
  :: atomic { state[1] == NOBODY -> o = 1 }
  fi;
  file[o] = 3;
  atomic { owner_step(o, 3, generation[o], LIVE); begun[3] = 1 }
}

/* snapshot: no lock, one file at a time. */
proctype reader() {
  byte e, o, i, s, sum[OWNERS], who;
  bool had;
  do
  :: atomic {                         /* agg-retired is opened once: one file or the other */
       e = epoch; who = listed; had = begun[3];
       sum[1] = total[1]; sum[2] = total[2]; sum[3] = total[3]
     }
     for (o : 0 .. SLOTS - 1) {
       atomic { i = incarnation[o]; s = state[o] }
       if
       :: s == NOBODY || s == FOLDED || (i == who && i != 0)
       :: else ->
          atomic {                    /* open, and compare the incarnation in its header */
            if
            :: file[o] == i && i != 0 -> sum[i]++
            :: else
            fi
          }
       fi
     }
#ifdef NO_EPOCH
     break
#else
     if
     :: e == epoch -> break
     :: else -> atomic { sum[1] = 0; sum[2] = 0; sum[3] = 0 }
     fi
#endif
  od;
  assert(sum[1] == 1 && sum[2] == 1);
  assert(sum[3] <= 1 && (sum[3] == 1 || !had))
}

init {
  atomic {
    incarnation[0] = 1; state[0] = LIVE; file[0] = 1; dead[1] = true;
    incarnation[1] = 2; state[1] = EXITED; file[1] = 2; dead[2] = true;
    begun[1] = 1; begun[2] = 1;
    run folder(); run killer(); run newcomer(); run reader()
  }
}

active proctype judge() {
  byte i, o, n;
end:
  do
  :: atomic {
    for (i : 1 .. OWNERS - 1) {
      n = total[i];
      for (o : 0 .. SLOTS - 1) {
        if
        :: incarnation[o] == i && state[o] != FOLDED && listed != i && file[o] == i -> n++
        :: else
        fi
      }
      assert(n == begun[i])
    }
    i = 0; o = 0; n = 0
  }
  od
}
