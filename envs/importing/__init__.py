"""Review logs made into a world: a folder in PersonalWAB's format with tasks derived from them.

What is done, in order, each rule in the module that is named:

* *Reading* (``envs.reading``, ``layouts``): JSON lines or CSV, plain or gzip, streamed. The Amazon
  Reviews layouts of 2018 and 2023 are recognised by their fields; any other is mapped by name.
* *Cleaning* (``cleaning``, ``staging``): HTML entities, tags and white space; prices, of a range
  the lower end; times to milliseconds. Dropped, and counted by reason: records that lack what they
  need, reviews that are there twice or are copies at another product, products that are there
  twice. What was read is staged on disk, so memory does not grow with the log.
* *Splitting* (``splitting``): each user's purchases by time into history, training and test. What
  has the same time stays together, so that nothing of a task's own time is in its past.
* *Profiles* (``profiles``): from what precedes the user's first task, and nothing later.
* *Tasks* (``requests``): each later purchase gives a search, a recommend and a review task, in
  words that only use what the user would know. A search request names the kind of product, never
  all the words of its title; its brand, where the user has not bought it before, half the time.

Nothing is guessed about a person that the log does not show: gender, age and occupation are
``Unknown``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
