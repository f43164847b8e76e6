# Frozen into every firmware, before what starts a board and the agent, which the build names.
include("$(MPY_DIR)/extmod/asyncio")  # noqa: F821 (the manifest's own function)
