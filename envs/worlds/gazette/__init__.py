"""The gazette: made-up authors of news and of papers, from a seed.

Its records are in LaMP-4's and LongLaMP's formats. It exists so that every command works at once
and so that tests know the truth. See docs/text-tasks.md for the rules in full, and for how much
can be gained.

Personal, and in an author's past samples alone:

* *How an author words a headline*: mostly a question, a statement, a count of things, or in the
  first or second person, in two turns of phrase for each; a pet word before verbs and one before
  nouns; the beat or the place before a colon, or neither; short or long; capitals; what stands at
  the end.
* *How an author words an abstract*: what it opens with, who acts ("we", "this paper", no one), a
  pet link and a pet marker, results in numbers or in words, hedged or not, labelled parts or not,
  how many further sentences, and what it closes with.

Each habit is followed with the probability ``habit``.

Not personal:

* What a headline says: who does what, how many, where and what for is the article's, whose words
  are of one plain voice for all. So are title, problem, method, data and result of a paper.
* The beats that an author writes on, three of twelve, and the field of an author's papers: they
  are the same for author and article, and no headline can be told from them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
