"""A real browser for the report, and a run that is full of things to be escaped."""

from dataclasses import replace

import pytest

from trimtab.eval.runs.record import Record

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "<!-- <script> ]]> {{ 7 * 7 }} {% raw %} ${7 * 7} &lt;b&gt; &amp;",
    "\u202eright to left\u202c \u2028 \u2029 \x00 \x1b[31m",
    "half a pair \ud83d here",
    "<svg/onload=window.hacked=3>\"'><iframe srcdoc='<script>parent.hacked=4</script>'>",
)


@pytest.fixture
def open_page(browser):
    """Open a report at a size and theme; in the end nothing may have been told on the console."""
    opened, complaints = [], []

    def open_page(path, width=1280, theme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, offline=True
        )
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: asked.url.startswith(("file:", "data:")) or complaints.append(asked.url),
        )
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in opened:
        context.close()
    assert complaints == []


@pytest.fixture
def hostile_run(text_run):
    """Every text of the run is one of ``HOSTILE``, the names too."""

    def record(method, n):
        text = HOSTILE[n % len(HOSTILE)]
        return Record(
            method=method,
            sample_id=f"{n} {text}",
            user_id=f"{n % 3} {HOSTILE[n % 3]}",
            kind=f"kind {HOSTILE[n % 2]}",
            prompt=[{"role": HOSTILE[0], "content": text}, {"role": "user", "content": text}],
            output=text,
            gold=HOSTILE[(n + 1) % len(HOSTILE)],
            scores={"rouge-1": n / 12},
            history=n,
            picked=[{"sample_id": text, "key": text, "answer": text, "weight": 1.0}],
            detail={"note": text},
        )

    methods = ["zero-shot", f"fints({HOSTILE[1]})", HOSTILE[0]]
    records = [record(method, n) for n in range(12) for method in methods]
    records[1] = replace(records[1], error=HOSTILE[5], scores={})
    return text_run(records, metrics=["rouge-1"], note={HOSTILE[0]: list(HOSTILE[:3])})
