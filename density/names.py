"""What files, rules and precisions are called, the same in the engine, in what it saves and on pages; loads nothing."""

PROFILE_SCHEMA = "density.profile/1"
TRACE_SCHEMA = "density.trace/1"
MODELS_SCHEMA = "density.models/1"
CHECK_SCHEMA = "density.check/1"
EXPLORE_SCHEMA = "density.explore/1"
# Of importance, see `density.importance.RULES`, in words.
RULES = {
    "l1": "L1 norm of the write",
    "l2": "L2 norm of the write",
    "ifr": "proximity to the state (IFR)",
    "projection": "projection on the state",
}
PRECISIONS = ("float32", "bfloat16", "float16")
