/* Retry budget. Proves, for retries that may each be stopped for ever between any two steps, a
   capacity that is declared anew, and, with -DREUSE, an owner that is declared dead at any moment,
   whether it is or not, a slot that is taken again at once, and whoever clears the holds of the
   dead, slowly:

   - the bucket is never below zero, and no more is sent than was in it and came in, to the token;
   - a hold is honoured: who has one finds a token when it sends. Only a retry of an owner that was
     declared dead, and sends, may take it from another, whose retry is then not sent;
   - when all have ended and the dead are cleared, no token is held, and the bucket has what was in
     it and came in, less what was paid: what the dead held is back, what they sent is not;
   - words change as HOLD_* and BUCKET_* of control.h have it.

   Two retries of one owner and one of another; with -DREUSE, one of each of two owners, and one of
   a third, who takes the slot of the first. Refill by time is a deposit here. Of two who hold at
   the same time the last token, none may get it: not shown is that retries are not refused. A kill
   between paying and sending loses a token. Code: none yet.

   Negative controls: -DSUM_FIRST (the sum is read before the own hold is taken), -DBALANCE_FIRST
   (the balance is read before the sum), -DPLAIN_TAKE (the own hold is stored, not swapped),
   -DGIVE_FIRST (a hold is given back before it is paid for), -DNO_GUARD (who has a hold pays
   without a look at the balance), -DSEND_SHORT (it is sent although the bucket was short),
   -DREFUND (a token is put back for each hold of the dead), -DPLAIN_STORE (a deposit is stored,
   not swapped), -DCLAMP (a deposit lowers what is above the capacity), -DANY_INCARNATION (a hold
   is taken over that of the slot's next owner), -DPRESENT_OWNER (a hold is given back as one of
   whoever has the slot by then, as a process does that has registered anew), -DNO_CLEAR (holds of
   the dead stay), -DCLEAR_ANY (a hold is cleared whatever it is by then), -DOWNER_FIRST (who has
   the slot is read before the hold), -DCLEAR_ONLY_OWNERS (only holds of the slot's present owner
   are cleared). */
#include "control.h"

#define SLOTS 2
#define CALLERS 3
#define INCARNATIONS 4
#define INITIAL 1

short bucket = INITIAL;               /* tokens; one word */
byte most = 2;                        /* the capacity that is declared */
byte whose[SLOTS], tokens[SLOTS];     /* Q[o]: incarnation, tokens: one word */
byte owner[SLOTS];                    /* the incarnation that has the slot */
bool gone[INCARNATIONS];              /* declared dead */
bool holding[CALLERS];                /* was told that it may retry, and has not paid */
bool ended[CALLERS];
byte deposited, paid, sent;
bool taken_away;                      /* one that was declared dead has paid */
#ifdef REUSE
#define INCARNATION(p) ((p) + 1)
#else
#define INCARNATION(p) ((p) / 2 + 1)
#endif
#define HOLDS(p) (holding[p] && !gone[INCARNATION(p)])
#define HONOURED (HOLDS(0) + HOLDS(1) + HOLDS(2) <= bucket || taken_away)

inline hold_step(o, i2, n2) {
#ifndef ANY_INCARNATION
  assert(HOLD_TAKE(whose[o], tokens[o], i2, n2) || HOLD_BEGIN(whose[o], tokens[o], i2, n2)
         || HOLD_GIVE(whose[o], tokens[o], i2, n2) || HOLD_CLEAR(whose[o], tokens[o], i2, n2));
#endif
  whose[o] = i2; tokens[o] = n2
}

inline deposit() {
#ifdef PLAIN_STORE
  sum = bucket;
#endif
  d_step {
#ifndef PLAIN_STORE
    sum = bucket;
#endif
    if
    :: sum < most ->
       deposited++;
       assert(BUCKET_FILL(bucket, sum + 1, most));
       bucket = sum + 1
#ifdef CLAMP
    :: sum > most -> deposited = deposited - sum + most; bucket = most; assert(HONOURED)
    :: sum == most
#else
    :: else
#endif
    fi;
    sum = 0
  }
}

/* A loop of load and swap is one step: what a failed swap has read is forgotten. */
inline take() {
#ifdef PLAIN_TAKE
  atomic { n = (whose[o] == i -> tokens[o] : 0) }
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
    :: !over && whose[o] == i -> hold_step(o, i, tokens[o] + 1)
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
    assert(gone[i] || (whose[o] == i && tokens[o] > 0));
    if
    :: whose[o] == OURS && tokens[o] > 0 -> hold_step(o, OURS, tokens[o] - 1)
    :: else
    fi
  }
}

inline decide() {
  yes = (sum <= balance);
  holding[p] = yes;
  assert(HONOURED);
  sum = 0; balance = 0
}

inline pay() {
  holding[p] = false;
#ifdef NO_GUARD
  bucket--; paid++;
#else
  yes = (bucket > 0);
  if
  :: yes -> assert(BUCKET_PAY(bucket, bucket - 1, 1)); bucket--; paid++
  :: else
  fi;
#endif
#ifdef SEND_SHORT
  yes = true;
#endif
  taken_away = (taken_away || gone[i]);
  assert(bucket >= 0 && HONOURED)
}

proctype caller(byte p, o, i, calls) {
  byte sum, balance, n;
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
  :: calls > 0 && !over ->
     calls--;
     deposit();
#ifdef SUM_FIRST
     sum = sum + tokens[0] + 1;
     sum = sum + tokens[1];
#endif
     take();
     if
#ifdef REUSE
     :: over -> sum = 0
#endif
     :: !over ->
#ifdef BALANCE_FIRST
        balance = bucket;
#endif
#ifndef SUM_FIRST
        sum = tokens[0];
        sum = sum + tokens[1];
#endif
#ifndef BALANCE_FIRST
        atomic { balance = bucket; decide() }
#else
        atomic { decide() }
#endif
#ifdef GIVE_FIRST
        give_back();
#endif
        if
        :: !yes                       /* exhausted */
        :: atomic { yes -> holding[p] = false; yes = false } /* cancelled while it waits */
        :: d_step { yes -> pay() };
           if
           :: atomic { yes -> sent++; yes = false; assert(sent <= INITIAL + deposited) }
           :: !yes
           fi
        fi;
#ifndef GIVE_FIRST
        give_back()
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

/* The hold is read first, then who has the slot: that one came later, or is the hold's owner. */
proctype clearer(byte times) {
  byte i, n, w;
end:
  do
  :: times == 0 -> break
  :: times > 0 && OF_THE_DEAD(whose[0], owner[0]) ->
#ifdef OWNER_FIRST
     w = owner[0];
#endif
     atomic { i = whose[0]; n = tokens[0] }
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
          :: whose[0] == i && tokens[0] == n ->
#endif
#ifdef REFUND
             bucket = bucket + tokens[0];
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
    run caller(0, 0, 1, 1); run caller(1, 1, 2, 2); run caller(2, 0, 3, 1);
#ifndef NO_CLEAR
    run clearer(1)
#endif
  };
  if                                  /* at any moment; the dead may live on */
  :: gone[1] = true; most = 1
  :: most = 1; gone[1] = true
  fi
#else
    run caller(0, 0, 1, 1); run caller(1, 0, 1, 1); run caller(2, 1, 2, 2)
  };
  most = 1                            /* at any moment */
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
    assert(tokens[0] == 0 && tokens[1] == 0);
    assert(bucket == INITIAL + deposited - paid)
  }
}
