"""How pages are served: what they ask, the queue of work, and the models and readings kept at hand.

Import the module that is needed: `density.serving.question` loads no engine, so that a page is there before it.
"""
