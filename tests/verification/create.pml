/* Creation and removal. Proves, for processes that join a domain that may be missing, and others
   that remove it, each of which may be stopped for ever and one killed between any two steps:

   - two creators make one domain: a store takes a free name only, and whoever is told that it is
     an owner is one in the store that has the name, as long as it lives: what it records is where
     readers look, and no gc takes it;
   - a name shows a whole store or none.

   Code: open_or_create, _create, _domain_directory (store/domain), register (store/owners),
   _join (store/lifecycle), remove_store, _collect (store/gc). A kill drops the lock that is held;
   who waits for one may give up. What is open stays, whatever becomes of its name.

   Negative controls: -DNOT_IN_PLACE (an owner does not look again, under the lock, whether its
   store still has the name), -DNO_LOCK (registering takes no lock), -DLOOK_FIRST (a gc looks for
   owners before it has the lock), -DNAME_FIRST (a store gets its name before it is filled),
   -DREPLACE (the second creator's store takes the place of the first's). */
#define JOINERS 2
#ifndef REMOVERS
#define REMOVERS 1
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#define INODES (JOINERS * ATTEMPTS + 1) /* of stores and of domain directories; 0 is none */

byte place, places;                   /* <domain>: the directory that has this name */
byte entries[INODES];                 /* how much is in it: rmdir takes an empty one only */
byte name[INODES];                    /* <layout>-<core> in it: a store, 0 for none */
byte stores;
byte filled[INODES];                  /* of a store: two steps */
byte shared[INODES], exclusive[INODES]; /* LOCK_DOMAIN of a store: how many, or one alone */
bool slot[INODES * JOINERS];          /* its owners: LIVE, by process */
byte lives_in[JOINERS];               /* the store that a process is an owner of */
bool alive[JOINERS] = true;
bool killed[JOINERS + REMOVERS];

#define HAS_NAME(d, s) (place == (d) && name[d] == (s))
#define SLOT(s, p) slot[(s) * JOINERS + (p)]

inline give_name(d, s) {              /* a directory is renamed to a free name only */
  assert(name[d] == 0);
  name[d] = s; entries[d]++
}

inline make(d, s) {
  atomic {                            /* mkdir of a temporary name */
    if
    :: place == d -> entries[d]++; stores++; s = stores
    :: else -> s = 0                  /* in a directory that was removed */
    fi
  }
  if
  :: s == 0
  :: else ->
#ifdef NAME_FIRST
     atomic {
       if
       :: name[d] == 0 -> give_name(d, s)
       :: else
       fi
     }
#endif
     filled[s] = 1;
     filled[s] = 2;
#ifndef NAME_FIRST
     atomic {
       if
#ifdef REPLACE
       :: true -> give_name(d, s)
#else
       :: name[d] == 0 -> give_name(d, s)
       :: else                        /* another was first: its store is used */
#endif
       fi
     }
#endif
     entries[d]--                     /* the temporary name is gone, either way */
  fi
}

proctype joiner(byte p) {
  byte d, s, h, attempts;             /* h: the store whose lock it holds */
again:
  {
    if
    :: attempts == ATTEMPTS -> goto over /* StorageError: it counts in its own memory */
    :: else -> attempts++
    fi;
    atomic {                          /* mkdir or not, then open */
      if
      :: place == 0 -> places++; place = places
      :: else
      fi;
      d = place; s = 0
    }
    if
    :: name[d] == 0 -> make(d, s)
    :: name[d] != 0
    fi;
    atomic { s = (place == d -> name[d] : 0) } /* Store.open: by its path */
    if
    :: s == 0 -> goto again
    :: else -> assert(filled[s] == 2)
    fi;
#ifndef NO_LOCK
    if
    :: atomic { exclusive[s] == 0 -> shared[s]++; h = s }
    :: exclusive[s] != 0 -> goto again
    fi;
#endif
#ifndef NOT_IN_PLACE
    if
    :: HAS_NAME(d, s)
    :: else ->
       atomic { shared[s] = shared[s] - (h != 0 -> 1 : 0); h = 0 }
       goto again
    fi;
#endif
    atomic { SLOT(s, p) = true; lives_in[p] = s }
    atomic { shared[s] = shared[s] - (h != 0 -> 1 : 0); h = 0 }
over:
    skip
  } unless {
    atomic {
      killed[p] -> alive[p] = false;
      if
      :: h != 0 -> shared[h]--; h = 0
      :: else
      fi
    }
  }
}

proctype remover(byte q) {
  byte d, s, h, p;
  bool busy;
  {
    atomic { d = place; s = name[d] }
    if
    :: s == 0 -> goto over
    :: else
    fi;
#ifdef LOOK_FIRST
    for (p : 0 .. JOINERS - 1) { busy = busy || (SLOT(s, p) && alive[p]) }
#endif
    if
    :: atomic { exclusive[s] == 0 && shared[s] == 0 -> exclusive[s] = 1; h = s }
    :: exclusive[s] != 0 || shared[s] != 0 -> goto over
    fi;
    if
    :: !HAS_NAME(d, s) -> goto unlock
    :: else
    fi;
#ifndef LOOK_FIRST
    for (p : 0 .. JOINERS - 1) { busy = busy || (SLOT(s, p) && alive[p]) }
#endif
    if
    :: busy -> goto unlock            /* DomainBusy */
    :: else -> name[d] = 0            /* renamed to a temporary name */
    fi;
    atomic { exclusive[s] = 0; h = 0 }
    entries[d]--;                     /* its files, and itself */
    atomic {
      if
      :: place == d && entries[d] == 0 -> place = 0
      :: else                         /* another store is in it, or one is being made */
      fi
    }
    goto over;
unlock:
    atomic { exclusive[s] = 0; h = 0 }
over:
    skip
  } unless {
    atomic {
      killed[JOINERS + q];
      if
      :: h != 0 -> exclusive[h] = 0; h = 0
      :: else
      fi
    }
  }
}

init {
  byte n;
  atomic {
    run joiner(0); run joiner(1);
    for (n : 0 .. REMOVERS - 1) { run remover(n) }
    n = 0
  }
  select (n : 0 .. JOINERS + REMOVERS - 1); /* one of them is killed, at any moment */
  killed[n] = true
}

active proctype judge() {
  byte p;
end:
  do
  :: atomic {
    for (p : 0 .. JOINERS - 1) {
      assert(lives_in[p] == 0 || !alive[p] || (place != 0 && name[place] == lives_in[p]))
    }
    assert(name[place] == 0 || filled[name[place]] == 2);
    p = 0
  }
  od
}
