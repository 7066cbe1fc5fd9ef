/* Preparing a segment, naming its dictionaries, publishing. Proves, for two processes that publish
   one segment after the other, each of which may be stopped for ever or killed between any two
   steps, whoever else prepares, and whoever removes dictionaries:

   - a segment that has a name is whole: all of its zeros and its header were written before;
   - a file becomes one segment at most, and what one process prepares another may publish;
   - what is prepared without a name is gone with the process that prepared it, and nobody else ever
     waits for it; two who link the same number, ahead of need or not, make one segment;
   - the dictionaries of names and of stacks that a segment's header names are there, whole, from
     before it has a name until no segment that is kept names them.

   Code: prepare_begin, prepare_up_to, prepare_finish, generation_for_new_segment, publish_file,
   publish_prepared, publish_ahead, publish (_core/segment), dictionary_create (_core/intern),
   _remove_dictionaries (store/maintain). As it is, this is _pure/ring, and what is left of the
   compiled core where there are no files without a name. -DNAMELESS is the compiled core: what is
   prepared has no name until it is linked ahead of need, under LOCK_NAMES, which is tried; who
   needs a segment while another is at the names, or finds nothing, reserves one. A budget of one segment: publishing number n retires n - 1. Whether a dictionary is
   nearly full is anybody's guess, but none is before a segment names it.

   Negative controls: -DSHARED_NAME (all prepare under one name, without the lock), -DREADY_FIRST
   (the name tmp-ready comes before the last zeros), -DLINK_READY (what is ready is linked, not
   renamed, so two may take it), -DRAISE_FIRST (the generation is raised before its files are
   there), -DKEEP_ONE (dictionaries but the newest are removed when no segment names them); and of
   -DNAMELESS also -DLINK_HALF (linked before its last zeros), -DLINK_OVER (a link replaces what
   has that name), -DHINT_FIRST (the hint is raised before the name is there, and believed). */
#define WRITERS 2
#define NUMBERS 2                     /* segments 1 to NUMBERS */
#define FILES 9                       /* inodes; 0 is none */
#define GENERATIONS 4                 /* 0 is none */
#define NOBODY 0

byte next_file = 1, next[WRITERS], ready; /* tmp-next-<tag>, tmp-ready: inodes */
byte zeros[FILES];                    /* slices written, of two */
byte number_of[FILES], generation_of[FILES]; /* header */
byte uses[FILES];                     /* names of segments that it got */
byte linked[NUMBERS + 1];             /* files that got that name */
byte name[NUMBERS + 1];               /* seg-<n> */
byte newest, generation;
bool names_there[GENERATIONS], stacks_there[GENERATIONS], filling[GENERATIONS];
byte holder;                          /* LOCK_PREPARE: process + 1 */
bool killed[WRITERS];
#ifdef NAMELESS
byte at_names;                        /* LOCK_NAMES: process + 1 */
byte hint;                            /* the second word of segment_newest */
#endif

#ifndef NAMELESS
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

#endif
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

#ifdef NAMELESS
inline raise_hint(n) {
  atomic {
    if
    :: hint < n -> hint = n
    :: else
    fi
  }
}

/* publish_file: f becomes segment n, unless there is one */
inline publish(f, n) {
  choose_generation();
#ifdef HINT_FIRST
  raise_hint(n);
#endif
  atomic {                            /* a header that nobody sees, link */
    number_of[f] = n; generation_of[f] = g;
    if
#ifdef LINK_OVER
    :: newest < n ->
#else
    :: name[n] == 0 && newest < n ->
#endif
       name[n] = f; uses[f]++; linked[n]++; filling[g] = true
    :: else                           /* another was first */
    fi
  }
  raise_hint(n)
}

inline names_done(p) {
  atomic {
    if
    :: at_names == p + 1 -> at_names = NOBODY
    :: else
    fi
  }
}

/* prepare_begin, prepare_up_to, publish_ahead: h has no name, nobody else can open it */
inline prepare(p) {
  if
  :: atomic { h == 0 && ready == 0 && holder == NOBODY -> holder = p + 1 }
     atomic {                         /* nobody sees these steps, nor what a kill leaves of them */
       assert(next_file < FILES);
       h = next_file; next_file++; zeros[h]++
#ifndef LINK_HALF
       ; zeros[h]++
#endif
     }
     if
     :: atomic { at_names == NOBODY -> at_names = p + 1 }
        n = newest + 1;
        if
        :: n > NUMBERS || hint >= n || name[n] != 0 ->
           ready = h                  /* prepare_finish: for the one after */
        :: else -> publish(h, n)
        fi;
        atomic { h = 0; n = 0; g = 0; holder = NOBODY }
        at_names = NOBODY
     :: at_names != NOBODY            /* later, or when it is needed */
     fi
#ifdef LINK_HALF
     ; if
     :: h != 0 -> zeros[h]++
     :: else
     fi
#endif
  :: h != 0 || ready != 0 || holder != NOBODY
  fi;
  atomic { n = 0; g = 0 }
}

/* publish, in need: what this process prepared, what is ready, or one that it reserves */
inline publish_now(p, n) {
  if
  :: atomic { at_names == NOBODY -> at_names = p + 1 }
  :: at_names != NOBODY               /* not waited for: he may have been stopped */
  fi;
  atomic {
    if
    :: h != 0 -> f = h
    :: h == 0 && at_names == p + 1 && ready != 0 -> f = ready;
       ready = 0                      /* renamed to a name of one's own */
    :: h == 0 && !(at_names == p + 1 && ready != 0) ->
       f = next_file; next_file++; zeros[f] = 2 /* reserved, without a name */
    fi
  }
  assert(f < FILES);
  if
  :: hint < n && newest < n -> publish(f, n)
  :: else                             /* somebody else was first: it goes, or waits for the next */
  fi;
  atomic {
    if
    :: h == f && uses[f] > 0 -> h = 0; holder = NOBODY
    :: else
    fi
  }
  names_done(p)
}
#endif

proctype writer(byte p) {
  byte n, f, g;
#ifdef NAMELESS
  byte h;
#endif
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
#ifdef NAMELESS
     if
     :: hint >= n -> assert(name[n] != 0 || newest >= n) /* map it */
     :: else -> publish_now(p, n)
     fi;
#else
     if
     :: name[n] == 0 ->
        take();
        choose_generation();
        atomic { number_of[f] = n; generation_of[f] = g }
        atomic {                      /* link */
          if
          :: name[n] == 0 && newest < n ->
             name[n] = f; uses[f]++; linked[n]++; filling[g] = true
          :: else                     /* another was first */
          fi
        }
     :: else
     fi;
#endif
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
#ifdef NAMELESS
      if
      :: at_names == p + 1 -> at_names = NOBODY
      :: else
      fi;
#endif
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
      assert(linked[n] <= 1);
      assert(f == 0 || n < newest
             || (names_there[generation_of[f]] && stacks_there[generation_of[f]]))
    }
    assert(ready == 0 || zeros[ready] == 2);
    n = 0; f = 0
  }
  od
}
