/* Interning. Proves, for processes that may each be stopped for ever between any two steps:

   - an id never stands for two strings: what was given for a string shows that string, whole, to
     every reader from then on;
   - a bucket names published entries only, an entry and a bucket are set once (ENTRY_PUBLISH,
     BUCKET_PUBLISH of steps.h).

   A string may get two ids. Strings are one byte stored in two halves; all collide in one bucket
   first. Code: dictionary_intern (_core/intern); with -DPURE Dictionary._intern, _append
   (_pure/intern), which looks without a lock and appends under LOCK_INTERN, which a kill drops.

   Negative controls: -DBUCKET_FIRST (the bucket before the entry's bytes), -DWORD_FIRST (the entry's
   word before its bytes), -DTWO_STEPS (an id is read, then the counter stored), -DHASH_ALONE (the
   bytes are not compared; "1" and "3" have the same hash). */
#include "steps.h"

#define INTERNERS 3
#define IDS 5                         /* 0 is the empty string */
#define BUCKETS 4
#define HASH(text) ((text) % 2)

byte next_entry = 1;
byte word[IDS], hash[IDS];            /* of an entry; the word is set last */
byte high[IDS], low[IDS];             /* its bytes */
byte bucket[BUCKETS];                 /* 0, or id + 1 */
byte given[INTERNERS];                /* the id that each got */
byte wanted[INTERNERS];               /* the string that each interns */
byte locked;                          /* PURE: LOCK_INTERN, by process + 1 */
byte killed;                          /* PURE: one of them, at any moment; the lock is dropped */

inline publish_word(id) {
  atomic { assert(ENTRY_PUBLISH(word[id], 1)); word[id] = 1 }
}

/* Id of the text, if the entry that a bucket names is that. */
inline holds(id, text, same) {
  same = (hash[id] == HASH(text) && word[id] != 0
#ifndef HASH_ALONE
          && high[id] == text && low[id] == text
#endif
         )
}

inline take_id(id) {
#ifdef TWO_STEPS
  id = next_entry;
  next_entry = id + 1;
#else
  atomic { id = next_entry; next_entry++ }
#endif
  assert(id < IDS)
}

inline write_entry(id, text) {
#ifdef WORD_FIRST
  publish_word(id);
#endif
  high[id] = text;
  low[id] = text;
  hash[id] = HASH(text)
}

inline drop_lock(p) {
  if
  :: locked == p + 1 -> locked = 0
  :: else
  fi
}

#ifdef PURE
proctype interner(byte p) {
  byte text, b, t, id, round;
  bool same, found;
  {
  text = wanted[p];
  do
  :: round == 2 -> break
  :: else ->
     if
     :: round == 1 -> atomic { locked == 0 -> locked = p + 1 }
     :: else
     fi;
     b = 0;
     do
     :: t = bucket[b];
        if
        :: t == 0 -> break
        :: else ->
           holds(t - 1, text, same);
           if
           :: same -> id = t - 1; found = true; break
           :: else -> b++
           fi
        fi
     od;
     if
     :: found -> break
     :: else
     fi;
     if
     :: round == 1 ->
        id = next_entry;
        next_entry = id + 1;
        write_entry(id, text);
#ifdef BUCKET_FIRST
        atomic { bucket[b] = id + 1 }
        publish_word(id);
#else
#ifndef WORD_FIRST
        publish_word(id);
#endif
        atomic { assert(BUCKET_PUBLISH(bucket[b], id + 1, word[id])); bucket[b] = id + 1 }
#endif
     :: else
     fi;
     round++
  od;
  given[p] = id;
  drop_lock(p)
  } unless {
    atomic { killed == p + 1 -> drop_lock(p) }
  }
}
#else
proctype interner(byte p) {
  byte text, b, t, id;
  bool same, done;
  text = wanted[p];
  do
  :: done -> break
  :: else ->
     t = bucket[b];
     if
     :: t == 0 ->
        if
        :: id == 0 ->
           take_id(id);
#ifdef BUCKET_FIRST
           skip
#else
           write_entry(id, text);
#ifndef WORD_FIRST
           publish_word(id)
#endif
#endif
        :: else
        fi;
        atomic {
          if
          :: bucket[b] == 0 ->
#ifndef BUCKET_FIRST
             assert(BUCKET_PUBLISH(bucket[b], id + 1, word[id]));
#endif
             bucket[b] = id + 1; done = true
          :: else
          fi
        }
        if
        :: done ->
#ifdef BUCKET_FIRST
           given[p] = id;
           write_entry(id, text);
           publish_word(id)
#else
           given[p] = id
#endif
        :: else -> t = bucket[b]
        fi
     :: else
     fi;
     if
     :: !done ->
        holds(t - 1, text, same);
        if
        :: same -> given[p] = t - 1; done = true
        :: else -> b++
        fi
     :: else
     fi
  od
}
#endif

/* A reader: published or not, then the bytes. */
proctype reader() {
  byte id, value;
  for (id : 1 .. IDS - 1) {
    if
    :: word[id] != 0 -> value = high[id]; assert(value != 0 && value == low[id])
    :: else
    fi;
    value = 0
  }
}

init {
  atomic {
    wanted[0] = 1;
    if                                /* the same string, another, another with the same hash */
    :: wanted[1] = 1
    :: wanted[1] = 2
    :: wanted[1] = 3
    fi;
    if
    :: wanted[2] = 1
    :: wanted[2] = 2
    fi;
    run interner(0); run interner(1); run interner(2); run reader()
  };
#ifdef PURE
  killed = 1
#endif
}

active proctype judge() {
  byte p, b, id;
end:
  do
  :: atomic {
    for (p : 0 .. INTERNERS - 1) {
      id = given[p];
      assert(id == 0 || (word[id] != 0 && high[id] == wanted[p] && low[id] == wanted[p]))
    }
    for (b : 0 .. BUCKETS - 1) {
      assert(bucket[b] == 0 || word[bucket[b] - 1] != 0)
    }
    p = 0; b = 0; id = 0
  }
  od
}
