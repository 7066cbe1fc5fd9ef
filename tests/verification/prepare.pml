/* Preparing a segment, naming its dictionaries, publishing. Proves, for two processes that publish
   one segment after the other, each of which may be stopped for ever or killed between any two
   steps, whoever else prepares, and whoever removes dictionaries:

   - a segment that has a name is whole: all of its zeros and its header were written before;
   - a file becomes one segment at most, and what one process prepares another may publish;
   - the dictionaries of names and of stacks that a segment's header names are there, whole, from
     before it has a name until no segment that is kept names them.

   Code: prepare_begin, prepare_up_to, take_prepared, generation_for_new_segment, publish
   (_core/segment), dictionary_create (_core/intern), _remove_dictionaries (store/maintain); _pure
   the same. A budget of one segment: publishing number n retires n - 1. Whether a dictionary is
   nearly full is anybody's guess, but none is before a segment names it.

   Negative controls: -DSHARED_NAME (all prepare under one name, without the lock), -DREADY_FIRST
   (the name tmp-ready comes before the last zeros), -DLINK_READY (what is ready is linked, not
   renamed, so two may take it), -DRAISE_FIRST (the generation is raised before its files are
   there), -DKEEP_ONE (dictionaries but the newest are removed when no segment names them). */
#define WRITERS 2
#define NUMBERS 2                     /* segments 1 to NUMBERS */
#define FILES 9                       /* inodes; 0 is none */
#define GENERATIONS 4                 /* 0 is none */
#define NOBODY 0

byte next_file = 1, next[WRITERS], ready; /* tmp-next-<tag>, tmp-ready: inodes */
byte zeros[FILES];                    /* slices written, of two */
byte number_of[FILES], generation_of[FILES]; /* header */
byte uses[FILES];                     /* names of segments that it got */
byte name[NUMBERS + 1];               /* seg-<n> */
byte newest, generation;
bool names_there[GENERATIONS], stacks_there[GENERATIONS], filling[GENERATIONS];
byte holder;                          /* LOCK_PREPARE: process + 1 */
bool killed[WRITERS];

inline prepare(p) {
#ifndef SHARED_NAME
  if
  :: atomic { ready == 0 && holder == NOBODY -> holder = p + 1 }
  :: ready != 0 || holder != NOBODY -> goto prepared
  fi;
#endif
  atomic {                            /* unlink, create */
#ifdef SHARED_NAME
    if
    :: next[0] != 0 -> f = next[0]
    :: else -> f = next_file; next_file++
    fi;
    next[0] = f
#else
    f = next_file; next_file++; next[p] = f
#endif
  }
  assert(f < FILES);
  zeros[f]++;
#ifdef READY_FIRST
  atomic { ready = next[p]; next[p] = 0 }
#endif
  zeros[f]++;
#ifndef READY_FIRST
  atomic {
#ifdef SHARED_NAME
    ready = (next[0] != 0 -> next[0] : ready); next[0] = 0
#else
    ready = next[p]; next[p] = 0
#endif
  }
#endif
  atomic {
    if
    :: holder == p + 1 -> holder = NOBODY
    :: else
    fi
  }
prepared:
  f = 0
}

inline take() {
  atomic {
    if
    :: ready != 0 -> f = ready
#ifndef LINK_READY
       ; ready = 0                    /* renamed to a name of one's own */
#endif
    :: else -> f = next_file; next_file++; zeros[f] = 2 /* reserved */
    fi
  }
  assert(f < FILES)
}

/* generation_for_new_segment */
inline choose_generation() {
  g = generation;
  if
  :: g != 0
  :: g == 0 || (g + 1 < GENERATIONS && filling[g]) ->
#ifdef RAISE_FIRST
     atomic {
       if
       :: generation == g -> generation = g + 1
       :: else
       fi
     }
#endif
     names_there[g + 1] = true;       /* linked whole, unless it is there */
     stacks_there[g + 1] = true;
#ifndef RAISE_FIRST
     atomic {
       if
       :: generation == g -> generation = g + 1
       :: else
       fi
     }
#endif
     g = generation
  fi
}

proctype writer(byte p) {
  byte n, f, g;
  {
  do
  :: newest == NUMBERS -> break
  :: else ->
     if
     :: prepare(p)
     :: true
     fi;
     n = newest + 1;
     if
     :: n > NUMBERS -> break
     :: else
     fi;
     if
     :: name[n] == 0 ->
        take();
        choose_generation();
        atomic { number_of[f] = n; generation_of[f] = g }
        atomic {                      /* link */
          if
          :: name[n] == 0 && newest < n -> name[n] = f; uses[f]++; filling[g] = true
          :: else                     /* another was first */
          fi
        }
     :: else
     fi;
     atomic {                         /* newest is raised; the one before it is retired */
       if
       :: newest < n -> newest = n
       :: else
       fi
     }
     name[n - 1] = 0;
     atomic { f = 0; g = 0; n = 0 }
  od
  } unless {
    atomic {
      killed[p];
      if
      :: holder == p + 1 -> holder = NOBODY
      :: else
      fi
    }
  }
}

/* _remove_dictionaries: the newest two are kept, and those that a segment names. */
active proctype maintainer() {
  byte g, n, now;
  bool named, listed[NUMBERS + 1];
end:
  do
  :: newest > 0 ->
     now = generation;
     for (g : 1 .. GENERATIONS - 1) {
       if
#ifdef KEEP_ONE
       :: g < now && names_there[g] ->
#else
       :: g + 1 < now && names_there[g] ->
#endif
          atomic {
            for (n : 1 .. NUMBERS) { listed[n] = (name[n] != 0) }
          }
          for (n : 1 .. NUMBERS) {    /* what is not there any more was retired meanwhile */
            named = named || (listed[n] && name[n] != 0 && generation_of[name[n]] == g)
          }
          if
          :: !named -> names_there[g] = false; stacks_there[g] = false
          :: else
          fi;
          atomic { named = false; n = 0; listed[1] = 0; listed[2] = 0 }
       :: else
       fi
     }
     atomic { g = 0; now = 0 }
  od
}

init {
  byte n;
  atomic { run writer(0); run writer(1) }
  select (n : 0 .. WRITERS - 1);
  killed[n] = true                    /* at any moment */
}

active proctype judge() {
  byte n, f;
end:
  do
  :: atomic {
    for (n : 1 .. NUMBERS) {
      f = name[n];
      assert(f == 0 || (zeros[f] == 2 && number_of[f] == n));
      assert(uses[f] <= 1);
      assert(f == 0 || n < newest
             || (names_there[generation_of[f]] && stacks_there[generation_of[f]]))
    }
    assert(ready == 0 || zeros[ready] == 2);
    n = 0; f = 0
  }
  od
}
