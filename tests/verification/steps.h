/* The steps that words shared by processes may take: one macro a step, true if (before, after) is
   that step. The models assert that every change they make is one of them; test_binding.py
   compiles the same macros and holds every change that the real cores make against them. */

#define FREE 0 /* states of a lane */
#define OPEN 1
#define CLOSED 2

/* A lane word is (state, count); whose it is does not change while it is OPEN. */
#define LANE_CLAIM(s, n, s2, n2) ((s) == FREE && (s2) == OPEN && (n) == 0 && (n2) == 0)
#define LANE_COMMIT(s, n, s2, n2) ((s) == OPEN && (s2) == OPEN && (n2) == (n) + 1)
#define LANE_CLOSE(s, n, s2, n2) ((s) != CLOSED && (s2) == CLOSED && (n2) == (n))

#define ACTIVE 0 /* states of a segment */
#define SEALING 1
#define SEALED 2
/* Two may retire the same segment: sealed goes back to sealing, never to active. */
#define SEGMENT_SEAL(s, s2) ((s2) == SEALING)
#define SEGMENT_SEALED(s, s2) ((s) != ACTIVE && (s2) == SEALED)

/* Counters of segments and of a dictionary: one more, or (the newest segment) further on. */
#define NEXT_ONE(n, n2) ((n2) == (n) + 1)
#define NEWEST_RAISE(n, n2) ((n2) > (n))
/* The oldest segment moves on by one, and only when there are more than the budget holds. */
#define OLDEST_RETIRE(n, n2, newest, most) ((n2) == (n) + 1 && (newest) + 1 > (n) + (most))
/* The total takes in the oldest segment before that moves on: it says of how many it is. */
#define RETIRED_ADD(n, n2, oldest) ((n2) == (n) + 1 && (n2) == (oldest))

#define NOBODY 0 /* states of an owner slot */
#define LIVE 1
#define EXITED 2
#define DEAD 3
#define FOLDED 4

/* An owner word is (incarnation, generation, state). */
#define OWNER_REGISTER(i, g, s, i2, g2, s2) \
  ((s) == NOBODY && (s2) == LIVE && (i) == 0 && (i2) > 0 && (g2) == (g))
#define OWNER_EXIT(i, g, s, i2, g2, s2) \
  ((s) == LIVE && (s2) == EXITED && (i2) == (i) && (g2) == (g))
#define OWNER_DIE(i, g, s, i2, g2, s2) ((s) == LIVE && (s2) == DEAD && (i2) == (i) && (g2) == (g))
#define OWNER_FOLD(i, g, s, i2, g2, s2) \
  (((s) == DEAD || (s) == EXITED) && (s2) == FOLDED && (i2) == (i) && (g2) == (g))
#define OWNER_FREE(i, g, s, i2, g2, s2) \
  ((s) == FOLDED && (s2) == NOBODY && (i2) == 0 && (g2) == (g) + 1)

/* The fence word holds the incarnation that may write here. */
#define FENCE_GRANT(f, f2, state, incarnation) ((state) == NOBODY && (f2) > 0)
#define FENCE_RAISE(f, f2, state, incarnation) \
  (((state) == LIVE || (state) == EXITED) && (f) == (incarnation) && (f2) == 0)

/* A dictionary: an entry's word and a bucket are set once; a bucket only to a published entry. */
#define ENTRY_PUBLISH(w, w2) ((w) == 0 && (w2) != 0)
#define BUCKET_PUBLISH(b, b2, word) ((b) == 0 && (b2) != 0 && (word) != 0)

/* The totals of the dead are replaced: the next epoch, and a list of whom it added. */
#define TOTALS_FLIP(e, e2) ((e2) == (e) + 1)
