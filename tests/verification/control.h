/* The steps that the words of a control cell may take, as steps.h has those of the other words: one
   macro a step, true if (before, after) is that step. The models assert them at every change;
   test_control_binding.py holds the real cores against them. */

#define BREAKER_CLOSED 0 /* states of a breaker */
#define BREAKER_OPEN 1
#define BREAKER_HALF_OPEN 2
#define BREAKER_FORCED_OPEN 3
#define BREAKER_DISABLED 4
#define BREAKER_METRICS_ONLY 5

/* Generations are compared serially: they come round after 2^18 (in a model, sooner). */
#ifndef GENERATION_MASK
#define GENERATION_MASK 0x3FFFF
#endif
#define LATER(g, g2) \
  (((g2) - (g) & GENERATION_MASK) != 0 && ((g2) - (g) & GENERATION_MASK) <= GENERATION_MASK / 2)
#define FOLLOWS(g, g2) (((g2) - (g) & GENERATION_MASK) == 1)

/* A breaker word is (state, generation, successes); its deadline changes with the generation. */
#define BREAKER_TRIP(s, g, n, s2, g2, n2) \
  ((s) == BREAKER_CLOSED && (s2) == BREAKER_OPEN && FOLLOWS(g, g2) && (n2) == 0)
#define BREAKER_PROBE(s, g, n, s2, g2, n2) \
  ((s) == BREAKER_OPEN && (s2) == BREAKER_HALF_OPEN && FOLLOWS(g, g2) && (n2) == 0)
#define BREAKER_RENEW(s, g, n, s2, g2, n2) \
  ((s) == BREAKER_HALF_OPEN && (s2) == BREAKER_HALF_OPEN && FOLLOWS(g, g2) && (n2) == 0)
#define BREAKER_COUNT(s, g, n, s2, g2, n2) \
  ((s) == BREAKER_HALF_OPEN && (s2) == BREAKER_HALF_OPEN && (g2) == (g) && (n2) == (n) + 1)
#define BREAKER_CLOSE(s, g, n, s2, g2, n2) \
  ((s) == BREAKER_HALF_OPEN && (s2) == BREAKER_CLOSED && FOLLOWS(g, g2) && (n2) == 0)
#define BREAKER_REOPEN(s, g, n, s2, g2, n2) \
  ((s) == BREAKER_HALF_OPEN && (s2) == BREAKER_OPEN && FOLLOWS(g, g2) && (n2) == 0)
/* An operator's, from any state; and back to CLOSED from what an operator has set. */
#define BREAKER_SET(s, g, n, s2, g2, n2) \
  ((s2) >= BREAKER_FORCED_OPEN && FOLLOWS(g, g2) && (n2) == 0)
#define BREAKER_RESET(s, g, n, s2, g2, n2) \
  ((s) >= BREAKER_FORCED_OPEN && (s2) == BREAKER_CLOSED && FOLLOWS(g, g2) && (n2) == 0)

/* A lease word is (incarnation, generation, probes): what it is of, only ever later. */
#define LEASE_TAKE(i, g, n, i2, g2, n2) ((i2) == (i) && (g2) == (g) && (n2) == (n) + 1)
#define LEASE_BEGIN(i, g, n, i2, g2, n2) \
  (((i2) > (i) || ((i2) == (i) && LATER(g, g2))) && (n2) == 1)
#define LEASE_GIVE(i, g, n, i2, g2, n2) ((i2) == (i) && (g2) == (g) && (n2) + 1 == (n))
#define LEASE_CLEAR(i, g, n, i2, g2, n2) ((i) > 0 && (i2) == 0 && (g2) == 0 && (n2) == 0)

/* A hold word is (incarnation, number of tokens or of permits). */
#define HOLD_TAKE(i, n, i2, n2) ((i2) == (i) && (n2) == (n) + 1)
#define HOLD_BEGIN(i, n, i2, n2) ((i2) > (i) && (n2) == 1)
#define HOLD_GIVE(i, n, i2, n2) ((i2) == (i) && (n2) + 1 == (n))
#define HOLD_CLEAR(i, n, i2, n2) ((i) > 0 && (i2) == 0 && (n2) == 0)

/* A bucket: more up to what it holds, or one token less. */
#define BUCKET_FILL(b, b2, most) ((b2) > (b) && (b2) <= (most))
#define BUCKET_PAY(b, b2, token) ((b) >= (token) && (b2) + (token) == (b))
