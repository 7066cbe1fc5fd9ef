/* Segments: published, used, retired. Proves, for processes that may each be stopped for ever
   between any two steps, and wake up at any later one:

   - a name shows a segment with a whole header or nothing;
   - what was acknowledged is, at any moment, in a segment that readers look at or among those that
     were retired, exactly once; the table has the rows of each of the last TABLE - 1 retired:
     retiring loses nothing uncounted;
   - nothing is retired but what is over the budget, however many retire at once, so there is
     always a segment to write to (OLDEST_RETIRE, NEWEST_RAISE, SEGMENT_* of steps.h);
   - the total is that of the segments that it says it has, each once, whoever dies: of all that
     were retired, and for a moment of the next (RETIRED_ADD).

   Code: next_segment, take_lane (_core/ring), publish, publish_ahead, raise_newest, retire,
   retire_over_budget (_core/segment); _pure/ring does the same steps under LOCK_CLAIM, and so has
   fewer orders of them. A segment is a lane of one row here; the table has two entries, so numbers
   share them. -DAHEAD adds one who names segments before anybody needs them, as the compiled core
   does; LOCK_NAMES and the word that says what has its name are manners and a hint: not here.

   Negative controls: -DUNLINK_FIRST (the name goes before segment_oldest moves), -DLOOK_TWICE (the
   budget is checked for one segment, and whichever is the oldest then is retired), -DPLAIN_NOTE
   (the table is stored to, not swapped), -DFULL_WINDOW (readers trust all entries of the table),
   -DCANNOT_IS_GONE (what cannot be opened for want of descriptors counts as gone), -DHEADER_LAST
   (linked before the header is written), -DNO_SEAL (lanes are left open), -DADD_LAST (the total is
   raised by whoever has moved segment_oldest on), -DADD_ALONE (it is raised without saying of how
   many segments it is). */
#include "steps.h"

#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef RECORDS
#define RECORDS 2
#endif
#define RETIRERS 2
#ifndef NUMBERS
#define NUMBERS 2                     /* segment numbers 1 to NUMBERS */
#endif
#define MOST 1                        /* segments that the budget holds */
#define TABLE 2
#ifdef AHEAD
#define FILES ((WRITERS + 1) * NUMBERS + 1)
#else
#define FILES (WRITERS * NUMBERS + 1) /* inodes; 0 is none */
#endif
#define NOTED 255
#define NOTE(n, r) (2 * (n) + (r))    /* an entry of the table: one word */

byte name[NUMBERS + 2];               /* seg-<n>: the inode, 0 for none */
byte newest, oldest = 1;
byte table[TABLE];
byte rows_retired, segments_retired;  /* one word */
byte files = 1;                       /* next inode */
byte number_of[FILES];                /* header: 0 until it is written */
byte segment[FILES], taken[FILES], lane[FILES], rows[FILES];
byte acknowledged, committed;
byte final[NUMBERS + 2];              /* rows that a segment had when it was retired */

inline lane_step(f, s2, n2) {
  assert(LANE_CLAIM(lane[f], rows[f], s2, n2) || LANE_COMMIT(lane[f], rows[f], s2, n2)
         || LANE_CLOSE(lane[f], rows[f], s2, n2));
  lane[f] = s2; rows[f] = n2
}

inline segment_step(f, s2) {
  atomic {
    assert(SEGMENT_SEAL(segment[f], s2) || SEGMENT_SEALED(segment[f], s2));
    segment[f] = s2
  }
}

/* retire; a killed retirer is one that stops before a step for ever */
inline retire(n, f, e, s, r, t, u) {
  e = table[n % TABLE];               /* read first: what is noted later makes the swap fail */
  atomic { t = rows_retired; u = segments_retired }
  if
  :: n != oldest -> goto retired      /* another was faster */
  :: else
  fi;
#ifdef PLAIN_NOTE
  f = name[n];
#else
  f = (e / 2 == n -> NOTED : name[n]); /* open, map, unless somebody got further with it */
#endif
  if
  :: f == NOTED -> r = e % 2
  :: f == 0 -> r = (e / 2 == n -> e % 2 : 0)
  :: f != 0 && f != NOTED && _pid == WRITERS -> /* no descriptor, no memory: another time */
#ifdef CANNOT_IS_GONE
     r = 0
#else
     goto retired
#endif
  :: f != 0 && f != NOTED ->
     segment_step(f, SEALING);
     atomic { s = lane[f]; r = rows[f] }
#ifndef NO_SEAL
     do
     :: s == CLOSED -> break
     :: else ->
        atomic {
          if
          :: lane[f] == s && rows[f] == r -> lane_step(f, CLOSED, r); s = CLOSED
          :: else -> s = lane[f]; r = rows[f]
          fi
        }
     od;
#endif
     segment_step(f, SEALED);
     atomic {
#ifdef PLAIN_NOTE
       table[n % TABLE] = NOTE(n, r)
#else
       if
       :: table[n % TABLE] == e -> table[n % TABLE] = NOTE(n, r)
       :: else
       fi
#endif
     }
  fi;
#ifdef UNLINK_FIRST
  name[n] = 0;
#endif
#ifndef ADD_LAST
  atomic {
    if
#ifdef ADD_ALONE
    :: rows_retired == t -> final[n] = r; rows_retired = t + r; segments_retired = n
#else
    :: u == n - 1 && rows_retired == t && segments_retired == u ->
       assert(RETIRED_ADD(u, n, oldest));
       final[n] = r; rows_retired = t + r; segments_retired = n
#endif
    :: else
    fi
  }
#endif
  atomic {
    s = (oldest == n);
    if
    :: s -> assert(OLDEST_RETIRE(n, n + 1, newest, MOST)); oldest = n + 1; final[n] = r
    :: else
    fi
  }
#ifdef ADD_LAST
  if
  :: s -> atomic { rows_retired = rows_retired + r; segments_retired++ }
  :: else
  fi;
#endif
  name[n] = 0;                        /* unlinked last */
retired:
  skip
}

/* publish: a file of one's own, its header, its name unless that is taken */
inline publish(n, f) {
  atomic { f = files; files++; assert(f < FILES) }
#ifdef HEADER_LAST
  atomic {
    if
    :: name[n] == 0 -> name[n] = f
    :: else -> f = 0
    fi
  }
  if
  :: f != 0 -> number_of[f] = n
  :: else
  fi;
#else
  number_of[f] = n;
  atomic {
    if
    :: name[n] == 0 -> name[n] = f
    :: else -> f = 0
    fi
  }
#endif
  if
  :: f != 0 && n < oldest -> name[n] = 0 /* slept while that number was used and retired */
  :: else
  fi
}

active [WRITERS] proctype writer() {
  byte f, at, n, m, o, s, r, k;        /* f: the file that is mapped, at: its number */
  bool due, in_lane;
  do
  :: k == (_pid == 0 -> RECORDS : 1) -> break
  :: else ->
     if
     :: in_lane
     :: !in_lane && f != 0 && taken[f] == 0 && segment[f] == ACTIVE -> /* take_lane */
        atomic { s = taken[f]; taken[f] = 1 }
        if
        :: s == 0 ->
           atomic {
             if
             :: lane[f] == FREE -> lane_step(f, OPEN, 0); in_lane = true
             :: else
             fi
           }
        :: else
        fi;
        s = 0
     :: !in_lane && (f == 0 || taken[f] != 0 || segment[f] != ACTIVE) -> /* next_segment */
        n = newest;
        m = 0;
        if
        :: n > at && n >= oldest -> m = name[n]
        :: else
        fi;
        if
        :: m != 0 -> atomic { f = m; at = n; n = 0; m = 0 }
        :: else ->
           n++;
           if
           :: n > NUMBERS -> break    /* out of numbers: the end of this model */
           :: else
           fi;
           m = name[n];
           if
           :: m == 0 -> publish(n, m); m = name[n]
           :: else
           fi;
           if
           :: m != 0 -> assert(number_of[m] == n); atomic { f = m; at = n }
           :: else
           fi;
           if
           :: n < oldest -> atomic { f = 0; at = 0; n = 0; m = 0 } /* slept: look again */
           :: else ->
              if
              :: m == 0 -> break      /* ENOENT: no row, counted as dropped for this reason */
              :: else
              fi;
              s = newest;             /* raise_newest */
              do
              :: s >= n -> break
              :: else ->
                 atomic {
                   if
                   :: newest == s -> assert(NEWEST_RAISE(s, n)); newest = n; s = n
                   :: else -> s = newest
                   fi
                 }
              od;
              atomic { n = 0; m = 0; s = 0 }
           fi
        fi
     fi;
     if
     :: in_lane ->
        atomic {                      /* the row, and the commit: lanes.pml has these in steps */
          s = (lane[f] == OPEN && rows[f] == 0);
          if
          :: s ->
             lane_step(f, OPEN, 1); committed++;
             assert(number_of[f] <= newest)
          :: else
          fi;
          in_lane = false
        }
        if
        :: s -> atomic { acknowledged++; k++; s = 0 }
        :: else
        fi;
     :: else
     fi
  od
}

/* A writer a chunk later, or whoever maintains. */
active [RETIRERS] proctype retirer() {
  byte n, m, f, e, s, r, t, u;
end:
  do
  :: newest == NUMBERS && oldest == NUMBERS -> break
  :: newest + 1 > oldest + MOST ->
     n = oldest;                      /* first: the newest only grows, so what holds now holds */
     m = newest;
     if
     :: m + 1 > n + MOST ->
#ifdef LOOK_TWICE
        n = oldest;
#endif
        retire(n, f, e, s, r, t, u)
     :: else
     fi;
     atomic { n = 0; m = 0; f = 0; e = 0; s = 0; r = 0; t = 0; u = 0 }
  od
}

#ifdef AHEAD
/* look_ahead, publish_ahead: raises nothing, and may sleep until its number was used. */
active proctype ahead() {
  byte n, k, f;
  do
  :: k == NUMBERS -> break
  :: k < NUMBERS ->
     n = newest + 1;
     k++;
     if
     :: n <= NUMBERS && name[n] == 0 -> publish(n, f); f = 0
     :: else
     fi;
     n = 0
  od
}
#endif

active proctype judge() {
  byte n, f, seen;
end:
  do
  :: atomic {
    seen = 0;
    for (n : 1 .. NUMBERS) {
      if
      :: n <= segments_retired -> seen = seen + final[n]
      :: else
      fi
    }
    assert(rows_retired == seen);     /* the total: never short, never twice */
    assert(segments_retired == oldest - 1 || segments_retired == oldest);
    seen = 0;
    for (n : 1 .. NUMBERS) {
      f = name[n];
      assert(f == 0 || number_of[f] == n || n < oldest);
      if
      :: n >= oldest && f != 0 -> seen = seen + rows[f]
      :: n < oldest ->
         seen = seen + final[n];
#ifdef FULL_WINDOW
         assert(n + TABLE < oldest || table[n % TABLE] == NOTE(n, final[n]))
#else
         assert(n + TABLE <= oldest || table[n % TABLE] == NOTE(n, final[n]))
#endif
      :: else
      fi
    }
    assert(seen == committed);
    assert(committed >= acknowledged);
    assert(oldest <= newest + 1);
    assert(newest == 0 || oldest <= newest);
    n = 0; f = 0; seen = 0
  }
  od
}
