/* Lanes. Proves, for writers, closers and readers that may each be stopped for ever between any
   two steps (so a kill is covered: it is a process that takes no further step):

   - a row that a lane word counts is whole, and is never written again;
   - CLOSED never changes, a count never falls (LANE_* of steps.h);
   - what was acknowledged is visible exactly once; of what was not, at most one row a writer;
   - a writer's steps are bounded: no cycle without progress.

   Code: writer_put, take_lane, writer_leave_lane (_core/ring), close_lanes (_core/segment);
   with -DPURE Writer.put, _settle, leave_lane (_pure/writer) and Segments._seal (_pure/ring),
   where a commit is a look and a store, and whoever closes holds LOCK_CLAIM. There, between a
   commit over a CLOSED word and its settlement, one row is in limbo: a reader may be shown it.

   -DCYCLES leaves the judge out, who goes round for ever, for the search for cycles.

   Negative controls: -DCOUNT_FIRST (the count before the row is whole), -DPLAIN_COMMIT (a store in
   place of the compare-and-swap), -DNO_RETRY (a closer that does not look again),
   -DPURE -DNO_SETTLE (a commit that does not look at the segment afterwards). */
#include "steps.h"

#define WRITERS 2
#define RECORDS 2
#define ROWS 2
#ifndef LANES
#define LANES 3
#endif
#ifndef CLOSERS
#define CLOSERS 1
#endif
#define NONE 255

byte state[LANES], count[LANES];      /* the lane word: both in one step, always */
byte head[LANES * ROWS], tail[LANES * ROWS]; /* a row: two plain stores */
byte next_lane;
byte segment = ACTIVE;
bool closed_once[LANES];
byte final[LANES];
byte acknowledged[WRITERS];
byte limbo[WRITERS] = NONE;           /* PURE: the row that is being settled */
bool locked;                          /* PURE: LOCK_CLAIM */

/* Every change of a lane word goes through here. */
inline change(l, s2, n2) {
  assert(LANE_CLAIM(state[l], count[l], s2, n2) || LANE_COMMIT(state[l], count[l], s2, n2)
         || LANE_CLOSE(state[l], count[l], s2, n2));
  if
  :: s2 == CLOSED -> closed_once[l] = true; final[l] = n2
  :: else
  fi;
  state[l] = s2; count[l] = n2
}

inline write_row(l, r, value) {
  assert(count[l] <= r);              /* never into a visible row */
  head[l * ROWS + r] = value;
  assert(count[l] <= r);
  tail[l * ROWS + r] = value
}

#ifdef PURE
inline take_lock() { atomic { !locked -> locked = true } }
inline drop_lock() { locked = false }

inline commit(l, r, ok) {
  atomic {                            /* words[word] != expected */
    ok = (state[l] == OPEN && count[l] == r);
  }
  if
  :: ok ->
     d_step {                         /* words[word] = expected + 1, whatever is there by now */
       if
       :: state[l] == CLOSED -> limbo[_pid] = l * ROWS + r
       :: else -> assert(LANE_COMMIT(state[l], count[l], OPEN, r + 1))
       fi;
       state[l] = OPEN; count[l] = r + 1
     }
#ifndef NO_SETTLE
     if
     :: segment == ACTIVE
     :: else ->
        take_lock();
        d_step {
          ok = (state[l] == CLOSED && count[l] == r + 1);
          if
          :: state[l] != CLOSED ->    /* of a word that was CLOSED, or would have been */
             state[l] = CLOSED; count[l] = r;
             assert(!closed_once[l] || final[l] == r);
             closed_once[l] = true; final[l] = r
          :: else
          fi;
          limbo[_pid] = NONE
        }
        drop_lock();
        l = (ok -> l : NONE)
     fi
#endif
  :: else
  fi
}

inline leave(l, r) {
  take_lock();
  d_step {
    if
    :: state[l] == OPEN && count[l] == r -> change(l, CLOSED, r)
    :: else
    fi
  }
  drop_lock()
}
#else
inline commit(l, r, ok) {
  d_step {
#ifdef PLAIN_COMMIT
    state[l] = OPEN; count[l] = r + 1; ok = true;
#else
    ok = (state[l] == OPEN && count[l] == r);
    if
    :: ok -> change(l, OPEN, r + 1)
    :: else
    fi
#endif
  }
}

inline leave(l, r) {
  d_step {
    if
    :: state[l] == OPEN && count[l] == r -> change(l, CLOSED, r)
    :: else
    fi
  }
}
#endif

inline claim(l, r) {
#ifdef PURE
  take_lock();
#endif
  do
  :: next_lane >= LANES || segment != ACTIVE -> break
  :: else ->
     atomic { l = next_lane; next_lane++ };
     if
     :: l >= LANES -> l = NONE; break
     :: else
     fi;
     d_step {
       if
       :: state[l] == FREE -> change(l, OPEN, 0); r = 0
       :: else -> l = NONE
       fi
     }
     if
     :: l != NONE -> break
     :: else
     fi
  od;
#ifdef PURE
  drop_lock()
#endif
}

active [WRITERS] proctype writer() {
  byte l = NONE, r, k = 1;
  bool ok;
  do
  :: k > RECORDS -> break
  :: else ->
     if
     :: l != NONE && r > 0 -> leave(l, r); d_step { l = NONE; r = 0 } /* or no room in the arena */
     :: l == NONE || r < ROWS
     fi;
     if
     :: l == NONE ->
        claim(l, r);
        if
        :: l == NONE -> break         /* the next segment: not of this model */
        :: else
        fi
     :: else
     fi;
#ifdef COUNT_FIRST
     commit(l, r, ok);
     if
     :: ok -> head[l * ROWS + r] = 16 * _pid + k; tail[l * ROWS + r] = 16 * _pid + k
     :: else
     fi;
#else
     write_row(l, r, 16 * _pid + k);
     commit(l, r, ok);
#endif
     if
     :: ok -> d_step { acknowledged[_pid] = k; k++; r++; ok = false }
     :: else -> d_step { l = NONE; r = 0 } /* closed under us: the same record, another lane */
     fi
  od
}

/* Anybody, knowing nothing of who is alive: closes lanes of a dead owner, or seals the segment. */
#ifdef PURE
active proctype closer() {
  byte l, n;
  bool open;
  take_lock();
  segment = SEALING;
  for (l : 0 .. LANES - 1) {
    atomic { open = (state[l] != CLOSED); n = count[l] };
    if
    :: open ->
       d_step {                       /* a plain store: a commit may lie in between */
         state[l] = CLOSED; count[l] = n; closed_once[l] = true; final[l] = n
       }
    :: else
    fi
  }
  segment = SEALED;
  drop_lock()
}
#else
active [CLOSERS] proctype closer() {
  byte l, s, n;
  bool done;
  for (l : 0 .. LANES - 1) {
    if
    :: true ->
       atomic { s = state[l]; n = count[l]; done = (s == CLOSED) };
       do
       :: done -> break
       :: else ->
          d_step {
            if
            :: state[l] == s && count[l] == n -> change(l, CLOSED, n); done = true
            :: else -> s = state[l]; n = count[l]; done = (s == CLOSED)
#ifdef NO_RETRY
               ; done = true; closed_once[l] = true; final[l] = n
#endif
            fi
          }
       od
    :: true                           /* or leaves it */
    fi
  }
}
#endif

/* What a consumer does: one look at the word, the cells afterwards, one by one. */
active proctype reader() {
  byte l, r, n, value;
  for (l : 0 .. LANES - 1) {
    n = count[l];
    r = 0;
    do
    :: r == n -> break
    :: else ->
       value = head[l * ROWS + r];
       atomic { assert(value != 0 && value == tail[l * ROWS + r]); value = 0; r++ }
    od;
    atomic { r = 0; n = 0 }
  }
}

#ifndef CYCLES
/* Everything a reader could find out, at one moment: whenever this process is scheduled. */
active proctype judge() {
  byte l, r, w, k, copies;
end:
  do
  :: atomic {
    for (l : 0 .. LANES - 1) {
      assert(!closed_once[l] || (state[l] == CLOSED && count[l] == final[l])
             || (limbo[0] != NONE && limbo[0] / ROWS == l)
             || (limbo[1] != NONE && limbo[1] / ROWS == l));
      r = 0;
      do
      :: r == count[l] -> break
      :: else -> assert(head[l * ROWS + r] != 0 && head[l * ROWS + r] == tail[l * ROWS + r]); r++
      od
    }
    for (w : 0 .. WRITERS - 1) {
      for (k : 1 .. RECORDS) {
        copies = 0;
        for (r : 0 .. LANES * ROWS - 1) {
          if
          :: r % ROWS < count[r / ROWS] && head[r] == 16 * w + k && limbo[w] != r -> copies++
          :: else
          fi
        }
        assert(copies <= 1);
        assert(k > acknowledged[w] || copies == 1);
        assert(k <= acknowledged[w] + 1 || copies == 0)
      }
    }
    l = 0; r = 0; w = 0; k = 0; copies = 0
  }
  od
}
#endif
