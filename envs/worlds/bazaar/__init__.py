"""The bazaar: a shopping world in PersonalWAB's format, made from a seed.

It exists so that every command works at once and so that tests know the truth. What it knows of
its users, and what can be found out from where:

Personal, and in the records:

* *What a user buys.* Four to six categories, mostly one favourite brand on each, three favourite
  features, one price tier. Nearly nine in ten purchases in a favourite category are of a favourite
  brand. A request never names the brand: it is in the history (and in the profile) alone. A BM25
  search for the words of a search request scores about 0.74, with the brand that the user bought
  most in that category added 0.83, with the right brand 0.95.
* *How a user writes.* A tone, a length, two pet phrases, a usual rating, and the features spoken
  of first: in the reviews.
* *How a user asks.* Openings, closings, capitals and punctuation, the same for all types of task;
  two ways to ask plainly for each tool; and the meaning of idioms, as follows.

Personal, and nowhere but in past requests:

* *Which tool an ambiguous request means.* The share ``ambiguous`` of the search and recommend
  requests is worded in one of 32 idioms ("you know the drill by now, same as ever: a waterproof
  rain jacket") that by their ordinary meaning favour neither tool. Each user draws two idioms
  that mean "search for it" and two that mean "recommend me something", from the whole pool, so
  that each idiom means search for one half of its users and recommendation for the other. Both
  types fill the same templates with the same words about their target. So, given everything but
  the user's own past, the type is a coin toss, and no better model of the language can help. With
  probability ``1 - habit`` such a request uses any idiom of the pool. Among the user's
  past requests the five nearest by all-MiniLM-L6-v2, weighted by softmax(similarity / 0.1), have
  a majority of the right type for about 0.90 of the ambiguous test requests if ``ambiguous`` is
  0.5, 0.93 if it is 0.7, and 0.72 if it is 0.25, where not every idiom is met in training.

Not personal:

* The other requests name the tool's purpose plainly ("search for", "recommend", "write a
  review"), and review requests always do, so that a model that knows its tools gets them right.
* Products: titles, prices, features, and which products go together. Nearly half of all purchases
  are of a *companion* of the product bought before, the same companions for everyone (mostly of
  one brand and tier), and popularity has a long tail: a sequential recommender can learn both.

Each user has 24 to 40 different purchases, one behind each task, 12 to 16 training tasks, and 6 to
8 test tasks later than all of them. A task's time is its target's. The extra field ``wording`` of
a task, ``plain`` or ``ambiguous``, is for analysis only: no agent may see it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
