"""Plan mode: look first, without being able to touch; and plans, the steps that come of it."""
